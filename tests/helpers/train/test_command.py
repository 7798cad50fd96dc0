"""The command ``python -m helpers.train``: its options, what it writes, how it stops, and what it says is wrong."""

import dataclasses
import os
import re
import signal
import subprocess
import sys
import time

import pytest
from repository import ROOT, run_python

from helpers import checkpoint
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
    assert "stopped after step" in said and "python -m helpers.train recipe-identity" in said
    assert 100 <= checkpoint.load(tmp_path / "a" / checkpoint.LAST)["counters"]["step"] < 375
    assert run_python(*command, tmp_path / "a").returncode == 0
    one, other = (checkpoint.read_log(tmp_path / folder / checkpoint.LOG) for folder in ("whole", "a"))
    assert len(one) > 1 and [{**row, "seconds": 0} for row in one] == [{**row, "seconds": 0} for row in other]


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


def test_options_change_what_the_name_stands_for():
    given = (
        "smnist --learning-rate 0.003 --deep-supervision 0 --epochs 2 --batch-size 16 --set mixer=s4d --set d_state=4"
    )
    asked, preset = resolve_preset(make_parser().parse_args(given.split())), PRESETS["smnist"]
    assert asked.arguments == {**preset.arguments, "mixer": "s4d", "d_state": 4} and asked.batch_size == 16
    assert asked.config == dataclasses.replace(preset.config, learning_rate=0.003, deep_supervision=0.0, epochs=2.0)
    assert resolve_preset(make_parser().parse_args(["smnist"])) == preset
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


@pytest.mark.parametrize(
    "arguments, said",
    [
        ("{quick} --output {folder}/file", "cannot be used as a folder"),
        ("{quick} --deep-supervision 0.3", r"which recipe-identity \(FlattenedClassifier\) cannot give"),
        ("{quick} --learning-rate 0", r"learning_rate must be positive, got 0\.0"),
        ("smnist --devices 1 --set mixer=rnn", "mixer must be one of mamba, mamba-rope, memoryless, .*, got 'rnn'"),
        ("smnist --devices 1 --set d_modle=32", "unexpected keyword argument 'd_modle'"),
    ],
)
def test_what_is_wrong_ends_the_command_with_one_sentence(tmp_path, capsys, arguments, said):
    (tmp_path / "file").write_text("")
    given = arguments.format(quick=" ".join(QUICK), folder=tmp_path).split()
    output = [] if "--output" in given else ["--output", str(tmp_path / "a")]
    assert main([*given, *output]) == 1
    assert re.search(said, capsys.readouterr().err)


@pytest.mark.parametrize(
    "arguments, said",
    [
        (["smnist", "--set", "d_model"], "must be ARGUMENT=VALUE, such as d_model=32, got 'd_model'"),
        (["mnist"], "invalid choice: 'mnist'"),
    ],
)
def test_what_cannot_be_read_is_refused(capsys, arguments, said):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2 and said in capsys.readouterr().err
