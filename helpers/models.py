"""Classifiers of sequences: ``(batch, length, channels)`` in, ``(batch, classes)`` logits out.

``PixelClassifier`` is one classifier around an exchangeable mixer, any of :mod:`helpers.layers`. What mixes positions
is all that differs between them. The rest of the file are yardsticks that see the whole digit at once, and
:func:`load_checkpoint`.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from helpers import checkpoint, layers

CHECKPOINTS = Path(__file__).parent / "checkpoints"


# What one layer is made of; each part is pre-normed and residual.
MIXERS = {
    "mamba": (layers.Mamba,),
    "mamba-rope": (layers.MambaRoPE,),
    "mamba2": (layers.Mamba2,),
    "mamba3": (layers.Mamba3,),
    "memoryless": (layers.Memoryless,),
    "s4d": (layers.S4D,),
    "lstm": (layers.LSTM,),
    "attention": (layers.Attention, layers.FeedForward),
}


def sinusoidal_encoding(length, d_model, device=None):
    """Sines and cosines of each position (Vaswani and others, arXiv 1706.03762, section 3.5): ``(length, d_model)``."""
    options = {"dtype": torch.float32, "device": device}
    frequencies = torch.exp(torch.arange(0, d_model, 2, **options) * (-math.log(1e4) / d_model))
    angles = torch.arange(length, **options)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :d_model]


def fixed_order(length, seed):
    """The order in which a permuted sequence is read, ``(length,)``, or None without a seed."""
    if seed is None:
        return None
    return torch.randperm(length, generator=torch.Generator().manual_seed(seed), device="cpu")


# --- the classifier ---------------------------------------------------------------------------------------------------


class PixelClassifier(nn.Module):
    """Reads a sequence in order, and answers from what its mixers remember of it.

    Its head sees no positions side by side: it gets one vector of ``d_model`` numbers. With an LSTM or a state space
    model, whatever it knows of *where* something was has gone through a state, unless there is a positional encoding.

    Args:
        mixer: what carries information from position to position, one of ``MIXERS``.
        d_model: width of the sequence between the layers.
        n_layer: layers, each behind a norm and beside a residual connection.
        length: positions of a sequence.
        channels: numbers at each position.
        classes: possible answers.
        pooling: what the answer is made from: ``"mean"``, the average over all positions, of which each has been
            normalized; ``"sum"``, the normalized sum, in which a position with larger numbers has more to say;
            ``"last"``, the last position alone.
        dropout: share of what a layer adds that is dropped, by channels, in training.
        permutation: the seed of a fixed order in which the positions are read, or None for their own order. The order
            itself is kept with the weights.
        positional_encoding: whether sines and cosines of its position are added to what is read at each position.
            None: for attention alone, which sees no order otherwise.
        glu: whether a gated linear unit follows each mixer. (S4D has one of its own.)
        **options: of the mixer, such as ``d_state``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    def __init__(
        self,
        mixer="mamba",
        d_model=32,
        n_layer=2,
        *,
        length=784,
        channels=1,
        classes=10,
        pooling="mean",
        dropout=0.0,
        permutation=None,
        positional_encoding=None,
        glu=False,
        **options,
    ):
        super().__init__()
        if mixer not in MIXERS:
            raise ValueError(f"mixer must be one of {', '.join(MIXERS)}, got {mixer!r}")
        if pooling not in ("mean", "sum", "last"):
            raise ValueError(f"pooling must be 'mean', 'sum' or 'last', got {pooling!r}")
        sizes = {"d_model": (d_model, 1), "n_layer": (n_layer, 1), "length": (length, 1), "channels": (channels, 1)}
        for name, (size, least) in {**sizes, "classes": (classes, 2)}.items():
            if size < least:
                raise ValueError(f"{name} must be at least {least}, got {size}")
        self.shape, self.pooling, self.dropout = (length, channels), pooling, dropout
        self.embedding = nn.Linear(channels, d_model)
        parts = MIXERS[mixer] * n_layer
        # Mamba's models have RMSNorm here. On a CPU PyTorch computes it in six times the time of LayerNorm.
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in parts)
        self.blocks = nn.ModuleList(part(d_model, **options) for part in parts)
        self.gates = None
        if glu:
            mixes = [part is not layers.FeedForward for part in parts]
            self.gates = nn.ModuleList(layers.GLU(d_model) if mixing else nn.Identity() for mixing in mixes)
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, classes)
        self.positional_encoding = mixer == "attention" if positional_encoding is None else positional_encoding
        self.register_buffer("order", fixed_order(length, permutation))

    def forward(self, sequences, prefix_lengths=None):
        """``(batch, length, channels)`` to logits.

        Args:
            sequences: ``(batch, length, channels)``.
            prefix_lengths: numbers of positions, each from 1 to ``length``: the answers when so many have been read.
                As a tensor on the device of ``sequences`` they need not be copied there.

        Returns:
            ``(batch, classes)``, the answer to the whole sequence; with ``prefix_lengths``
            ``(batch, len(prefix_lengths), classes)``.
        """
        if sequences.dim() != 3 or tuple(sequences.shape[1:]) != self.shape:
            raise ValueError(f"sequences must be (batch, length, channels) = (batch, {self.shape[0]}, {self.shape[1]}),"
                             f" got {tuple(sequences.shape)}")  # fmt: skip
        if self.order is not None:
            sequences = sequences[:, self.order]
        x = self.embedding(sequences)
        if self.positional_encoding:
            x = x + sinusoidal_encoding(*x.shape[1:], x.device).to(x.dtype)
        for number, (norm, block) in enumerate(zip(self.norms, self.blocks, strict=True)):
            y = block(norm(x))
            if self.gates:
                y = self.gates[number](y)
            if self.dropout and self.training:
                y = F.dropout1d(y.mT, self.dropout).mT  # a channel is dropped in the whole sequence, or not at all
            x = x + y
        if prefix_lengths is None:
            read = torch.full((1,), self.shape[0], device=x.device)
        else:
            read = self._checked(prefix_lengths, x.device)
        if self.pooling != "sum":
            x = self.norm(x)
        # A sum over positions has forgotten where each of them was. Without positional encoding only the states know.
        if self.pooling == "last":
            x = x[:, read - 1]
        elif prefix_lengths is None:
            x = x.sum(1, keepdim=True)
        else:
            x = x.cumsum(1, dtype=torch.promote_types(x.dtype, torch.float32))[:, read - 1]
        if self.pooling == "mean":
            x = x / read[:, None]
        elif self.pooling == "sum":
            x = self.norm(x)
        logits = self.head(x)  # (batch, len(read), classes)
        return logits[:, 0] if prefix_lengths is None else logits

    def _checked(self, prefix_lengths, device):
        if isinstance(prefix_lengths, torch.Tensor):  # on a GPU a look at it would be a wait
            return prefix_lengths.to(device)
        wrong = [number for number in prefix_lengths if not 1 <= number <= self.shape[0]]
        if wrong:
            raise ValueError(f"prefix_lengths must be from 1 to {self.shape[0]}, got {wrong[0]}")
        return torch.tensor(list(prefix_lengths), dtype=torch.int64, device=device)


