"""Classifiers of pixel sequences: ``(batch, 784, 1)`` in, ``(batch, 10)`` logits out."""

from torch import nn

from helpers.mamba import Mamba


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

    def forward(self, pixels):
        return self.layers(pixels.reshape(-1, 1, 28, 28))


class PixelClassifier(nn.Module):
    """Reads the pixels in order with Mamba blocks, and answers from what they remember.

    Args:
        d_model: width of the sequence between the blocks.
        n_layer: number of blocks, each behind a norm and beside a residual connection.
        d_state, expand: of each block.
    """

    def __init__(self, d_model=32, n_layer=2, d_state=8, expand=2):
        super().__init__()
        self.embedding = nn.Linear(1, d_model)
        self.norms = nn.ModuleList(nn.RMSNorm(d_model) for _ in range(n_layer))
        self.blocks = nn.ModuleList(Mamba(d_model, d_state=d_state, expand=expand) for _ in range(n_layer))
        self.norm = nn.RMSNorm(d_model)
        self.head = nn.Linear(d_model, 10)

    def forward(self, pixels):
        x = self.embedding(pixels)
        for norm, block in zip(self.norms, self.blocks, strict=True):
            x = x + block(norm(x))
        # The average over positions has forgotten where each of them was: what is known of places, the states know.
        return self.head(self.norm(x).mean(1))
