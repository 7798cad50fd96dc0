"""A training looks at its data before the first step, and says which of them it cannot use."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

from helpers import models, train
from helpers.train import TrainingConfig

X, Y = torch.randn(40, 12, 3), torch.arange(40) % 2
NAN = X.clone()
NAN[39, 3, 1] = torch.nan
CONSTANT = X.clone()
CONSTANT[..., 2] = 4.0


def normalized(x):
    return (x - x.mean((0, 1))) / x.std((0, 1))


def fit(x, y, loader=DataLoader, **config):
    torch.manual_seed(0)
    model = models.PixelClassifier(length=12, channels=3, classes=2, d_model=4, n_layer=1, d_state=2)
    before = [p.clone() for p in model.parameters()]
    try:
        return train.fit(model, loader(TensorDataset(x, y), 8), TrainingConfig(**{"steps": 3, **config}))
    except ValueError:
        assert all(map(torch.equal, before, model.parameters())), "it was trained before it was refused"
        raise


@pytest.mark.parametrize(
    ("x", "y", "said"),
    [
        (X, Y + 1, "labels must be 0 to 1 with 2 classes, got 1 to 2"),
        (X, Y - 1, "labels must be 0 to 1 with 2 classes, got -1 to 0"),
        (X, Y - 100, "labels must be 0 to 1 with 2 classes, got -100 to -99"),
        (X, Y + 0.5, r"labels must be whole numbers, one for each answer, \(n,\), got \(40,\), torch.float32"),
        (X, torch.eye(2)[Y].long(), r"labels must be whole numbers, one .* got \(40, 2\), torch.int64"),
        (X, Y[:, None], r"labels must be whole numbers, one .* got \(40, 1\), torch.int64"),
        (NAN, Y, "numbers that are not finite"),
        (normalized(CONSTANT), Y, "a constant channel that was divided by its standard deviation"),
        (X[..., 0], Y, r"sequences must be \(batch, length, channels\) = \(batch, 12, 3\), got \(8, 12\)"),
        (X.mT, Y, r"sequences must be \(batch, length, channels\) = \(batch, 12, 3\), got \(8, 3, 12\)"),
        (X[:0], Y[:0], "loader has no batches"),
    ],
)  # fmt: skip
def test_data_that_cannot_be_used_are_named(x, y, said):
    with pytest.raises(ValueError, match=said):
        fit(x, y)


def test_a_sequence_can_have_several_answers():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 6), torch.nn.Unflatten(1, (3, 2)))
    batches = [(X, Y.repeat_interleave(3))]
    records = train.fit(torch.nn.Sequential(model, torch.nn.Flatten(0, 1)), batches, TrainingConfig(steps=2))
    assert len(records) == 2


def test_what_can_be_gone_through_once_does_not_hang():
    def once(data, batch):
        return iter(DataLoader(data, batch))

    with pytest.raises(ValueError, match=r"no more batches\. An iterator or a generator"):
        train.fit(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2)), once(TensorDataset(X, Y), 8),
                  TrainingConfig(steps=20))  # fmt: skip
    generator = (batch for batch in DataLoader(TensorDataset(X, Y), 8))
    with pytest.raises(ValueError, match="loader must have a length, or the config must say how many steps"):
        train.fit(torch.nn.Linear(3, 2), generator, TrainingConfig())


def test_nothing_to_evaluate_is_said():
    model, nothing = torch.nn.Linear(3, 2), DataLoader(TensorDataset(X[:0], Y[:0]), 8)
    with pytest.raises(ValueError, match="there is nothing to evaluate"):
        train.evaluate(model, nothing)
    with pytest.raises(ValueError, match="validation has no batches"):
        train.fit(model, [(X[:, 0], Y)], TrainingConfig(steps=1), validation=nothing)
    with pytest.raises(ValueError, match="not finite"):
        train.evaluate(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(36, 2)), [(NAN, Y)])


@pytest.mark.parametrize("tasks", ["4", "1"])
def test_one_process_is_one_process_also_in_a_job_of_slurm(tasks, monkeypatch):
    slurm = {"JOB_ID": "7", "JOB_NAME": "jupyter", "NTASKS": tasks, "PROCID": "0", "LOCALID": "0", "NODEID": "0"}
    for name, value in slurm.items():
        monkeypatch.setenv(f"SLURM_{name}", value)
    fabric = train.make_fabric()
    assert (fabric.world_size, fabric.global_rank) == (1, 0)
    assert len(fit(X, Y)) == 3
