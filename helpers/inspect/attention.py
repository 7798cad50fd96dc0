"""What a Mamba block chooses, and the matrix that its scan is.

Once step size, B and C are chosen, the scan is linear in what it reads: ``y_t = sum over s of M_ts u_s + D u_t``, in
every channel with a matrix of its own, as attention has one for every head. Source: Ali, Zimerman and Wolf, "The Hidden
Attention of Mamba Models", arXiv 2403.01590. Here its rows are weighted by what they are multiplied with, so that they
can be folded onto the pixels of a digit.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F

from helpers import layers
from helpers.inspect.hooks import forward_hooks


class Selection(NamedTuple):
    """All that the scan of one block works with, for a batch of sequences."""

    u: torch.Tensor  # (batch, length, d_inner), what it reads, from the convolution
    delta: torch.Tensor  # (batch, length, d_inner), the step sizes, after bias and softplus
    A: torch.Tensor  # (d_inner, d_state), the decay rates, negative
    B: torch.Tensor  # (batch, length, d_state); with RoPE biased and turned, as the scan gets it
    C: torch.Tensor  # (batch, length, d_state), the same
    D: torch.Tensor  # (d_inner,), the skip connection
    gate: torch.Tensor  # (batch, length, d_inner), silu(z), by which the result is multiplied


def inputs_of_blocks(model, pixels) -> list[torch.Tensor]:
    """What each block of a model reads, after its norm: a list of ``(batch, length, d_model)``, without gradients.

    Args:
        model: a :class:`~helpers.models.Backbone`, in evaluation mode.
        pixels: ``(batch, length, channels)``, in the order in which they are read.
    """
    read = [None] * len(model.blocks)

    def keep(number):
        return lambda _, arguments, result: read.__setitem__(number, arguments[0])

    with forward_hooks([(block, keep(number)) for number, block in enumerate(model.blocks)]), torch.no_grad():
        model.read(pixels)
    return read


def selection(block, x) -> Selection:
    """What a block chooses for a sequence that it reads from its initial state.

    Args:
        block: a :class:`~helpers.layers.Mamba`, of any kind with its scan, such as ``MambaRoPE``.
        x: ``(batch, length, d_model)``, what the block reads.

    Raises:
        ValueError: if the block has no such scan.
    """
    if not isinstance(block, layers.Mamba):
        raise ValueError(f"block must be a Mamba or MambaRoPE, got {type(block).__name__}")
    u, z, scan = scanned(block, x)
    return Selection(u, *scan, F.silu(z))


def scanned(block, x, activation=F.silu):
    """The scan's input ``u``, ``z``, and its ``(delta, A, B, C, D)``, as ``Mamba.forward`` makes them."""
    x, z = block._project(x)
    conv = block.conv1d
    u = activation(F.conv1d(F.pad(x.mT, (block.d_conv - 1, 0)), conv.weight, conv.bias, groups=conv.groups)).mT
    dt, B, C = block._select(u, 0)
    return u, z, (block._step_sizes(dt), block._A(), B, C, block.D)


def half_lives(delta, A) -> torch.Tensor:
    """After how many steps of this size half is left of what a state holds: ``ln 2 / (delta |A|)``.

    Args:
        delta: ``(..., d_inner)``.
        A: ``(d_inner, d_state)``, negative.

    Returns:
        ``(..., d_inner, d_state)``, in positions.
    """
    return math.log(2) / (delta.unsqueeze(-1) * A.abs())


def _row(chosen, position):
    """``M_ts`` of one output t, for all s up to t: ``(batch, position + 1, d_inner)``."""
    read = slice(position + 1)
    time = chosen.delta[:, read].double().cumsum(1)
    since = (time[:, -1:] - time).to(chosen.A.dtype)  # (batch, position + 1, d_inner): from s to t
    M = torch.zeros_like(since)
    for n in range(chosen.A.shape[1]):  # one number of the state after another: all at once would not fit a cache
        products = chosen.B[:, read, n] * chosen.C[:, position, None, n]  # (batch, position + 1)
        M += torch.exp(since * chosen.A[:, n]) * products.unsqueeze(-1)
    return M * chosen.delta[:, read]


