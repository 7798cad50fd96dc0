"""The trials behind the table of mixers: what is trained, what is chosen, and what is told."""

import importlib.util
import json
import re
import shlex

import pytest
import torch
from repository import ROOT

from helpers import experiments, models
from helpers.train.__main__ import make_parser, resolve_preset
from helpers.train.presets import PERMUTATION

spec = importlib.util.spec_from_file_location("trials", ROOT / "experiments" / "trials.py")
trials = importlib.util.module_from_spec(spec)
spec.loader.exec_module(trials)

RATES = trials.TASKS["smnist"].rates
PROTOCOL = (ROOT / "experiments" / "protocol.md").read_text(encoding="utf-8")


def test_every_record_is_of_a_training_that_is_planned():
    """With the command that the plan says, and tested only if its rates have won."""
    planned = {
        training.name: training
        for task, plan in trials.TASKS.items()
        for row in plan.rows
        for rates in plan.rates
        for seed in trials.SEEDS
        for training in [trials.Training(task, row, rates, seed)]
    }
    for experiment in experiments.find("table-*/*"):
        training, record = planned[experiment.name], experiment.record
        if "failed" in record:
            continue
        command = shlex.join(["python", "-m", "helpers.train", *training.options])
        assert record["command"].removesuffix(" --test") == command
        if training.seed or "test_loss" in record:
            other = trials.TASKS[training.task].rows[training.row][2]
            assert trials.winner(training.task, other or training.row) == training.rates


