"""What is saved comes back bit for bit, and what is damaged is refused."""

import json
import os
import sys

import pytest
import torch
from repository import run_python
from safetensors.torch import load_file
from safetensors.torch import save as serialize

from helpers import checkpoint, models
from helpers.checkpoint import CheckpointError


def tensors():
    generator = torch.Generator().manual_seed(0)
    row = torch.randn(1, 3, generator=generator)
    return {
        "blocks.0/weight": torch.randn(3, 4, generator=generator),
        "transposed": torch.randn(2, 3, generator=generator).mT,
        "expanded": row.expand(5, 3),
        "a part of it": row[:, 1:],
        "order": torch.arange(5),
        "step": torch.tensor(3.0),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "complex": torch.ones(2, dtype=torch.complex64),
        "empty": torch.zeros(0, 2),
    }


STATE = {"step": 7, "best": [0.1 + 0.2, -1e-300], "none": None, "deep": {"tally": [1.0, 2.0]}}


def equal(x, y):
    if isinstance(x, (dict, tuple)):
        x, y = (dict(enumerate(z)) if isinstance(z, tuple) else z for z in (x, y))
        return x.keys() == y.keys() and all(equal(x[key], y[key]) for key in x)
    return torch.equal(x, y) and x.dtype == y.dtype if isinstance(x, torch.Tensor) else x == y


def test_what_is_saved_comes_back(tmp_path):
    checkpoint.save(tmp_path / "a.safetensors", tensors(), STATE)
    assert equal(checkpoint.load(tmp_path / "a.safetensors"), (tensors(), STATE))
    assert os.listdir(tmp_path) == ["a.safetensors"]


def test_tied_weights_are_saved_under_both_names_and_stay_tied(tmp_path):
    model = torch.nn.ModuleDict({"forth": torch.nn.Linear(3, 3), "back": torch.nn.Linear(3, 3)})
    model["back"].weight = model["forth"].weight
    checkpoint.save(tmp_path / "a.safetensors", model.state_dict())
    found, _ = checkpoint.load(tmp_path / "a.safetensors")
    assert equal(found, dict(model.state_dict()))
    checkpoint.load_weights(model, found, tmp_path)
    assert model["back"].weight is model["forth"].weight


@pytest.mark.parametrize(
    ("given", "state", "said"),
    [
        ({0: torch.ones(2)}, None, "tensors must be {name: tensor}, not so at 0"),
        ({"a": [1.0]}, None, "tensors must be {name: tensor}, not so at 'a'"),
        ({}, {"best": torch.ones(1)}, "Object of type Tensor is not JSON serializable"),
        ({}, [1], "state must be a dictionary, got a list"),
        ({"__metadata__": torch.ones(1)}, None, ""),  # safetensors writes it, and cannot read it
        ({"a": torch.ones(1, device="meta")}, None, "Cannot copy out of meta tensor"),
        ({"a": torch.ones(1).to_sparse()}, None, ""),
        ({"\ud800": torch.ones(1)}, None, ""),
    ],
)
def test_what_cannot_be_saved_is_named_and_nothing_is_written(tmp_path, given, state, said):
    with pytest.raises(CheckpointError, match=f"cannot be written: {said}"):
        checkpoint.save(tmp_path / "a.safetensors", given, state)
    assert not os.listdir(tmp_path)


@pytest.mark.parametrize("function", ["serialize", "parse"])
def test_a_dtype_that_safetensors_cannot_write_or_not_read_again_is_refused(tmp_path, monkeypatch, function):
    def unknown(*_, **__):
        raise KeyError("F8_E8M0")

    monkeypatch.setattr(checkpoint, function, unknown)
    with pytest.raises(CheckpointError, match="cannot be written: 'F8_E8M0'"):
        checkpoint.save(tmp_path / "a.safetensors", tensors())
    assert not os.listdir(tmp_path)


def of_dtype(dtype, numbers, size):
    header = json.dumps({"a": {"dtype": dtype, "shape": [numbers], "data_offsets": [0, size]}}).encode()
    return len(header).to_bytes(8, "little") + header + bytes(size)


def signed(text):
    given = {"a": torch.ones(2)}
    return serialize(given, metadata={"state": text, "sha256": checkpoint._checksum(given, text)})


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (
            serialize({"a": torch.ones(2)}),
            "is an intact safetensors file, but not one of this tutorial's.*load_file reads it",
        ),
        (
            serialize({"a": torch.ones(2)}, metadata={"format": "pt"}),
            "is an intact safetensors file, but not one of this",
        ),
        (signed("[1]"), "its state is not a dictionary"),
        (signed("{"), "is damaged"),
        (signed("[" * 100_000), "is damaged"),
        (of_dtype("F4", 8, 4), "is damaged|none of this"),  # which safetensors knows and torch does not
        (b"\xff" * 8 + b"{}", "is damaged, or no safetensors file at all"),
        (b"PK and then a zip archive, as torch.save writes it", "is damaged, or no safetensors file at all"),
    ],
)
def test_what_is_not_ours_is_called_what_it_is(tmp_path, content, said):
    path = tmp_path / "a.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(path)


