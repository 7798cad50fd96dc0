"""A training that is killed, stopped or split among processes ends where the undisturbed one does."""

import functools
import json
import os

import pytest
import torch
from repository import ROOT, run_python
from torch.utils.data import DataLoader, TensorDataset

from helpers import checkpoint, mnist, models, train
from helpers.train import TrainingConfig

posix = pytest.mark.skipif(os.name != "posix", reason="processes are forked")


def assert_same_end(one, other):
    for name in (checkpoint.LAST, checkpoint.BEST):
        assert (one / name).exists() == (other / name).exists()
        if (one / name).exists():
            (weights, state), (other_weights, other_state) = (checkpoint.load(folder / name) for folder in (one, other))
            assert_equal(weights, other_weights)
            for found in (state, other_state):
                found.get("counters", {}).pop("seconds", None)  # the wall clock may differ, nothing else
            assert state == other_state
    logs = [checkpoint.read_log(folder / checkpoint.LOG) for folder in (one, other)]
    rows = [[{key: value for key, value in row.items() if key != "seconds"} for row in log] for log in logs]
    assert rows[0] == rows[1] and len(rows[0]) > 1


def assert_equal(x, y):
    if isinstance(x, dict):
        assert x.keys() == y.keys()
        for key in x:
            assert_equal(x[key], y[key])
    else:
        assert torch.equal(x, y) if isinstance(x, torch.Tensor) else x == y


@posix
@pytest.mark.slow
def test_twenty_kills_change_nothing(tmp_path):
    run = run_python("tests/support/killed_training.py", tmp_path, 20, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
    assert run.returncode == 0, run.stdout + run.stderr
    inside, outside = map(int, run.stdout.split())
    assert inside >= 5 and outside >= 5, f"{inside} kills inside of a write, {outside} outside"
    assert_same_end(tmp_path / "whole", tmp_path / "killed")
    assert not list((tmp_path / "killed").glob("*.part"))


@pytest.mark.slow
def test_two_processes_take_the_same_steps_as_one():
    losses = []
    bounds = {0.0: 1e-4, 0.02: 1e-3}  # Muon computes in bfloat16: a last bit of float32 may become 0.4 % there
    for processes in (1, 2):
        script = ("tests/support/fit_in_processes.py", processes, *bounds)
        run = run_python(*script, OMP_NUM_THREADS="1", PYTHONPATH=str(ROOT))
        assert run.returncode == 0, run.stderr
        losses.append(json.loads(run.stdout.splitlines()[-1]))
    for one, two, bound in zip(*losses, bounds.values(), strict=True):
        assert len(one) == 50 and max(abs(x - y) for x, y in zip(one, two, strict=True)) < bound
        assert one != two, "the second run was not split"


@functools.cache
def loaders(read=mnist.sequences):
    """Few real digits, in the order that can be taken up midway, and some to validate on."""
    pixels, labels = (tensor[:512] for tensor in read(mnist.load(train=False)))
    training, validation = TensorDataset(pixels[:384], labels[:384]), TensorDataset(pixels[384:], labels[384:])
    return DataLoader(training, sampler=mnist.Shuffled(384, 64, seed=0), batch_size=None), DataLoader(validation, 64)


def fit(folder, stop_at=None, validates=True, model=models.PixelClassifier, **config):
    torch.manual_seed(0)
    generates = model is models.PixelGenerator
    loader, validation = loaders(mnist.levels if generates else mnist.sequences)
    calls = iter(range(1, 1000))
    model = model(d_model=8, n_layer=1, d_state=2, dropout=0.2, classes=10)
    config = {"steps": 6, "learning_rate": 1e-2, "muon_learning_rate": 2e-2, "log_every": 2, "save_every": 1} | config
    return train.fit(
        model,
        loader,
        TrainingConfig(**config),
        validation=validation if validates else None,
        folder=folder,
        settings={"model": "small"},
        stop=lambda: next(calls) == stop_at,
    )


@pytest.mark.parametrize("model", [models.PixelClassifier, models.PixelGenerator])
def test_stopped_and_taken_up_again(tmp_path, model):
    fit(tmp_path / "whole", model=model)
    for stop_at in (1, 2, 1):
        with pytest.raises(train.Stopped, match=r"stopped after step \d of 6\. The last good checkpoint is .*last"):
            fit(tmp_path / "parts", stop_at=stop_at, model=model)
    records = fit(tmp_path / "parts", save_every=3, model=model)  # which may differ
    assert [record["step"] for record in records] == [2, 4, 6]
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert fit(tmp_path / "parts", model=model) == records, "what is done is not done again"


def test_another_training_is_refused(tmp_path):
    fit(tmp_path)
    for name, other in {"learning_rate": 0.02, "schedule": "constant", "seed": 1, "steps": 7}.items():
        said = rf"holds a training with {name} = .*, and {other!r} was given"
        with pytest.raises(checkpoint.CheckpointError, match=said):
            fit(tmp_path, **{name: other})


def test_augmentation_is_taken_up_where_it_was(tmp_path):
    whole, plain = fit(tmp_path / "whole", augment=True), fit(tmp_path / "plain")
    with pytest.raises(train.Stopped):
        fit(tmp_path / "parts", stop_at=3, augment=True)
    fit(tmp_path / "parts", augment=True)
    assert_same_end(tmp_path / "whole", tmp_path / "parts")
    assert whole[0]["loss"] != plain[0]["loss"]


def test_divergence_keeps_the_last_good_checkpoint(tmp_path):
    wild = {"learning_rate": 1e4, "muon_learning_rate": 2e4, "schedule": "constant", "gradient_clip": 0}
    with pytest.raises(
        FloatingPointError, match=r"failed at step \d+: .*Try a lower learning_rate than .* of step \d+\."
    ):
        fit(tmp_path, validates=False, steps=400, log_every=1000, **wild)
    weights, _ = checkpoint.load(tmp_path / checkpoint.LAST)
    assert weights and all(tensor.isfinite().all() for tensor in weights.values())


def test_a_loader_that_cannot_be_taken_up_is_refused(tmp_path):
    loader = [(torch.zeros(2, 784, 1), torch.zeros(2, dtype=torch.int64))]
    with pytest.raises(ValueError, match=r"with a folder, loader must be one of helpers\.mnist"):
        train.fit(models.LinearClassifier(), loader, TrainingConfig(steps=1), folder=tmp_path)
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
    model.load_state_dict(checkpoint.load(tmp_path / checkpoint.BEST)[0])
    assert train.evaluate(model, loaders()[1]).accuracy == best["validation_accuracy"]
