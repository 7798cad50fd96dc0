"""What is kept of past trainings agrees with itself, and with the command that is said to have made it."""

import json
import math
import re
import shlex

import pytest

from helpers import experiments, models, train
from helpers.train.__main__ import make_parser, resolve_preset, settings_of
from helpers.train.objectives import Classification, NextPixel
from helpers.train.presets import PRESETS

PUBLISHED = sorted(path.stem for path in models.CHECKPOINTS.glob("*.json"))
# What was measured is in the folders gpu, inside and longer; all else in a folder is a training.
YOUNGER = {"augment": False}  # settings that older records do not name
TRIED = [one.name for one in experiments.find("*/*") if not one.name.startswith(("gpu/", "inside/", "longer/"))]


@pytest.mark.parametrize("name", [*PUBLISHED, *TRIED])
def test_command_log_and_figures_belong_together(name):
    _, record, log = experiments.read(name)
    python, *module, preset = shlex.split(record["command"])[:4]
    assert [python, *module] == ["python", "-m", "helpers.train"] and preset in PRESETS
    assert "/" in name or preset == name
    options = make_parser().parse_args(shlex.split(record["command"])[3:])
    asked = resolve_preset(options)
    assert (record["model"], record["seed"]) == (asked.model, options.seed)
    assert record["arguments"] == json.loads(json.dumps(asked.arguments))
    assert {**YOUNGER, **record["settings"]} == settings_of(asked)
    model = models.build(record["model"], record["arguments"])
    assert record["parameters"] == sum(p.numel() for p in model.parameters())

    images = 60_000 - asked.validation
    assert abs(log[-1]["images"] - asked.config.epochs * images) <= asked.batch_size
    if asked.validation:
        rank = (NextPixel if asked.model == "PixelGenerator" else Classification).rank
        best = max(log, key=lambda row: rank(row["validation_accuracy"], row["validation_loss"]))
        assert best["step"] == record["step"] and best["validation_accuracy"] == record["validation_accuracy"]
    if asked.model == "PixelGenerator":
        assert "validation_bits" in record and ("test_bits" in record) == ("test_loss" in record)
        for kind in ("validation", "test") if "test_bits" in record else ("validation",):
            assert record[f"{kind}_bits"] == pytest.approx(record[f"{kind}_loss"] / math.log(2))
    if "test_accuracy" in record:
        assert record["test_interval"] == pytest.approx(train.wilson_interval(record["test_accuracy"], 10_000))


def test_published_are_weights_record_and_log_each():
    files = {path.name for path in models.CHECKPOINTS.iterdir()}
    assert PUBLISHED == ["generator", "psmnist", "smnist"]
    assert files == {f"{name}.{kind}" for name in PUBLISHED for kind in ("json", "csv", "safetensors")}


def test_the_published_classifier_is_small_and_loads():
    record = experiments.read("smnist").record
    assert record["parameters"] <= 300_000
    model = models.load_checkpoint("smnist")
    assert model.pooling == record["arguments"]["pooling"]
    assert {type(block).__name__ for block in model.blocks} == {"MambaRoPE"}


def test_the_published_generator_is_small_and_loads():
    record = experiments.read("generator").record
    assert record["parameters"] <= 500_000
    assert (models.CHECKPOINTS / "generator.safetensors").stat().st_size <= 2.5e6
    model = models.load_checkpoint("generator")
    assert (model.levels, model.classes) == (256, 10)
    assert {type(block).__name__ for block in model.blocks} == {"MambaRoPE"}


def test_the_permuted_classifier_answers_from_its_last_position():
    model = models.load_checkpoint("psmnist")
    assert model.pooling == "last" and model.order.sort().values.tolist() == list(range(784))
    assert experiments.read("psmnist").record["test_accuracy"] >= 0.97


@pytest.mark.parametrize("mixer", ["mamba", "mamba-rope", "memoryless", "s4d", "lstm", "attention"])
def test_every_mixer_had_the_same_trials_and_only_its_best_was_tested(mixer):
    def trials(mixer):
        return [e.record for e in experiments.find(f"small/{mixer}-muon*")]

    def rates(settings):
        return settings["muon_learning_rate"], settings["learning_rate"]

    found, preset = trials(mixer), PRESETS[f"small-{mixer}"]
    same = {"validation": 5_000, "schedule": "one-cycle", "gradient_clip": 1.0, "epochs": 1, "batch_size": 32}
    for record in found:
        assert record["arguments"] == preset.arguments and record["seed"] == 0
        assert same.items() <= record["settings"].items()
    assert {rates(record["settings"]) for record in found} == {rates(record["settings"]) for record in trials("mamba")}
    best = max(found, key=lambda record: record["validation_accuracy"])
    tested = [record for record in found if "test_accuracy" in record]
    assert len(found) == 4 and tested == ([] if mixer == "memoryless" else [best])
    assert rates(best["settings"]) == (preset.config.muon_learning_rate, preset.config.learning_rate)


def test_read_and_find():
    name, record, log = experiments.read("small/lstm-again")
    assert name == "small/lstm-again" and record["arguments"]["mixer"] == "lstm" and len(log) > 1
    found = [experiment.name for experiment in experiments.find("smnist/one-epoch-rope-*")]
    assert found == [f"smnist/one-epoch-rope-seed{seed}" for seed in (0, 1, 2)]
    assert experiments.find("small/nothing-*") == []
    assert experiments.read("smnist/unequal").record == {} and experiments.read("smnist/unequal").log
    with pytest.raises(FileNotFoundError, match=re.escape("there is no experiment 'small/none': ") + ".* clone"):
        experiments.read("small/none")


def test_a_measurement_has_no_log():
    (name, *_) = (path.stem for path in sorted((experiments.FOLDER / "gpu").glob("*.json")))
    assert experiments.read(f"gpu/{name}").log == [] and experiments.read(f"gpu/{name}").record
