"""What is committed of past trainings agrees with itself, and with the command that is said to have made it."""

import shlex

import pytest

from helpers import checkpoint, models, runs, train

TRIALS = models.CHECKPOINTS / "trials"
PUBLISHED = sorted([*models.CHECKPOINTS.glob("*.json"), *TRIALS.glob("*.json")])


@pytest.mark.parametrize("path", PUBLISHED, ids=lambda path: path.stem)
def test_command_log_and_figures_belong_together(path):
    about = checkpoint.about(path.stem, path.parent)
    python, *module, name = shlex.split(about["command"])[:4]
    assert [python, *module] == ["python", "-m", "helpers.train"] and path.stem.startswith(name)
    options = runs._parser().parse_args(shlex.split(about["command"])[3:])
    run = runs._asked(options)
    assert about["arguments"] == run["arguments"] and about["seed"] == options.seed
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
        assert about["test_interval"] == pytest.approx(train.interval(about["test_accuracy"], 10_000))


def test_the_published_classifier_is_small_and_loads():
    about = checkpoint.about("smnist", models.CHECKPOINTS)
    assert about["parameters"] <= 300_000 and about["arguments"]["mixer"] == "mamba"
    assert models.load_checkpoint("smnist").pooling in ("mean", "last")


def test_every_mixer_had_the_same_trials_and_the_best_of_them_is_the_preset():
    trials = [checkpoint.about(path.stem, TRIALS) for path in TRIALS.glob("*.json")]
    compared = [trial for trial in trials if "pooling" not in trial["arguments"]]
    by_mixer = {mixer: [t for t in compared if t["arguments"]["mixer"] == mixer] for mixer in models.MIXERS}
    rates = {mixer: sorted((t["settings"]["muon"], t["settings"]["lr"]) for t in of) for mixer, of in by_mixer.items()}
    assert len(set(map(tuple, rates.values()))) == 1 and len(rates["mamba"]) == len(set(rates["mamba"])) >= 3, rates
    assert len({(t["seed"], t["settings"]["epochs"], t["settings"]["batch_size"]) for t in compared}) == 1
    sizes = [trial["parameters"] for trial in compared]
    assert max(sizes) <= 1.03 * min(sizes)
    for mixer, of in by_mixer.items():
        best = max(of, key=lambda trial: trial["validation_accuracy"])
        assert [trial for trial in of if "test_accuracy" in trial] == [best], "tested once, the best on validation"
        preset = runs.RUNS[f"small-{mixer}"]
        assert (preset["muon"], preset["lr"]) == (best["settings"]["muon"], best["settings"]["lr"])
