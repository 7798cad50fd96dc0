"""The command ``python -m helpers.train``: its options, what it writes, how it stops, and what it says is wrong."""

import dataclasses
import math
import os
import re
import signal
import subprocess
import sys
import time

import pytest
import torch
from repository import ROOT, run_python

from helpers import checkpoint, mnist, models
from helpers.train import TrainingConfig
from helpers.train.__main__ import main, make_parser, resolve_preset, settings_of
from helpers.train.presets import PRESETS

QUICK = "recipe-identity --devices 1 --precision 32-true --epochs 0.2 --log-every 100".split()


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_interrupt_ends_cleanly_says_how_to_go_on_and_the_same_command_does(tmp_path):
    command = ["-m", "helpers.train", *QUICK, "--save-every", "100000", "--output"]
    whole = run_python(*command, tmp_path / "whole")
    assert whole.returncode == 0, whole.stderr
    pipes = {"stderr": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, *command, tmp_path / "a"], cwd=ROOT, **pipes) as run:
        while not (tmp_path / "a" / checkpoint.LOG).exists() and run.poll() is None:
            time.sleep(0.005)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate()
    assert run.returncode == 130 and "Traceback" not in said, said
    assert "It stops after this step" in said and "stopped after step" in said
    assert f"\n    {sys.executable} -m helpers.train recipe-identity" in said, "this can be pasted"
    assert 100 <= checkpoint.load(tmp_path / "a" / checkpoint.LAST)[1]["counters"]["step"] < 375
    run = run_python(*command, tmp_path / "a")
    assert run.returncode == 0 and "The training resumes after step" in run.stderr
    assert "has been done before, all 375." in run_python(*command, tmp_path / "a").stderr
    one, other = (checkpoint.read_log(tmp_path / folder / checkpoint.LOG) for folder in ("whole", "a"))
    assert len(one) > 1 and [{**row, "seconds": 0} for row in one] == [{**row, "seconds": 0} for row in other]


@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_a_second_interrupt_does_not_wait_for_anything(tmp_path, capsys, monkeypatch):
    before = signal.getsignal(signal.SIGINT)

    def fit(*_, stop, **__):
        assert not stop()
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(10)
        raise AssertionError("it went on")

    monkeypatch.setattr("helpers.train.fit", fit)
    assert main([*QUICK, "--output", str(tmp_path)]) == 130
    said = capsys.readouterr().err
    assert f"Stopped. What was kept is in {tmp_path}. To resume:" in said
    assert said.count("It stops after this step") == 1 and signal.getsignal(signal.SIGINT) is before


@pytest.mark.skipif(os.name != "posix", reason="signals are sent")
def test_an_interrupt_after_the_training_is_not_swallowed(tmp_path, monkeypatch):
    found = [{"step": 1, "images": 9, "seconds": 1.0, "validation_accuracy": 0.5, "validation_loss": 1.0}]
    monkeypatch.setattr("helpers.train.fit", lambda *_, **__: found)
    monkeypatch.setattr("helpers.train.__main__.load", lambda _: ({}, {}))
    monkeypatch.setattr("helpers.train.__main__.load_weights", lambda *_: None)
    monkeypatch.setattr("helpers.train.evaluate", lambda *_: os.kill(os.getpid(), signal.SIGINT))
    assert main([*QUICK, "--test", "--output", str(tmp_path)]) == 130


