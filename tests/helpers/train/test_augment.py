"""What augmentation does to a digit: turned, scaled and moved by what was drawn for it, and nothing else."""

import math

import pytest
import torch
from scipy import ndimage

from helpers import mnist, models, train
from helpers.train import TrainingConfig
from helpers.train.augment import DEGREES, SHIFT, STRETCH, augment
from helpers.train.capture import CapturedStep
from helpers.train.step import Step

BLACK = -mnist.MEAN / mnist.STD


def digits(n=64, dtype=torch.float64):
    return mnist.sequences(mnist.load(train=False))[0][:n].to(dtype)


def draw(monkeypatch, degrees=0.0, stretch=0.0, right=0.0, down=0.0):
    """Let the next digits be drawn so: turned anticlockwise, larger by a share, moved by pixels."""
    shares = torch.tensor([degrees / DEGREES, stretch / STRETCH, -right / SHIFT, -down / SHIFT], dtype=torch.float64)
    monkeypatch.setattr(torch, "rand", lambda rows, n, **options: ((1 + shares) / 2)[:, None].expand(rows, n))


def test_a_digit_that_is_moved_by_whole_pixels_is_the_same_digit_elsewhere(monkeypatch):
    draw(monkeypatch, right=1.0, down=2.0)
    images, found = (x.view(-1, 28, 28) for x in (digits(), augment(digits())))
    torch.testing.assert_close(found[:, 2:, 1:], images[:, :-2, :-1])
    assert torch.allclose(found[:, :2], torch.tensor(BLACK, dtype=torch.float64)), "what comes in is black"


@pytest.mark.parametrize(("degrees", "stretch"), [(10.0, 0.0), (0.0, 0.1), (0.0, -0.1), (-15.0, 0.15)])
def test_turned_and_scaled_as_scipy_does_it(monkeypatch, degrees, stretch):
    draw(monkeypatch, degrees, stretch)
    x = digits(4)
    found = augment(x).view(-1, 28, 28)
    angle, zoom = math.radians(degrees), 1 / (1 + stretch)
    # ndimage asks for each pixel of the result (row, column) where it was; rows grow downwards.
    turn = [[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]]
    back, middle = zoom * torch.tensor(turn, dtype=torch.float64), torch.full((2,), 13.5, dtype=torch.float64)
    for image, other in zip(x.view(-1, 28, 28), found, strict=True):
        offset = (middle - back @ middle).numpy()
        expected = ndimage.affine_transform(image.numpy() - BLACK, back.numpy(), offset, order=1, mode="grid-constant")
        torch.testing.assert_close(other, torch.from_numpy(expected) + BLACK, rtol=0, atol=1e-9)


def test_every_digit_has_a_transformation_of_its_own():
    torch.manual_seed(0)
    one = digits(1).expand(500, -1, -1)
    found = augment(one)
    assert found.shape == one.shape and found.dtype == one.dtype
    assert len(found.flatten(1).unique(dim=0)) == 500
    ink = (found - BLACK).sum((1, 2)) / (digits(1) - BLACK).sum()
    assert ink.min() > 0.6 and ink.max() < 1.5 and abs(ink.mean() - 1) < 0.05, "larger and smaller alike"


def test_the_generator_decides():
    results = [(torch.manual_seed(seed), augment(digits(8, torch.float32)))[1] for seed in (3, 3, 4)]
    assert torch.equal(*results[:2]) and not torch.equal(*results[1:])


@pytest.mark.parametrize("shape", [(2, 783, 1), (2, 784, 2), (2, 784)])
def test_only_digits_can_be_augmented(shape):
    with pytest.raises(ValueError, match=r"^only digits can be augmented, \(batch, 784, 1\), got \(2, 78"):
        augment(torch.zeros(shape))


@pytest.mark.parametrize("step", [Step, lambda *rest: CapturedStep(*rest, record=lambda: lambda function: function())])
@pytest.mark.parametrize("augments", [True, False])
def test_a_training_reads_every_digit_anew(step, augments):
    """Of two epochs, and never when it evaluates."""
    read = {True: [], False: []}

    class Classifier(models.LinearClassifier):
        def forward(self, x):
            read[self.training].append(x.clone())
            return super().forward(x)

    loader, _, test = mnist.dataloaders(60, validation=59_940)
    config = TrainingConfig(steps=2, augment=augments)
    train.fit(Classifier(), loader, config, validation=[next(iter(test))], step=step)
    first, second = (batch[batch.sum((1, 2)).sort().indices] for batch in read[True])
    assert torch.equal(first, second) != augments and first.shape == (60, 784, 1)
    assert torch.equal(read[False][0], next(iter(test))[0])
