"""Exercises of page 5: the short convolution, continued, and a step of the block that some sequences sit out."""

import torch
import torch.nn.functional as F

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors
from helpers.layers.mamba import Mamba, State


def _short_conv(x, taps, window):
    length = x.shape[-1]
    x = torch.cat([window, x], -1)
    return (x.unfold(-1, taps.shape[1], 1) * taps[:, None]).sum(-1), x[..., length:]


@exercise
def check_causal_conv(yours):
    """``short_conv(x, taps, window) -> (y, window)``: over a piece of a sequence, after what the window holds.

    ``x, y (batch, channels, length)``, ``taps (channels, width)``, ``window (batch, channels, width - 1)``.
    """
    batch, channels, length, width = 2, 4, 6, 4
    x, taps = normal(batch, channels, length), normal(channels, width, seed=1)
    window = normal(batch, channels, width - 1, seed=2)
    zeros = torch.zeros_like(window)

    def ask(x, taps, window):
        return tensors(yours, x, taps, window, y=x.shape, window=window.shape), _short_conv(x, taps, window)

    at = 1  # an impulse at one position of one channel
    impulse = torch.zeros(1, channels, length, dtype=torch.float64)
    impulse[0, 1, at] = 1
    (y, _), (expected, _) = ask(impulse, taps, zeros[:1])
    expect(y.isfinite().all(), "y has numbers that aren't finite")
    others = [channel for channel in range(channels) if channel != 1 and y[0, channel].any()]
    expect(not others, f"channels mix: a number in channel 1 is felt in channel {(others or [None])[0]}")
    felt = y[0, 1].nonzero().flatten().tolist()
    expect(felt, f"a number at position {at} isn't felt anywhere")
    expect(felt[0] >= at, f"it looks ahead: a number at position {at} is felt at position {felt[0]}")
    expect(
        felt == list(range(at, at + width)),
        f"with {width} taps a number at position {at} should be felt at positions {at} to {at + width - 1}; "
        f"here it's felt at {', '.join(map(str, felt))}",
    )
    expect(
        not close(y[..., at : at + width], expected[..., at : at + width].flip(-1)),
        "the taps run backwards: a new number meets the tap for the oldest position first",
    )
    wrong = first_wrong(y, expected, -1)
    expect(wrong is None, f"a number at position {at} is felt where it should be, but too much or little at {wrong}")
    (y, _), (expected_after_zeros, _) = ask(x, taps, zeros)
    wrong = first_wrong(y, expected_after_zeros, 0)
    expect(wrong is None, f"right for a single number; of {batch} sequences, sequence {wrong} is the first wrong")
    (y, after), (expected, expected_window) = ask(x, taps, window)
    expect(
        not close(y, expected_after_zeros),
        "right at the beginning of a sequence; later on, y is the same whatever the window holds",
    )
    wrong = first_wrong(y, expected, -1)
    expect(wrong is None, f"right for a window of zeros; for another, y[{wrong}] is the first that is wrong")
    expect(not close(after, expected[..., 1 - width :]), "y is right; the new window holds outputs, not inputs")
    expect(not close(after, window), "y is right; the new window is the old one, and nothing that was read is in it")
    expect(not close(after, expected_window.flip(-1)), "y is right; the new window runs backwards, newest first")
    wrong = first_wrong(after.flip(-1), expected_window.flip(-1), -1)
    expect(wrong is None, f"y is right; the new window isn't: counted from its end, number {wrong} is the first wrong")
    for piece in (1, 2):
        (y, after), (expected, expected_window) = ask(x[..., :piece], taps, window)
        expect(close(y, expected), f"right for a piece of {length} positions; for a piece of {piece}, y is wrong")
        expect(
            close(after, expected_window),
            f"right for a piece of {length} positions; after a piece of {piece}, the window should still hold "
            f"{width - 1 - piece} of the numbers that it held before",
        )
    (y, _), (expected, _) = ask(x, taps[:, :1], window[..., :0])
    expect(close(y, expected), "right for four taps; with a single one, y is wrong")


