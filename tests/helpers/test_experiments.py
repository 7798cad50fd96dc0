"""What is committed of past trainings agrees with itself, and with the command that is said to have made it."""

import json
import shlex

import pytest

from helpers import checkpoint, models, runs, train

TRIALS = models.CHECKPOINTS / "trials"
PUBLISHED = sorted([*models.CHECKPOINTS.glob("*.json"), *TRIALS.glob("*.json")])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_command_log_and_figures_belong_together(path):
    about = checkpoint.read_record(path.stem, path.parent)
    python, *module, name = shlex.split(about["command"])[:4]
    assert [python, *module] == ["python", "-m", "helpers.train"] and path.stem.startswith(name)
    options = runs._parser().parse_args(shlex.split(about["command"])[3:])
    run = runs._asked(options)
    assert about["arguments"] == json.loads(json.dumps(run["arguments"])) and about["seed"] == options.seed
    assert about["settings"] == {key: value for key, value in run.items() if key not in ("model", "arguments")}
    model = models.build(about["model"], about["arguments"])
    assert about["parameters"] == sum(p.numel() for p in model.parameters())

    log = checkpoint.read_log(path.with_suffix(".csv"))
    images = 60_000 - run["validation"]
    assert abs(log[-1]["images"] - run["epochs"] * images) <= run["batch_size"]
    if run["validation"]:
        best = max(log, key=lambda row: (row["validation_accuracy"], -row["validation_loss"]))
        assert best["step"] == about["step"] and best["validation_accuracy"] == about["validation_accuracy"]
    if "test_accuracy" in about:
        assert about["test_interval"] == pytest.approx(train.wilson_interval(about["test_accuracy"], 10_000))


def test_the_published_classifier_is_small_and_loads():
    about = checkpoint.read_record("smnist", models.CHECKPOINTS)
    assert about["parameters"] <= 300_000 and about["arguments"]["mixer"] in ("mamba", "rotary")
    assert models.load_checkpoint("smnist").pooling in ("mean", "sum", "last")


def test_the_permuted_classifier_answers_from_its_last_position():
    model = models.load_checkpoint("psmnist")
    assert model.pooling == "last" and model.order.sort().values.tolist() == list(range(784))
    assert checkpoint.read_record("psmnist", models.CHECKPOINTS)["test_accuracy"] >= 0.97


def test_every_mixer_had_the_same_trials_and_only_its_best_was_tested():
    tried = {}
    for path in TRIALS.glob("small-*-muon*.json"):
        about = checkpoint.read_record(path.stem, TRIALS)
        tried.setdefault(about["arguments"]["mixer"], []).append(about)
    assert set(tried) == set(models.MIXERS)

    def pair(settings):
        return settings["muon"], settings["lr"]

    same = {"seed": 0, "validation": 5_000, "constant": False, "clip": 1.0, "epochs": 1, "batch_size": 32}
    for mixer, trials in tried.items():
        preset = runs.RUNS[f"small-{mixer}"]
        for about in trials:
            assert about["arguments"] == preset["arguments"]
            assert same.items() <= {"seed": about["seed"], **about["settings"]}.items()
        assert {pair(about["settings"]) for about in trials} == {pair(about["settings"]) for about in tried["mamba"]}
        best = max(trials, key=lambda about: about["validation_accuracy"])
        tested = [about for about in trials if "test_accuracy" in about]
        assert len(trials) == 4 and tested == ([] if mixer == "memoryless" else [best])
        assert pair(best["settings"]) == pair(preset)
