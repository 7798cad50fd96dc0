"""What is saved comes back bit for bit, and what is damaged is refused."""

import os
import sys

import pytest
import torch
from repository import run_python
from safetensors.torch import load_file

from helpers import checkpoint, models
from helpers.checkpoint import CheckpointError


def state():
    generator = torch.Generator().manual_seed(0)
    return {
        "model": {"blocks.0.weight": torch.randn(3, 4, generator=generator), "order": torch.arange(5)},
        "averages": {"weight": {"mean": torch.randn(2, 3, generator=generator).mT, "step": torch.tensor(3.0)}},
        "half": torch.ones(2, dtype=torch.bfloat16),
        "empty": torch.zeros(0, 2),
        "counters": {"step": 7, "best": [0.1 + 0.2, -1e-300], "none": None, "tally": [1.0, 2.0]},
    }


def equal(x, y):
    if isinstance(x, dict):
        return x.keys() == y.keys() and all(equal(x[key], y[key]) for key in x)
    return torch.equal(x, y) and x.dtype == y.dtype if isinstance(x, torch.Tensor) else x == y


def test_what_is_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", state())
    assert equal(checkpoint.load(tmp_path / "a.safetensors"), state())
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_a_state_dict_becomes_an_ordinary_safetensors_file(tmp_path):
    model = models.PixelClassifier(d_model=4, n_layer=1, d_state=2, permutation=1)
    checkpoint.save(tmp_path / "a.safetensors", model.state_dict())
    assert equal(load_file(tmp_path / "a.safetensors"), dict(model.state_dict()))


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, state())
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        try:
            found = checkpoint.load(path)
        except CheckpointError:
            continue
        assert equal(found, state()), f"byte {place}"  # it stood in nothing that counts


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1])
def test_what_was_cut_off_is_refused(tmp_path, length):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, state())
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged\. Restore it from a copy, or delete it"):
        checkpoint.load(path)


def test_a_pickle_is_refused_unread(tmp_path):
    class Trap:
        def __reduce__(self):
            return os.mkdir, (str(tmp_path / "sprung"),)

    torch.save({"weight": Trap()}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(tmp_path / "a.safetensors")
    assert not (tmp_path / "sprung").exists()


def test_a_missing_file_and_a_folder_that_is_a_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"b\.safetensors cannot be read"):
        checkpoint.load(tmp_path / "b.safetensors")
    (tmp_path / "file").write_text("")
    with pytest.raises(CheckpointError, match=r"cannot be written.*choose a folder"):
        checkpoint.save(tmp_path / "file" / "a.safetensors", state())
    model = models.LinearClassifier()
    with pytest.raises(CheckpointError, match="cannot be used as a folder"):
        checkpoint.Checkpointer(tmp_path / "file", model, [], {}).resume()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no limit to the size of a file")
def test_full_disk_keeps_what_was_there(tmp_path):
    code = (
        "import resource, signal, sys, torch\n"
        "from helpers import checkpoint\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "checkpoint.save(sys.argv[1], {'x': torch.zeros(10)})\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))\n"
        "checkpoint.save(sys.argv[1], {'x': torch.ones(10_000)})\n"
    )
    run = run_python("-c", code, tmp_path / "a")
    assert run.returncode and "CheckpointError" in run.stderr and "What was saved before is still there" in run.stderr
    assert torch.equal(checkpoint.load(tmp_path / "a")["x"], torch.zeros(10))
    assert os.listdir(tmp_path) == ["a"]


def test_log_keeps_every_digit(tmp_path):
    rows = [{"step": i, "loss": 0.1 / 3 * i, "accuracy": 1e-17 * i, "seconds": 0.5} for i in (1, 2, 10)]
    checkpointer = checkpoint.Checkpointer(tmp_path, models.LinearClassifier(), [], {})
    checkpointer.log(rows)
    assert checkpoint.read_log(tmp_path / checkpoint.LOG) == rows


def test_what_is_published_is_found_again(tmp_path):
    torch.manual_seed(0)
    arguments = {"d_model": 4, "n_layer": 1, "d_state": 2, "permutation": 5}
    model = models.PixelClassifier(**arguments)
    (tmp_path / checkpoint.LOG).write_text("step,loss\n1,0.5\n")
    record = {"model": "PixelClassifier", "arguments": arguments}
    checkpoint.write_published("tiny", tmp_path, model, record)
    assert checkpoint.read_record("tiny", tmp_path) == record
    assert checkpoint.read_log(tmp_path / "tiny.csv") == [{"step": 1, "loss": 0.5}]
    torch.manual_seed(1)
    loaded, x = models.load_checkpoint("tiny", tmp_path), torch.randn(2, 784, 1)
    assert not loaded.training and torch.equal(loaded(x), model(x))
    with pytest.raises(CheckpointError, match=r"there is no checkpoint 'big' in .*; there are: tiny"):
        models.load_checkpoint("big", tmp_path)
    (tmp_path / "tiny.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"tiny\.json cannot be read"):
        models.load_checkpoint("tiny", tmp_path)
    with pytest.raises(ValueError, match=r"model must be one of PixelClassifier, .*, got 'os'"):
        models.build("os", {})
    with pytest.raises(
        ValueError, match=r"LinearClassifier cannot be built from .*unexpected keyword argument 'd_model'"
    ):
        models.build("LinearClassifier", {"d_model": 8})