@pytest.mark.parametrize("task", trials.TASKS)
def test_the_lab_notebook_has_the_rows_that_are_complete(task):
    header, line, *rows = trials.table(task).splitlines()
    notebook = (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")
    assert not rows or "\n".join([header, line, *rows]) in notebook


@pytest.fixture
def records(tmp_path, monkeypatch):
    """A folder of records, and a function that adds one."""
    monkeypatch.setattr(trials, "HERE", tmp_path / "experiments")

    def add(training, accuracy, loss=0.1, **others):
        path = trials.HERE / f"{training.name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        record = {"validation_accuracy": accuracy, "validation_loss": loss, "parameters": 17354, "images_per_second": 9}
        path.write_text(json.dumps(record | others))

    return add


def preset(task, row):
    training = trials.Training(task, row, (0.02, 0.003), seed=1)
    options = make_parser().parse_args(training.options)
    assert options.seed == 1 and options.devices == 1 and options.precision == "32-true"
    return resolve_preset(options)


@pytest.mark.parametrize("row", trials.CLASSIFIERS)
def test_rows_are_of_equal_size_and_differ_in_nothing_else(row):
    with torch.device("meta"):
        sizes = {
            name: sum(p.numel() for p in models.build("PixelClassifier", preset("smnist", name).arguments).parameters())
            for name in (row, "mamba")
        }
    assert abs(sizes[row] / sizes["mamba"] - 1) < 0.05
    for task in ("smnist", "psmnist"):
        one, other = preset(task, row), preset(task, "mamba")
        assert one.config == other.config and one.batch_size == other.batch_size == 32 and one.config.epochs == 1
        assert (one.config.muon_learning_rate, one.config.learning_rate) == (0.02, 0.003)
        common = {name: other.arguments[name] for name in (*trials.TASKS[task].arguments, "n_layer")}
        assert {name: one.arguments[name] for name in common} == common
    assert preset("psmnist", row).arguments["permutation"] == PERMUTATION


@pytest.mark.parametrize("row", trials.GENERATORS)
def test_generators_are_of_equal_size_and_differ_in_nothing_else(row):
    one, other = preset("generator", row), preset("generator", "mamba-rope-conv32")
    sizes = [sum(p.numel() for p in models.build(x.model, x.arguments).parameters()) for x in (one, other)]
    assert abs(sizes[0] / sizes[1] - 1) < 0.03
    assert one.config == other.config and one.batch_size == other.batch_size == 8 and one.config.epochs == 0.3
    assert {one.arguments[name] for name in ("n_layer", "classes")} == {2, 10}


def test_of_generators_the_likeliest_wins(records, capsys):
    rates = trials.TASKS["generator"].rates
    for number, pair in enumerate(rates):
        loss = 0.5 + abs(number - 1) / 10
        records(trials.Training("generator", "mamba", pair), 0.8 + loss / 10, loss, validation_bits=1.1, test_bits=1.2)
    assert trials.winner("generator", "mamba") == rates[1]
    for seed in (1, 2):
        training = trials.Training("generator", "mamba", rates[1], seed)
        records(training, 0.8, 0.5, validation_bits=1.1, test_bits=1.2 + seed / 10)
    trials.main(["generator", "--show"])
    assert (
        "| `mamba` | 17,354 | 0.02 | 0.005 | 1.1000 bits (0.0000) | 1.3000 bits (0.1000) |" in capsys.readouterr().out
    )


def test_the_protocol_says_what_the_rows_are():
    classifiers, generators = PROTOCOL.split("## Generators")
    for row, (_, _, other) in trials.CLASSIFIERS.items():
        if other == "mamba":
            continue  # three in one line
        (line,) = re.findall(rf"^\| `{row}` \|[^|]*\| (\d+) \|", classifiers, re.M)
        assert int(line) == preset("smnist", row).arguments["d_model"]
    for row in trials.GENERATORS:
        (line,) = re.findall(rf"^\| `{row}` \|[^|]*\| (\d+) \|", generators, re.M)
        assert int(line) == preset("generator", row).arguments["d_model"]
    widths, states = re.search(r"^\| `mamba-16states`.*\| (.+) \| (.+) \|$", PROTOCOL, re.M).groups()
    variants = [preset("smnist", f"mamba-{n}states").arguments for n in (16, 32, 64)]
    assert widths == ", ".join(str(v["d_model"]) for v in variants)
    assert states == ", ".join(f"{2 * 2 * v['d_model'] * v['d_state']:,}" for v in variants)
    for row in ("mamba2", "mamba2-64states", "mamba3", "mamba3-64states"):
        wide = preset("smnist", row).arguments
        assert re.search(rf"^\| `{row}` .*\| {4 * wide['d_model'] * wide['d_state']:,} \|$", PROTOCOL, re.M)
    s4d = preset("smnist", "s4d-8states").arguments
    assert f"| {2 * s4d['d_model'] * s4d['d_state']} |" in PROTOCOL


def test_the_best_on_validation_images_wins(records):
    for number, rates in enumerate(RATES):
        assert trials.winner("smnist", "mamba") is None
        records(trials.Training("smnist", "mamba", rates), 0.9 if number in (2, 4) else 0.8, loss=0.3 - 0.01 * number)
    assert trials.winner("smnist", "mamba") == RATES[4], "of equals, that with the lower loss"
    assert trials.winner("psmnist", "mamba") is None


def test_a_row_is_six_trials_and_three_seeds_that_are_tested(records, monkeypatch, capsys):
    done = []

    def run(training, runs, test=False):
        done.append((training.rates, training.seed, test))
        tested = {"test_accuracy": 0.91 + 0.01 * training.seed} if test else {}
        records(training, 0.9 if training.rates == RATES[3] else 0.8, **tested)

    monkeypatch.setattr(trials, "run", run)
    trials.main(["smnist", "mamba", "mamba-16states", "--parallel", "2"])
    best = RATES[3]
    seeds = [(best, seed, True) for seed in (0, 1, 2)]
    assert done == [*((rates, 0, False) for rates in RATES), *seeds, *seeds]
    told = capsys.readouterr().out
    for row in ("mamba", "mamba-16states"):
        assert f"| `{row}` | 17,354 | 0.006 | 0.003 | 90.00 % (0.00) | 92.00 % (1.00) |" in told
    assert told.count("\n| ") == 2
    with pytest.raises(RuntimeError, match="s4d-8states takes its learning rates from s4d, which comes first"):
        trials.main(["smnist", "s4d-8states"])


def quick(monkeypatch, *options):
    given = "small-mamba --devices 1 --precision 32-true --epochs 0.01 --set d_model=2 --set n_layer=1".split()
    given += ["--set", "d_state=2", *options]
    monkeypatch.setattr(trials.Training, "options", given)


@pytest.mark.slow
def test_a_training_is_run_once_and_tested_when_it_has_won(records, monkeypatch, tmp_path, capsys):
    quick(monkeypatch)
    training = trials.Training("smnist", "mamba", (0.0, 0.003))
    trials.run(training, tmp_path)
    first = training.record()
    assert "test_accuracy" not in first and (trials.HERE / f"{training.name}.csv").exists()
    with monkeypatch.context() as without:
        without.delattr(trials.subprocess, "run")
        trials.run(training, tmp_path)
    trials.run(training, tmp_path, test=True)
    assert training.record()["images_per_second"] == first["images_per_second"], "it was not trained again"
    assert training.record()["test_accuracy"] > 0.1
    assert re.findall(r"seed0: (\w+) [\d.]+ %, \d+ min", capsys.readouterr().out) == ["validation", "test"]


@pytest.mark.slow
def test_one_that_fails_counts_and_one_that_cannot_begin_does_not(records, monkeypatch, tmp_path, capsys):
    training = trials.Training("smnist", "mamba", (0.0, 0.003))
    quick(monkeypatch, "--learning-rate", "1e6", "--epochs", "0.05")
    trials.run(training, tmp_path)
    assert training.record()["failed"].startswith("the training failed at step ")
    assert (training.record()["validation_accuracy"], trials.winner("smnist", "mamba")) == (0.0, None)
    assert "seed0: the training failed at step" in capsys.readouterr().out
    quick(monkeypatch, "--set", "mixer=nothing")
    with pytest.raises(RuntimeError, match=r"exit status 2. .*mixer must be"):
        trials.run(trials.Training("smnist", "mamba", (0.0, 0.01)), tmp_path)
