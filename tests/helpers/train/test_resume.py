"""A training that is killed, stopped or split among processes ends where the undisturbed one does."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from helpers import checkpoint, mnist, models, runs, train

ROOT = Path(__file__).parent.parent
QUICK = ["recipe-identity", "--devices", "1", "--precision", "32-true", "--epochs", "0.2", "--every", "100"]
posix = pytest.mark.skipif(os.name != "posix", reason="processes are forked, and signals sent")


def python(*arguments, **environment):
    return subprocess.run([sys.executable, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True,
                          env=os.environ | environment)  # fmt: skip


def assert_same_end(one, other):
    for name in (checkpoint.LAST, checkpoint.BEST):
        if not (one / name).exists():
            assert name == checkpoint.BEST and not (other / name).exists()
            continue
        states = [checkpoint.load(folder / name) for folder in (one, other)]
        for state in states:
            state.get("counters", {}).pop("seconds", None)  # the wall clock may differ, nothing else
        _assert_equal(*states)
    logs = [checkpoint.read_log(folder / checkpoint.LOG) for folder in (one, other)]
    rows = [[{key: value for key, value in row.items() if key != "seconds"} for row in log] for log in logs]
    assert rows[0] == rows[1] and len(rows[0]) > 1


def _assert_equal(x, y):
    if isinstance(x, dict):
        assert x.keys() == y.keys()
        for key in x:
            _assert_equal(x[key], y[key])
    elif isinstance(x, torch.Tensor):
        assert torch.equal(x, y)
    else:
        assert x == y


@posix
def test_twenty_kills_change_nothing(tmp_path):
    run = python("tests/killed_training.py", tmp_path, 20, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    assert run.returncode == 0, run.stdout + run.stderr
    inside, outside = map(int, run.stdout.split())
    assert inside >= 5 and outside >= 5, f"{inside} kills inside of a write, {outside} outside"
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob("*.part"))


@posix
def test_interrupt_ends_cleanly_and_says_how_to_go_on(tmp_path):
    command = [sys.executable, "-m", "helpers.train", *QUICK, "--save-every", "100000", "--output"]
    whole = subprocess.run([*command, tmp_path / "whole"], cwd=ROOT, capture_output=True, text=True)
    assert whole.returncode == 0, whole.stderr
    with subprocess.Popen(
        [*command, tmp_path / "a"], cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as run:
        while not (tmp_path / "a" / checkpoint.LOG).exists() and run.poll() is None:
            time.sleep(0.005)
        run.send_signal(signal.SIGINT)
        _, said = run.communicate()
    assert run.returncode == 130 and "Traceback" not in said, said
    assert "stopped after step" in said and "python -m helpers.train recipe-identity" in said
    assert 100 <= checkpoint.load(tmp_path / "a" / checkpoint.LAST)["counters"]["step"] < 375
    assert subprocess.run([*command, tmp_path / "a"], cwd=ROOT, capture_output=True).returncode == 0
    assert_same_end(tmp_path / "whole", tmp_path / "a")


# Muon computes in bfloat16: what differs in the last bit of a float32 may differ by 0.4 % there.
@pytest.mark.parametrize(("muon", "bound"), [(0.0, 1e-4), (0.02, 1e-3)])
def test_two_processes_take_the_same_steps_as_one(muon, bound):
    losses = []
    for processes in (1, 2):
        run = python("tests/fit_in_processes.py", processes, muon, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
        assert run.returncode == 0, run.stderr
        losses.append(json.loads(run.stdout.splitlines()[-1]))
    assert len(losses[0]) == 50 and max(abs(x - y) for x, y in zip(*losses, strict=True)) < bound
    assert losses[0] != losses[1], "the second run was not split"


def test_torchrun_starts_the_command(tmp_path):
    launcher = ["-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    quick = ["recipe-identity", "--epochs", "0.05", "--every", "50", "--precision", "32-true"]
    run = python(*launcher, "-m", "helpers.train", *quick, "--output", tmp_path, OMP_NUM_THREADS="1")
    assert run.returncode == 0, run.stderr
    about = checkpoint.read_record("recipe-identity", tmp_path)
    assert "2 processes" in about["machine"] and about["parameters"] == 7850
    assert about["command"] == "python -m helpers.train " + " ".join(quick)
    assert [row["step"] for row in checkpoint.read_log(tmp_path / "recipe-identity.csv")] == [50, 94]


def fit(folder, steps=6, stop_at=None, lr=1e-2, **options):
    torch.manual_seed(0)
    loader, validation, _ = mnist.dataloaders(64, validation=500)
    calls = iter(range(1, 1000))
    model = models.PixelClassifier(d_model=8, n_layer=1, d_state=2, dropout=0.2)
    options = {
        "every": 2,
        "validation": validation,
        "folder": folder,
        "save_every": 1,
        "settings": {"lr": lr},
    } | options
    return train.fit(model, loader, steps, lr=lr, muon=2 * lr, stop=lambda: next(calls) == stop_at, **options)


def test_stopped_and_taken_up_again(tmp_path):
    fit(tmp_path / "whole")
    for stop_at in (1, 2, 1):
        with pytest.raises(train.Stopped, match=r"stopped after step \d of 6\. The last good checkpoint is .*last"):
            fit(tmp_path / "parts", stop_at=stop_at)
    records = fit(tmp_path / "parts")
    assert [record["step"] for record in records] == [2, 4, 6]
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert fit(tmp_path / "parts") == records, "what is done is not done again"


def test_another_training_is_refused(tmp_path):
    fit(tmp_path)
    with pytest.raises(checkpoint.CheckpointError, match=r"lr = 0\.01, and 0\.02 was given"):
        fit(tmp_path, lr=2e-2)


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    with pytest.raises(FloatingPointError, match=r"failed at step \d+: .*Try a lower lr than .* of step \d+\."):
        fit(tmp_path, steps=400, lr=1e4, validation=None, every=1000, constant=True, clip=0)
    state = checkpoint.load(tmp_path / checkpoint.LAST)
    assert all(tensor.isfinite().all() for tensor in state["model"].values())


def test_a_loader_that_cannot_be_taken_up_is_refused(tmp_path):
    loader = [(torch.zeros(2, 784, 1), torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(ValueError, match=r"with a folder, loader must be one of helpers\.mnist"):
        train.fit(models.LinearClassifier(), loader, 1, lr=1e-3, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_damaged_checkpoint_is_named_and_left_alone(tmp_path):
    fit(tmp_path, steps=2)
    content = bytearray((tmp_path / checkpoint.LAST).read_bytes())
    content[-5] ^= 1
    (tmp_path / checkpoint.LAST).write_bytes(content)
    with pytest.raises(checkpoint.CheckpointError, match=r"last\.safetensors is damaged"):
        fit(tmp_path, steps=2)
    assert (tmp_path / checkpoint.LAST).read_bytes() == content


def test_the_best_weights_are_those_of_the_best_record(tmp_path):
    records = fit(tmp_path, steps=12)
    best = max(records, key=lambda r: (r["validation_accuracy"], -r["validation_loss"]))
    model = models.PixelClassifier(d_model=8, n_layer=1, d_state=2)
    model.load_state_dict(checkpoint.load(tmp_path / checkpoint.BEST))
    _, validation, _ = mnist.dataloaders(64, validation=500)
    assert train.evaluate(model, validation).accuracy == best["validation_accuracy"]


def train_once(tmp_path, setting):
    return runs.main(["smnist", "--set", setting, "--devices", "1", "--output", str(tmp_path / "b")])


def test_command_says_what_is_wrong(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert runs.main([*QUICK, "--output", str(tmp_path / "file")]) == 1
    assert "cannot be used as a folder" in capsys.readouterr().err
    assert runs.main([*QUICK, "--early", "0.3", "--output", str(tmp_path / "b")]) == 1
    assert "which recipe-identity (FlattenedClassifier) cannot give" in capsys.readouterr().err
    assert runs.main(["smnist", "--set", "mixer=rnn", "--devices", "1", "--output", str(tmp_path / "a")]) == 1
    assert "mixer must be one of mamba, rotary, memoryless, s4d, lstm, attention, got 'rnn'" in capsys.readouterr().err
    assert (
        train_once(tmp_path, "d_modle=32") == 1 and "unexpected keyword argument 'd_modle'" in capsys.readouterr().err
    )
    with pytest.raises(SystemExit):
        train_once(tmp_path, "d_model")
    assert "must be ARGUMENT=VALUE, such as d_model=32, got 'd_model'" in capsys.readouterr().err
    with pytest.raises(SystemExit) as exit_:
        runs.main(["mnist"])
    assert exit_.value.code == 2 and "invalid choice: 'mnist'" in capsys.readouterr().err


def test_published_checkpoints_are_out_of_reach(tmp_path):
    """Without --output a training goes into build/, which is ignored, never among the published ones."""
    makefile = (ROOT / "Makefile").read_text()
    assert "helpers/checkpoints" not in makefile
    assert "build/train" in runs._parser().format_help()