def implicit_matrix(chosen: Selection, channels) -> torch.Tensor:
    """The matrices that the scan multiplies with: ``M_ts = C_t exp(A (delta_(s+1) + ... + delta_t)) delta_s B_s``.

    Lower triangular. The skip connection is not in it.

    Args:
        chosen: of a batch of sequences.
        channels: some channels, a list of numbers.

    Returns:
        ``(batch, len(channels), length, length)``.
    """
    delta, A = chosen.delta[..., channels].mT, chosen.A[channels]  # (batch, channels, length), (channels, d_state)
    time = delta.double().cumsum(-1)
    between = (time.unsqueeze(-1) - time.unsqueeze(-2)).clamp(min=0).to(delta.dtype)  # from s to t
    M = torch.zeros_like(between)
    for n in range(A.shape[1]):
        products = chosen.C[:, :, n].unsqueeze(-1) * chosen.B[:, None, :, n]  # (batch, length, length)
        M += torch.exp(between * A[:, n, None, None]) * products.unsqueeze(1)
    return (M * delta.unsqueeze(-2)).tril()


def looks_back(block, chosen: Selection, position: int) -> torch.Tensor:
    """How much of a block's output at one position comes from each position up to it.

    The part from position s is ``out_proj(silu(z_t) * M_ts * u_s)``; over all s these vectors add up to the block's
    output at t, but for the skip connection's part. Their lengths are returned.

    Args:
        block: the block, for its ``out_proj``.
        chosen: what it chose for a batch of sequences.
        position: t, counted from 0.

    Returns:
        ``(batch, length)``, zero after ``position``.
    """
    M = _row(chosen, position)
    arrived = chosen.gate[:, position, None] * M * chosen.u[:, : position + 1]
    lengths = (arrived @ block.out_proj.weight.mT).norm(dim=-1)
    return F.pad(lengths, (0, chosen.u.shape[1] - 1 - position))


@torch.no_grad()
def looked_at(model, pixels, every=29) -> torch.Tensor:
    """How much all positions together look back at each one, as a mean over the layers.

    Args:
        model: a :class:`~helpers.models.Backbone` of Mambas, in evaluation mode.
        pixels: ``(batch, length, channels)``, in the order in which they are read.
        every: one position in this many is asked; 29 walks through all columns of a digit.

    Returns:
        ``(batch, length)``: the mean share, of what a position gets from earlier ones, that comes from this one.
    """
    asked = range(every, pixels.shape[1], every)
    found = []
    for part in pixels.split(20):
        shares = []
        for block, x in zip(model.blocks, inputs_of_blocks(model, part), strict=True):
            chosen = selection(block, x)
            for position in asked:
                look = looks_back(block, chosen, position)
                shares.append(look / look.sum(1, keepdim=True))
        found.append(torch.stack(shares).mean(0))
    return torch.cat(found)


def by_distance(chosen: Selection, positions, furthest: int) -> torch.Tensor:
    """The size of the matrix's entries against the distance between output and input.

    Every row is divided by its sum up to ``furthest``, so that channels with large entries don't drown the others.

    Args:
        chosen: of a batch of sequences.
        positions: outputs to take the mean of, each at least ``furthest``.
        furthest: the largest distance.

    Returns:
        ``(batch, furthest + 1)``: at distance 0, 1, ..., the mean of ``|M_ts|`` over channels and ``positions``.
    """
    found = 0
    for position in positions:
        row = _row(chosen, position).abs().flip(1)[:, : furthest + 1]  # (batch, furthest + 1, d_inner)
        found = found + (row / row.sum(1, keepdim=True)).mean(-1)
    return found / len(positions)


def mean_steps(model, pixels, *masks) -> list[torch.Tensor]:
    """The mean step size of every channel, over the marked positions of each sequence.

    Args:
        model: a :class:`~helpers.models.Backbone` of Mambas, in evaluation mode.
        pixels: ``(batch, length, channels)``.
        *masks: bool ``(batch, length)``, such as where there is ink.

    Returns:
        For each mask ``(batch, layers, d_inner)``; NaN in a sequence without a marked position.
    """
    steps = []
    # A block whose dt_proj has a hook calls it, and what it returns only lacks the softplus.
    hooks = [(block.dt_proj, lambda _, __, raw: steps.append(F.softplus(raw))) for block in model.blocks]
    found = [[] for _ in masks]
    with forward_hooks(hooks), torch.no_grad():
        for part in torch.arange(len(pixels)).split(50):
            steps.clear()
            model.read(pixels[part])
            for means, mask in zip(found, masks, strict=True):
                marked = mask[part].to(steps[0].dtype).unsqueeze(1)  # (batch, 1, length)
                sums = torch.stack([(marked @ one).squeeze(1) for one in steps], 1)  # (batch, layers, d_inner)
                means.append(sums / marked.sum(-1, keepdim=True))
    return [torch.cat(means) for means in found]
