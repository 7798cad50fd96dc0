"""What all models of this tutorial have in common: layers of one mixer, each pre-normed and residual."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils._pytree import tree_map_only

from helpers import layers

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


def sinusoidal_encoding(length, d_model, device=None, first=0):
    """Sines and cosines of each position (Vaswani and others, arXiv 1706.03762, section 3.5): ``(length, d_model)``.

    ``first`` is the number of the first position.
    """
    options = {"dtype": torch.float32, "device": device}
    frequencies = torch.exp(torch.arange(0, d_model, 2, **options) * (-math.log(1e4) / d_model))
    angles = torch.arange(first, first + length, **options)[:, None] * frequencies
    return torch.stack([angles.sin(), angles.cos()], -1).flatten(1)[:, :d_model]


class Memory(NamedTuple):
    """All that a model keeps of what it has read."""

    states: tuple  # one for each of its blocks, as the block makes it; None for one that looks at a single position
    position: int = 0  # how many positions it has read

    def detach(self) -> "Memory":
        """The same memory, through which no gradients go back."""
        return tree_map_only(torch.Tensor, torch.Tensor.detach, self)


class Backbone(nn.Module):
    """An embedding, layers, and a norm. ``(batch, length, ...)`` to ``(batch, length, d_model)``, causally.

    Args:
        embedding: what makes ``d_model`` numbers from what is read at a position.
        mixer: what carries information from position to position, one of ``MIXERS``.
        d_model: width of the sequence between the layers.
        n_layer: layers, each pre-normed and residual.
        dropout: share of what a layer adds that is dropped, by channels, in training.
        positional_encoding: whether sines and cosines of its position are added to what is read at each position.
            None: for attention alone, which sees no order otherwise.
        glu: whether a gated linear unit follows each mixer. (S4D has one of its own.)
        **options: of the mixer, such as ``d_state``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    def __init__(self, embedding, mixer, d_model, n_layer, dropout=0.0, positional_encoding=None, glu=False, **options):
        super().__init__()
        self.dropout = dropout
        self.embedding = embedding
        parts = MIXERS[mixer] * n_layer
        # Mamba's models have RMSNorm here. On a CPU PyTorch computes it in six times the time of LayerNorm.
        self.norms = nn.ModuleList(nn.LayerNorm(d_model) for _ in parts)
        self.blocks = nn.ModuleList(part(d_model, **options) for part in parts)
        self.gates = None
        if glu:
            mixes = [part is not layers.FeedForward for part in parts]
            self.gates = nn.ModuleList(layers.GLU(d_model) if mixing else nn.Identity() for mixing in mixes)
        self.norm = nn.LayerNorm(d_model)
        self.positional_encoding = mixer == "attention" if positional_encoding is None else positional_encoding

    def initial_memory(self, batch: int) -> Memory:
        """The memory before anything was read."""
        return Memory(tuple(b.initial_state(batch) if hasattr(b, "initial_state") else None for b in self.blocks))

    def read(self, inputs, memory=None, return_memory=False):
        """Read a sequence, or the next part of one, in the order in which it is given.

        Args:
            inputs: ``(batch, length, ...)``, as the embedding takes it.
            memory: of what was read before, or None.
            return_memory: return also the memory of all that has been read now.

        Returns:
            What leaves the last layer, before the last norm: ``(batch, length, d_model)``; or that and a
            :class:`Memory`.
        """
        if memory is None and return_memory:
            memory = self.initial_memory(len(inputs))
        if memory is None:
            return self._layers(self._embed(inputs), lambda number, x: self.blocks[number](x))
        states = list(memory.states)

        def mix(number, x):
            if states[number] is None:
                return self.blocks[number](x)
            y, states[number] = self.blocks[number](x, states[number], return_state=True)
            return y

        x = self._layers(self._embed(inputs, memory.position), mix)
        return (x, Memory(tuple(states), memory.position + inputs.shape[1])) if return_memory else x

    def step(self, inputs, memory):
        """Read one position, ``(batch, ...)``: what leaves the last layer, ``(batch, d_model)``, and the new memory."""
        states = list(memory.states)

        def mix(number, x):
            if states[number] is None:
                return self.blocks[number](x)
            y, states[number] = self.blocks[number].step(x, states[number])
            return y

        x = self._layers(self._embed(inputs.unsqueeze(1), memory.position).squeeze(1), mix)
        return x, Memory(tuple(states), memory.position + 1)

    def _embed(self, inputs, position=0):
        x = self.embedding(inputs)
        if self.positional_encoding:
            x = x + sinusoidal_encoding(*x.shape[1:], x.device, position).to(x.dtype)
        return x

    def _layers(self, x, mix):
        for number, norm in enumerate(self.norms):
            y = mix(number, norm(x))
            if self.gates:
                y = self.gates[number](y)
            if self.dropout and self.training:
                y = F.dropout1d(y.mT, self.dropout).mT  # a channel is dropped in the whole sequence, or not at all
            x = x + y
        return x


def check_sizes(mixer, **sizes) -> None:
    """Raise ValueError unless ``mixer`` is in ``MIXERS`` and every size, as ``name=(size, least)``, is large enough."""
    if mixer not in MIXERS:
        raise ValueError(f"mixer must be one of {', '.join(MIXERS)}, got {mixer!r}")
    for name, (size, least) in sizes.items():
        if size < least:
            raise ValueError(f"{name} must be at least {least}, got {size}")