# --- yardsticks, which see all 784 pixels at once ---------------------------------------------------------------------


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


# --- what was trained before ------------------------------------------------------------------------------------------


def build(model: str, arguments: dict) -> nn.Module:
    """A classifier of this file by the name of its class, as a checkpoint names it."""
    known = (PixelClassifier, LinearClassifier, ConvClassifier, FlattenedClassifier)
    classes = {kind.__name__: kind for kind in known}
    if model not in classes:
        raise ValueError(f"model must be one of {', '.join(classes)}, got {model!r}")
    try:
        return classes[model](**arguments)
    except (TypeError, ArithmeticError, RuntimeError, MemoryError) as error:  # an argument it has not, or such a size
        raise ValueError(f"{model} cannot be built from {arguments}: {error}") from error


def load_checkpoint(name: str, folder=CHECKPOINTS) -> nn.Module:
    """The published classifier ``name``, in evaluation mode, on the CPU, such as ``"smnist"``.

    Reads ``<name>.json`` (what was built, and how it was trained) and ``<name>.safetensors`` (the weights).

    Raises:
        helpers.checkpoint.CheckpointError: if a file is missing or damaged; the message says which, and what to do.
    """
    record = checkpoint.read_record(name, folder)
    path = Path(folder) / f"{name}.safetensors"
    try:
        with torch.device("cpu"):  # whatever the default device is
            model = build(record["model"], record["arguments"])
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path.with_suffix('.json')} describes no classifier: {error}") from error
    checkpoint.load_weights(model, checkpoint.load(path)[0], path)
    return model.eval()
