"""Classifiers of sequences: ``(batch, length, channels)`` in, ``(batch, classes)`` logits out.

``PixelClassifier`` is one classifier around an exchangeable mixer: Mamba, plain or with rotary position embedding, its
ancestor S4D, an LSTM, or a Transformer's attention. What mixes positions is all that differs between them. The rest of
the file are yardsticks that see the whole digit at once, and :func:`load_checkpoint`.
"""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import nn

from helpers import checkpoint
from helpers.mamba import Mamba, RotaryMamba
from helpers.s4d import S4D

CHECKPOINTS = Path(__file__).parent / "checkpoints"


# --- mixers: (batch, length, d_model) to the same, position t sees positions 0 to t -----------------------------------


class LSTM(nn.Module):
    """A long short-term memory as wide as the sequence (Hochreiter and Schmidhuber, 1997)."""

    def __init__(self, d_model):
        super().__init__()
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)

    def forward(self, x):
        return self.lstm(x)[0]


class Attention(nn.Module):
    """Causal multi-head attention (Vaswani and others, arXiv 1706.03762, section 3.2).

    Args:
        d_model: width of the sequence, a multiple of ``n_head``.
        n_head: heads, each ``d_model / n_head`` wide.
    """

    def __init__(self, d_model, n_head=4):
        super().__init__()
        if d_model % n_head:
            raise ValueError(f"d_model must be a multiple of n_head = {n_head}, got {d_model}")
        self.n_head = n_head
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def forward(self, x):
        q, k, v = (part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (batch, n_head, length, d_model / n_head)
        return self.out_proj(y.transpose(1, 2).flatten(-2))


class Memoryless(Mamba):
    """A Mamba block whose state forgets everything at every step, ``exp(delta A) = 0``, and cannot learn otherwise.

    What it still sees of the past is what its convolution sees: the last ``d_conv`` positions.
    """

    def __init__(self, d_model, **options):
        super().__init__(d_model, **options)
        self.A_log.requires_grad_(False).fill_(30.0)  # A = -exp(30)


class FeedForward(nn.Sequential):
    """What follows attention in a Transformer: every position by itself, through twice the width."""

    def __init__(self, d_model, n_head=None):
        super().__init__(nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model))


# What stands behind a norm and beside a residual connection, layer by layer.
MIXERS = {
    "mamba": (Mamba,),
    "rotary": (RotaryMamba,),
    "memoryless": (Memoryless,),
    "s4d": (S4D,),
    "lstm": (LSTM,),
    "attention": (Attention, FeedForward),
}


def sines(length, d_model):
    """Sines and cosines that say where a position is: ``(length, d_model)`` (Vaswani, section 3.5)."""
    angles = torch.arange(length)[:, None] * torch.exp(torch.arange(0, d_model, 2) * (-math.log(1e4) / d_model))
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :d_model]


def fixed_order(length, seed):
    """The order in which a permuted sequence is read, ``(length,)``, or None without a seed."""
    return None if seed is None else torch.randperm(length, generator=torch.Generator().manual_seed(seed))


# --- the classifier ---------------------------------------------------------------------------------------------------