def _block(without_bias=False):
    """A small block in float64, none of whose weights is what it starts with; perhaps no bias in its convolution."""
    with torch.random.fork_rng(devices=[]):
        block = Mamba(3, d_state=3, dt_rank=2).double().requires_grad_(False)  # threes: sizes don't tell axes apart
    for seed, p in enumerate(block.parameters()):
        p.copy_(0.7 * normal(*p.shape, seed=seed))
    block.dt_proj.bias.copy_(torch.linspace(-3, -1, block.d_inner))
    if without_bias:
        block.conv1d.bias.zero_()
    return block


def _inner(block, x, window):
    """What a step computes on its way: ``u, z, B, C``."""
    x, z = block.in_proj(x).chunk(2, -1)
    u = F.silu((torch.cat([window, x.unsqueeze(-1)], -1) * block.conv1d.weight.squeeze(1)).sum(-1) + block.conv1d.bias)
    _, B, C = block.x_proj(u).split([block.dt_rank, block.d_state, block.d_state], -1)
    return u, z, B, C


@exercise
def check_block_step(yours):
    """``step(block, x, window, h, reads) -> (y, window, h)``: a step of the block for the sequences that read.

    ``x, y (batch, d_model)``, ``window (batch, d_inner, d_conv - 1)``, ``h (batch, d_inner, d_state)`` and
    ``reads (batch,)``, bool. The others keep window and state, and their y is zero.
    """
    block = _block()
    batch = 3
    x, window = normal(batch, block.d_model, seed=20), normal(batch, block.d_inner, block.d_conv - 1, seed=21)
    h = normal(batch, block.d_inner, block.d_state, seed=22)

    def ask(block, x, window, h, reads=None):
        reads = torch.ones(len(x), dtype=torch.bool) if reads is None else reads
        results = tensors(yours, block, x, window, h, reads, y=x.shape, window=window.shape, h=h.shape)
        y, state = block.step(x, State(window, h))
        return results, (y, *state[:2])

    _check_window(block, ask, x[:1], window[:1], h[:1])
    _check_decay(_block(without_bias=True), ask, *(torch.zeros_like(given[:1]) for given in (x, window, h)))
    _check_what_enters(block, ask, x[:1], window[:1], torch.zeros_like(h[:1]))
    _check_output(block, ask, x[:1], window[:1], h[:1])
    for name, got, expected in zip(_RESULTS, *ask(block, x, window, h), strict=True):
        expect(close(got, expected), f"right for one sequence; for a batch of {batch}, {name} is wrong")
    _check_reads(block, ask, x, window, h)


_RESULTS = ("y", "the window", "the state")


def _check_window(block, ask, x, window, h):
    (_, got, _), (_, expected, _) = ask(block, x, window, h)
    u, z, _, _ = _inner(block, x, window)
    newest = got[..., -1]
    expect(not close(got, window), "the window comes out as it went in: the newest input isn't in it")
    expect(
        not close(got, torch.cat([expected[..., -1:], window[..., :-1]], -1)),
        "the window should go from old to new; yours has the newest input in front",
    )
    expect(not close(newest, z), "the last place of the window is for what is read of the newest input, not its gate")
    expect(not close(newest, u), "the last place of the window holds what comes out of the convolution")
    expect(close(newest, expected[..., -1]), "the last place of the window doesn't hold the newest input")
    expect(close(got, expected), "the newest input is in the window; of the older ones, the wrong ones have been kept")


def _check_decay(block, ask, x, window, h):
    """What is left of a state of ones where nothing comes in: ``exp(delta A)``, by the bias of the step size alone."""
    (_, _, got), (_, _, expected) = ask(block, x, window, h + 1)
    channel = (got - expected).abs().amax((0, 2)).argmax()
    becomes, right = (", ".join(f"{number:.3f}" for number in state[0, channel]) for state in (got, expected))
    becomes = f"nothing comes in, and a state of ones becomes {becomes}"
    expect((got >= 0).all(), f"{becomes}: a state decays, it has no way below zero")
    expect((got <= 1).all(), f"{becomes}: it grows")
    bias, steps = block.dt_proj.bias, torch.log(got) / -torch.exp(block.A_log)  # (1, d_inner, d_state)
    for raw in (torch.zeros_like(bias), 2 * bias, F.softplus(bias)):
        expect(
            not close(steps, F.softplus(raw)[:, None].expand_as(steps)),
            f"where nothing comes in, the first channel's step should be {F.softplus(bias)[0]:.3f}; "
            f"by how its state decays, yours is {steps[0, 0, 0]:.3f}",
        )
    expect(close(got, expected), f"{becomes}; it should be {right}")