@pytest.mark.slow
def test_torchrun_starts_the_command(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    quick = ["recipe-identity", "--epochs", "0.05", "--log-every", "50", "--precision", "32-true"]
    run = run_python(*launcher, "-m", "helpers.train", *quick, "--output", tmp_path, OMP_NUM_THREADS="1")
    assert run.returncode == 0, run.stderr
    record = checkpoint.read_record("recipe-identity", tmp_path)
    assert "2 processes" in record["machine"] and record["parameters"] == 7850
    assert record["command"] == "python -m helpers.train " + " ".join(quick)
    assert [row["step"] for row in checkpoint.read_log(tmp_path / "recipe-identity.csv")] == [50, 94]


@pytest.mark.slow
def test_a_generator_is_trained_and_what_a_pixel_costs_is_recorded(tmp_path):
    options = "--set d_model=8 --set n_layer=1 --set d_state=2 --epochs 0.002 --devices 1 --precision 32-true".split()
    run = run_python("-m", "helpers.train", "generator", *options, "--output", tmp_path)
    assert run.returncode == 0, run.stderr
    record = checkpoint.read_record("generator", tmp_path)
    assert record["validation_bits"] == pytest.approx(record["validation_loss"] / math.log(2)) and not record.get(
        "test_bits"
    )
    levels, _ = mnist.levels(mnist.load(train=True))
    with torch.no_grad():
        bits = models.load_checkpoint("generator", tmp_path).bits(levels[-5_000:])
    assert bits.mean().item() == pytest.approx(record["validation_bits"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("options", ["--epochs 0.001", "--epochs 0.0001 --batch-size 1"])
def test_two_processes_with_next_to_nothing_to_do(tmp_path, options):
    command = f"-m helpers.train recipe-identity {options} --devices 2 --precision 32-true --output".split()
    run = run_python(*command, tmp_path, OMP_NUM_THREADS="2")
    assert run.returncode == 0 and "Traceback" not in run.stderr, run.stderr
    assert checkpoint.read_record("recipe-identity", tmp_path)["step"] >= 1


def test_options_change_what_the_name_stands_for():
    given = (
        "smnist --learning-rate 0.003 --deep-supervision 0 --epochs 2 --batch-size 16 --set mixer=s4d --set d_state=4"
    )
    asked, preset = resolve_preset(make_parser().parse_args(given.split())), PRESETS["smnist"]
    assert asked.arguments == {**preset.arguments, "mixer": "s4d", "d_state": 4} and asked.batch_size == 16
    assert asked.config == dataclasses.replace(preset.config, learning_rate=0.003, deep_supervision=0.0, epochs=2.0)
    assert resolve_preset(make_parser().parse_args(["smnist"])) == preset
    for option, augments in (("--augment", True), ("--no-augment", False)):
        assert resolve_preset(make_parser().parse_args(["smnist", option])).config.augment is augments
    settings = settings_of(asked)
    assert (settings["batch_size"], settings["validation"], settings["epochs"]) == (16, 5_000, 2.0)
    assert not {"seed", "steps", "log_every", "save_every"} & settings.keys()


def test_every_field_of_the_configuration_is_an_option_and_explained():
    told = make_parser().format_help()
    for field in dataclasses.fields(TrainingConfig):
        if field.name != "steps":
            assert f"--{field.name.replace('_', '-')} " in told, field.name
    assert "build/train/NAME-SEED" in re.sub(r"\s+", "", told), "without --output nothing lands among the published"
    assert "helpers/checkpoints" not in (ROOT / "Makefile").read_text(encoding="utf-8")


def test_a_folder_that_cannot_be_used_ends_the_command_with_one_sentence(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert main([*QUICK, "--output", str(tmp_path / "file")]) == 1
    assert "cannot be used as a folder" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("smnist --set d_model", "must be ARGUMENT=VALUE, such as d_model=32, got 'd_model'"),
        ("mnist", "invalid choice: 'mnist'"),
        ("{quick} --deep-supervision 0.3", "which recipe-identity (FlattenedClassifier) cannot give"),
        ("{quick} --learning-rate 0", "learning_rate must be positive, got 0.0"),
        ("{quick} --learning-rate nan", "learning_rate must be positive, got nan"),
        ("{quick} --epochs inf", "epochs must be positive, got inf"),
        ("{quick} --save-every 0", "save_every must be positive, got 0"),
        ("{quick} --log-every 0", "argument --log-every: must be a whole number, at least 1, got '0'"),
        ("{quick} --devices -1", "argument --devices: must be a whole number, at least 1, got '-1'"),
        ("{quick} --batch-size 0", "argument --batch-size: must be a whole number, at least 1, got '0'"),
        ("smnist --set mixer=rnn", "mixer must be one of mamba, mamba-rope, mamba2, mamba3, "),
        ("smnist --set d_modle=32", "no argument 'd_modle' here; it has mixer, d_model, n_layer, length, "),
        ("smnist --set mixer=lstm --set glu=False", "no argument 'd_state' here; it has mixer, "),
        ("smnist --set classes=5", "classes must be 10, as many as there are digits, got 5"),
        ("smnist --set length=700", "sequences must be (batch, length, channels) = (batch, 700, 1)"),
        ("smnist --set d_state=3", "d_state must be even and at least 2, got 3"),
    ],
)
def test_what_cannot_be_is_refused_in_one_line_before_anything_is_done(tmp_path, capsys, arguments, said):
    folder = tmp_path / "a"
    with pytest.raises(SystemExit) as stop:
        main([*arguments.format(quick=" ".join(QUICK)).split(), "--output", str(folder)])
    told = capsys.readouterr().err
    assert stop.value.code == 2 and said in told.splitlines()[-1], told
    assert not folder.exists()


def test_data_that_cannot_be_had_are_noticed_first(tmp_path, capsys, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MNIST_ROOT", str(tmp_path / "file"))
    with pytest.raises(SystemExit) as stop:
        main([*QUICK, "--output", str(tmp_path / "a")])
    assert stop.value.code == 2 and str(tmp_path / "file") in capsys.readouterr().err
    assert not (tmp_path / "a").exists()