class PixelClassifier(nn.Module):
    """Reads a sequence in order, and answers from what its mixers remember of it.

    Its head sees no positions side by side: it gets one vector of ``d_model`` numbers. With an LSTM or a
    state space model whatever it knows of *where* something was has gone through a state, unless it is told the places.

    Args:
        mixer: what carries information from position to position, one of ``MIXERS``.
        d_model: width of the sequence between the layers.
        n_layer: layers, each behind a norm and beside a residual connection.
        length: positions of a sequence.
        channels: numbers at each position.
        classes: possible answers.
        pooling: what the answer is made from: ``"mean"``, the average over all positions, of which each has been
            normalised; ``"sum"``, the normalised sum, in which a position with larger numbers has more to say;
            ``"last"``, the last position alone.
        dropout: share of what a layer adds that is dropped, by channels, in training.
        permutation: the seed of a fixed order in which the positions are read, or None for their own order. The order
            itself is kept with the weights.
        places: whether sines and cosines that say where in the order it is are added to what is read at every position.
            None: for attention alone, which sees no order otherwise.
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
        places=None,
        **options,
    ):
        super().__init__()
        if mixer not in MIXERS:
            raise ValueError(f"mixer must be one of {', '.join(MIXERS)}, got {mixer!r}")
        if pooling not in ("mean", "sum", "last"):
            raise ValueError(f"pooling must be 'mean', 'sum' or 'last', got {pooling!r}")
        self.shape, self.pooling, self.dropout = (length, channels), pooling, dropout
        self.embedding = nn.Linear(channels, d_model)
        parts = MIXERS[mixer] * n_layer
        # Mamba's models have RMSNorm here. On a CPU PyTorch computes it in six times the time of LayerNorm.
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in parts)
        self.blocks = nn.ModuleList(part(d_model, **options) for part in parts)
        self.norm = nn.LayerNorm(d_model)
        self.head = nn.Linear(d_model, classes)
        told = mixer == "attention" if places is None else places
        self.register_buffer("places", sines(length, d_model) if told else None, persistent=False)
        self.register_buffer("order", fixed_order(length, permutation))

    def forward(self, pixels, after=None):
        """``(batch, length, channels)`` to logits.

        Args:
            pixels: ``(batch, length, channels)``.
            after: numbers of positions, each from 1 to ``length``: what is the answer when so many have been read?

        Returns:
            ``(batch, classes)``, the answer to the whole sequence; with ``after`` ``(batch, len(after), classes)``.
        """
        if pixels.dim() != 3 or tuple(pixels.shape[1:]) != self.shape:
            raise ValueError(f"pixels must be (batch, length, channels) = (batch, {self.shape[0]}, {self.shape[1]}),"
                             f" got {tuple(pixels.shape)}")  # fmt: skip
        if self.order is not None:
            pixels = pixels[:, self.order]
        x = self.embedding(pixels)
        if self.places is not None:
            x = x + self.places
        for norm, block in zip(self.norms, self.blocks, strict=True):
            y = block(norm(x))
            if self.dropout and self.training:
                y = F.dropout1d(y.mT, self.dropout).mT  # a channel is dropped in the whole sequence, or not at all
            x = x + y
        read = torch.tensor([self.shape[0]] if after is None else list(after), device=x.device)
        if self.pooling != "sum":
            x = self.norm(x)
        # A sum over positions has forgotten where each of them was. Unless they are told, only the states know.
        if self.pooling == "last":
            x = x[:, read - 1]
        elif after is None:
            x = x.sum(1, keepdim=True)
        else:
            x = x.cumsum(1, dtype=torch.promote_types(x.dtype, torch.float32))[:, read - 1]
        if self.pooling == "mean":
            x = x / read[:, None]
        elif self.pooling == "sum":
            x = self.norm(x)
        logits = self.head(x)  # (batch, len(read), classes)
        return logits[:, 0] if after is None else logits


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

    def forward(self, pixels):
        return self.layers(pixels.reshape(-1, 1, 28, 28))


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
        self.block = nn.Identity() if mixer == "identity" else Mamba(1).requires_grad_(mixer == "mamba")
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
    except TypeError as error:  # an argument that it does not have
        raise ValueError(f"{model} cannot be built from {arguments}: {error}") from error


def load_checkpoint(name: str, folder=CHECKPOINTS) -> nn.Module:
    """The published classifier ``name``, in evaluation mode, on the CPU, such as ``"smnist"``.

    Reads ``<name>.json`` (what was built, and how it was trained) and ``<name>.safetensors`` (the weights).

    Raises:
        helpers.checkpoint.CheckpointError: if a file is missing or damaged; the message says which, and what to do.
    """
    about = checkpoint.about(name, folder)
    model = build(about["model"], about["arguments"])
    model.load_state_dict(checkpoint.load(Path(folder) / f"{name}.safetensors"))
    return model.eval()