def _check_what_enters(block, ask, x, window, h):
    """What a step writes into an empty state: after zeros and without a bias first."""
    plain, zeros = _block(without_bias=True), torch.zeros_like(window)
    (_, _, got), (_, _, expected) = ask(plain, x, zeros, h)
    u, _, B, _ = _inner(plain, x, zeros)
    expect(
        not close(got, u.unsqueeze(-1) * B.unsqueeze(1)),
        "the first input enters an empty state in full, however short the step",
    )
    flipped = _block(without_bias=True)
    flipped.conv1d.weight.copy_(plain.conv1d.weight.flip(-1))
    expect(
        not close(got, flipped.step(x, State(zeros, h))[1].ssm_state),
        "the window is read backwards: the newest input meets the tap for the oldest",
    )
    expect(
        close(got, expected), "after a window of zeros, without a convolution's bias: what enters the state is wrong"
    )
    (_, _, got), (_, _, expected_with_window) = ask(plain, x, window, h)
    expect(not close(got, expected), "what enters the state is the same whatever the window holds")
    expect(close(got, expected_with_window), "right for a window of zeros; for another, what enters the state is wrong")
    (_, _, got), (_, _, expected) = ask(block, x, window, h)
    expect(
        not close(got, expected_with_window),
        "right for a convolution without a bias; with one, what enters the state stays the same",
    )
    expect(close(got, expected), "right for a convolution without a bias; with one, what enters the state is wrong")


def _check_output(block, ask, x, window, h):
    (y, _, got), (y_expected, _, expected) = ask(block, x, window, h)
    expect(close(got, expected), "right for an empty state; one that holds something is wrong after the step")
    u, z, _, C = _inner(block, x, window)

    def out(h, D=block.D, gate=F.silu):
        return block.out_proj(((h * C.unsqueeze(1)).sum(-1) + D * u) * gate(z))

    slips = {
        "where the gate's number is -5 next to nothing should pass, and yours lets through five times as much, "
        "with its sign changed": out(expected, gate=lambda z: z),
        "the gate is squashed between 0 and 1": out(expected, gate=torch.sigmoid),
        "it is the same whatever the gate is": out(expected, gate=torch.ones_like),
        "it is read off the state before the step": out(h),
        "it is the same with and without the skip D": out(expected, D=0),
    }
    for says, slip in slips.items():
        expect(not close(y, slip), f"window and state are right, y isn't: {says}")
    expect(close(y, y_expected), "window and state are right, y isn't")


def _check_reads(block, ask, x, window, h):
    reads = torch.tensor([True, False, True])
    got, read = ask(block, x, window, h, reads)
    kept = (torch.zeros_like(x), window, h)
    for name, result, new, old in zip(_RESULTS, got, read, kept, strict=True):
        expect(not close(result, new), f"right where all read; where sequence 1 doesn't, {name} is as if it did")
        expect(
            not close(result, torch.where(reads, new, old)),
            f"right where all read; where sequence 1 doesn't, number 1 of the last axis of {name} is left out",
        )
        expect(close(result[reads], new[reads]), f"where sequence 1 doesn't read, {name} of the others is wrong")
        says = "should be zero" if name == "y" else "should be what it was"
        expect(close(result[~reads], old[~reads]), f"{name} of a sequence that doesn't read {says}")
    got, _ = ask(block, x, window, h, torch.zeros_like(reads))
    for name, result, old in zip(_RESULTS, got, kept, strict=True):
        expect(close(result, old), f"right where some sequences read; where none does, {name} is wrong")