def test_a_state_dict_becomes_an_ordinary_safetensors_file(tmp_path):
    model = models.PixelClassifier(d_model=4, n_layer=1, d_state=2, permutation=1)
    checkpoint.save(tmp_path / "a.safetensors", model.state_dict())
    assert equal(load_file(tmp_path / "a.safetensors"), dict(model.state_dict()))


def test_every_changed_byte_is_noticed(tmp_path):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, tensors(), STATE)
    content = path.read_bytes()
    for place in range(0, len(content), 7):
        changed = bytearray(content)
        changed[place] ^= 4
        path.write_bytes(changed)
        try:
            found = checkpoint.load(path)
        except CheckpointError:
            continue
        assert equal(found, (tensors(), STATE)), f"byte {place}"  # it stood in nothing that counts


@pytest.mark.parametrize("length", [0, 5, 8, 100, -1])
def test_what_was_cut_off_is_refused(tmp_path, length):
    path = tmp_path / "a.safetensors"
    checkpoint.save(path, tensors(), STATE)
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(CheckpointError, match=r"a\.safetensors is damaged, .*restore it from a copy, or delete it"):
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
        checkpoint.save(tmp_path / "file" / "a.safetensors", tensors())
    model = models.LinearClassifier()
    with pytest.raises(CheckpointError, match="cannot be used as a folder"):
        checkpoint.Checkpointer(tmp_path / "file", model, [], {}).__enter__()


def test_a_folder_belongs_to_one_training_at_a_time(tmp_path):
    model = models.LinearClassifier()
    adamw = [torch.optim.AdamW(model.parameters())]
    first, second = (checkpoint.Checkpointer(tmp_path, model, adamw, {}) for _ in range(2))
    with first:
        half_written = tmp_path / "last.safetensors.part"
        half_written.write_text("")
        with pytest.raises(CheckpointError, match="is in use: another training writes into it"), second:
            pass
        assert half_written.exists(), "the second has cleared away what the first was writing"
        first.keep(step=1)
    with second:
        assert second.resume()[0] == {"step": 1} and not half_written.exists()


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
    assert torch.equal(checkpoint.load(tmp_path / "a")[0]["x"], torch.zeros(10))
    assert os.listdir(tmp_path) == ["a"]


def test_log_keeps_every_digit(tmp_path):
    rows = [{"step": i, "loss": 0.1 / 3 * i, "accuracy": 1e-17 * i, "seconds": 0.5} for i in (1, 2, 10)]
    checkpointer = checkpoint.Checkpointer(tmp_path, models.LinearClassifier(), [], {})
    checkpointer.log(rows)
    assert checkpoint.read_log(tmp_path / checkpoint.LOG) == rows


def test_what_was_logged_after_the_last_checkpoint_is_logged_again(tmp_path):
    """A training that is killed between the two goes on from the checkpoint, and would write those rows twice."""
    model = models.LinearClassifier()
    optimizers = [torch.optim.AdamW(model.parameters())]
    with checkpoint.Checkpointer(tmp_path, model, optimizers, {}) as checkpointer:
        checkpointer.keep(step=10)
        checkpointer.log([{"step": step, "loss": 1 / step} for step in (5, 10, 15)])
    with checkpoint.Checkpointer(tmp_path, model, optimizers, {}) as checkpointer:
        counters, rows = checkpointer.resume()
    assert counters == {"step": 10} and rows == [{"step": 5, "loss": 0.2}, {"step": 10, "loss": 0.1}]


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
    for text, said in {
        "[1]": "does not describe a model: it must have 'model', a str",
        '{"model": "PixelClassifier", "arguments": [1]}': "it must have 'arguments', a dict",
        '{"model": "os.system", "arguments": {}}': r"tiny\.json describes no model: model must be one of",
        '{"model": "PixelClassifier", "arguments": {"d_model": 8}}': "does not fit a PixelClassifier of this size",
        '{"model": "LinearClassifier", "arguments": {}}': "does not fit a LinearClassifier of this size",
    }.items():
        (tmp_path / "tiny.json").write_text(text)
        with pytest.raises(CheckpointError, match=said):
            models.load_checkpoint("tiny", tmp_path)
    model.head.bias.data[3] = torch.nan
    checkpoint.write_published("tiny", tmp_path, model, record)
    with pytest.raises(CheckpointError, match=r"head\.bias holds numbers that are not finite"):
        models.load_checkpoint("tiny", tmp_path)
    with pytest.raises(ValueError, match=r"model must be one of PixelClassifier, .*, got 'os'"):
        models.build("os", {})
    with pytest.raises(
        ValueError, match=r"LinearClassifier cannot be built from .*unexpected keyword argument 'd_model'"
    ):
        models.build("LinearClassifier", {"d_model": 8})
