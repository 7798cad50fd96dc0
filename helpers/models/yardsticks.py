"""Yardsticks, which see all 784 pixels at once."""

import torch
from torch import nn

from helpers import layers
from helpers.models.classifier import fixed_order


class LinearClassifier(nn.Sequential):
    """One weight a pixel and class: the yardstick for what needs no memory and no notion of shape."""

    def __init__(self):
        super().__init__(nn.Flatten(), nn.Linear(784, 10))


class ConvClassifier(nn.Module):
    """A small 2-D convolutional network: the yardstick for what sees the digit as a picture."""

    def __init__(self):
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, 16, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 5, padding=2),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Flatten(),
            nn.Linear(32 * 7 * 7, 10),
        )
        self.to(memory_format=torch.channels_last)  # on a CPU a training step then takes two thirds of the time

    def forward(self, pixels):
        return self.layers(pixels.reshape(-1, 1, 28, 28).contiguous(memory_format=torch.channels_last))


class FlattenedClassifier(nn.Module):
    """The common recipe: one Mamba block of width 1, and a linear layer over all 784 of its outputs side by side.

    Args:
        mixer: ``"mamba"``; ``"frozen"``, a Mamba block that stays as it was drawn; ``"identity"``, nothing at all.
        permutation: the seed of a fixed order in which the pixels are read, or None for their own.
    """

    def __init__(self, mixer="mamba", permutation=None):
        super().__init__()
        if mixer not in ("mamba", "frozen", "identity"):
            raise ValueError(f"mixer must be 'mamba', 'frozen' or 'identity', got {mixer!r}")
        self.block = nn.Identity() if mixer == "identity" else layers.Mamba(1).requires_grad_(mixer == "mamba")
        self.head = nn.Linear(784, 10)
        self.register_buffer("order", fixed_order(784, permutation))

    def forward(self, pixels):
        if self.order is not None:
            pixels = pixels[:, self.order]
        return self.head(self.block(pixels).flatten(1))
