"""Of page 5."""

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def read(x, taps, window):
    return (torch.cat([window, x], -1).unfold(-1, taps.shape[1], 1) * taps[:, None]).sum(-1)


@wrong("causal_conv", "the taps run backwards")
def flipped(x, taps, window):
    return read(x, taps.flip(1), window), torch.cat([window, x], -1)[..., x.shape[-1] :]


@wrong("causal_conv", "it looks ahead: a number at position 1 is felt at position 0")
def centered(x, taps, window):
    width = taps.shape[1]
    padded = F.pad(x, (width // 2, (width - 1) // 2))
    return (padded.unfold(-1, width, 1) * taps[:, None]).sum(-1), x[..., 1 - width :]


@wrong("causal_conv", "channels mix: a number in channel 1 is felt in channel 2")
def along_the_channels(x, taps, window):
    padded = F.pad(x.mT, (taps.shape[1] - 1, 0))
    return (padded.unfold(-1, taps.shape[1], 1) * taps).sum(-1).mT, window


@wrong("causal_conv", "channels mix: a number in channel 1 is felt in channel 0")
def not_depthwise(x, taps, window):
    y = F.conv1d(torch.cat([window, x], -1), taps.expand(x.shape[1], -1, -1).contiguous())
    return y, torch.cat([window, x], -1)[..., x.shape[-1] :]


@wrong("causal_conv", "y is the same whatever the window holds")
def from_zeros(x, taps, window):
    return read(x, taps, torch.zeros_like(window)), torch.cat([window, x], -1)[..., x.shape[-1] :]


@wrong("causal_conv", "counted from its end, number 0 is the first wrong")
def newest_dropped(x, taps, window):
    return read(x, taps, window), torch.cat([window, x], -1)[..., x.shape[-1] - 1 : -1]


@wrong("causal_conv", "the new window is the old one")
def window_kept(x, taps, window):
    return read(x, taps, window), window


@wrong("causal_conv", "the new window holds outputs, not inputs")
def outputs_kept(x, taps, window):
    y = read(x, taps, window)
    return y, torch.cat([window, y], -1)[..., y.shape[-1] :]


@wrong("causal_conv", "after a piece of 1, the window should still hold 2")
def padded_with_zeros(x, taps, window):
    width = taps.shape[1]
    return read(x, taps, window), F.pad(x, (width - 1, 0))[..., x.shape[-1] :]


@wrong("causal_conv", "window should have shape (2, 4, 3), yours has (2, 4, 1)")
def from_the_piece_alone(x, taps, window):
    return read(x, taps, window), x[..., 1 - taps.shape[1] :]


@wrong("causal_conv", "window should have shape (2, 4, 0), yours has (2, 4, 6)")
def counted_from_the_end(x, taps, window):
    """With one tap, the last 0 numbers are all of them."""
    return read(x, taps, window), torch.cat([window, x], -1)[..., 1 - taps.shape[1] or None :]


@wrong("causal_conv", "here it's felt at 2, 3, 4, 5")
def a_step_late(x, taps, window):
    x = torch.cat([window, x], -1)
    return F.pad(read(x[..., window.shape[-1] : -1], taps, window), (1, 0)), x[..., -window.shape[-1] :]


@wrong("causal_conv", "too much or little at 1")
def taps_averaged(x, taps, window):
    y, kept = read(x, taps, window), torch.cat([window, x], -1)[..., x.shape[-1] :]
    return y / taps.shape[1], kept


@wrong("causal_conv", "of 2 sequences, sequence 1 is the first wrong")
def one_sequence(x, taps, window):
    return read(x, taps, window)[:1].expand_as(x), torch.cat([window, x], -1)[..., x.shape[-1] :]


@wrong("causal_conv", "right for a window of zeros; for another, y[0] is the first that is wrong")
def window_reversed(x, taps, window):
    return read(x, taps, window.flip(-1)), torch.cat([window, x], -1)[..., x.shape[-1] :]


@wrong("causal_conv", "the new window runs backwards, newest first")
def newest_in_front(x, taps, window):
    return read(x, taps, window), torch.cat([window, x], -1)[..., x.shape[-1] :].flip(-1)


@wrong("causal_conv", "y has numbers that aren't finite")
def never_written(x, taps, window):
    return torch.full_like(x, torch.nan), window


@wrong("causal_conv", "a number at position 1 isn't felt anywhere")
def nothing_there(x, taps, window):
    return torch.zeros_like(x), window


def step(
    block,
    x,
    window,
    h,
    reads,
    halves=lambda x, z: (x, z),
    keep=lambda full, u: full[..., 1:],
    seen=lambda full: full,
    carried=lambda h: h,
    taps=lambda taps: taps,
    bias=lambda bias: bias,
    raw_step=lambda block, dt: block.dt_proj(dt),
    positive=F.softplus,
    decay=lambda delta, A: torch.exp(delta * A),
    enters=lambda delta, u: delta * u,
    skip=lambda D: D,
    read_from=lambda h, new: new,
    gate=F.silu,
    where=lambda reads, new, old: torch.where(reads.view(-1, *[1] * (new.dim() - 1)), new, old),
):
    """A right step whose parts can be exchanged for wrong ones."""
    read, z = halves(*block.in_proj(x).chunk(2, -1))
    full = torch.cat([window, read.unsqueeze(-1)], -1)
    u = F.silu((seen(full) * taps(block.conv1d.weight.squeeze(1))).sum(-1) + bias(block.conv1d.bias))
    dt, B, C = block.x_proj(u).split([block.dt_rank, block.d_state, block.d_state], -1)
    delta = positive(raw_step(block, dt)).unsqueeze(-1)
    new = decay(delta, -torch.exp(block.A_log)) * carried(h) + enters(delta, u.unsqueeze(-1)) * B.unsqueeze(1)
    y = block.out_proj(((read_from(h, new) * C.unsqueeze(1)).sum(-1) + skip(block.D) * u) * gate(z))
    return where(reads, y, torch.zeros_like(y)), where(reads, keep(full, u), window), where(reads, new, h)


STEPS = {
    "gate_is_z": ("lets through five times as much, with its sign changed", {"gate": lambda z: z}),
    "gate_is_sigmoid": ("the gate is squashed between 0 and 1", {"gate": torch.sigmoid}),
    "no_gate": ("it is the same whatever the gate is", {"gate": torch.ones_like}),
    "halves_exchanged": ("not its gate", {"halves": lambda x, z: (z, x)}),
    "newest_not_kept": ("the newest input isn't in it", {"keep": lambda full, u: full[..., :-1]}),
    "newest_first": (
        "has the newest input in front",
        {"keep": lambda full, u: torch.cat([full[..., -1:], full[..., :-2]], -1)},
    ),
    "second_oldest_dropped": (
        "of the older ones, the wrong ones have been kept",
        {"keep": lambda full, u: full[..., [0, 2, 3]]},
    ),
    "output_kept": (
        "holds what comes out of the convolution",
        {"keep": lambda full, u: torch.cat([full[..., 1:-1], u.unsqueeze(-1)], -1)},
    ),
    "newest_halved": (
        "the last place of the window doesn't hold the newest input",
        {"keep": lambda full, u: torch.cat([full[..., 1:-1], full[..., -1:] / 2], -1)},
    ),
    "window_ignored": (
        "what enters the state is the same whatever the window holds",
        {"seen": lambda full: torch.cat([torch.zeros_like(full[..., 1:]), full[..., -1:]], -1)},
    ),
    "window_reversed": (
        "right for a window of zeros; for another, what enters the state is wrong",
        {"seen": lambda full: torch.cat([full[..., :-1].flip(-1), full[..., -1:]], -1)},
    ),
    "steps_doubled": ("what enters the state is wrong", {"enters": lambda delta, u: 2 * delta * u}),
    "state_clipped": (
        "right for an empty state; one that holds something is wrong",
        {"carried": lambda h: h.clamp(0)},
    ),
    "skip_doubled": ("window and state are right, y isn't\n", {"skip": lambda D: 2 * D}),
    "one_sequence": (
        "right for one sequence; for a batch of 3, y is wrong",
        {"gate": lambda z: F.silu(z[:1]).expand_as(z)},
    ),
    "others_emptied": (
        "where sequence 1 doesn't read, y of the others is wrong",
        {"where": lambda reads, new, old: new if reads.all() else old},
    ),
    "taps_flipped": ("the newest input meets the tap for the oldest", {"taps": lambda taps: taps.flip(-1)}),
    "conv_bias_forgotten": ("with one, what enters the state stays the same", {"bias": torch.zeros_like}),
    "conv_bias_twice": ("with one, what enters the state is wrong", {"bias": lambda bias: 2 * bias}),
    "step_bias_forgotten": (
        "step should be 0.049; by how its state decays, yours is 0.693",
        {"raw_step": lambda block, dt: dt @ block.dt_proj.weight.mT},
    ),
    "step_bias_twice": (
        "step should be 0.049; by how its state decays, yours is 0.002",
        {"raw_step": lambda block, dt: block.dt_proj(dt) + block.dt_proj.bias},
    ),
    "no_softplus": ("52.850, 2.781: it grows", {"positive": lambda raw: raw}),
    "softplus_twice": ("yours is 0.718", {"positive": lambda raw: F.softplus(F.softplus(raw))}),
    "A_for_A_bar": ("a state decays, it has no way below zero", {"decay": lambda delta, A: A}),
    "euler": ("it should be 0.845, 0.605, 0.521", {"decay": lambda delta, A: (1 + delta * A).clamp(0)}),
    "step_forgotten": ("in full, however short the step", {"enters": lambda delta, u: u}),
    "skip_forgotten": ("with and without the skip D", {"skip": torch.zeros_like}),
    "all_read": ("where sequence 1 doesn't, y is as if it did", {"where": lambda reads, new, old: new}),
    "last_axis": ("number 1 of the last axis of y is left out", {"where": torch.where}),
    "read_first": ("it is read off the state before the step", {"read_from": lambda h, new: h}),
}


def entered(name, says, parts):
    def answer(*arguments):
        return step(*arguments, **parts)

    answer.__name__ = name
    wrong("block_step", says)(answer)


for name, (says, parts) in STEPS.items():
    entered(name, says, parts)


@wrong("block_step", "where sequence 1 doesn't, the state is as if it did")
def state_always_read(block, x, window, h, reads):
    y, kept, _ = step(block, x, window, h, reads)
    return y, kept, step(block, x, window, h, torch.ones_like(reads))[2]


@wrong("block_step", "the window of a sequence that doesn't read should be what it was")
def window_emptied(block, x, window, h, reads):
    y, kept, new = step(block, x, window, h, reads)
    return y, kept * reads[:, None, None], new


@wrong("block_step", "right where some sequences read; where none does, the state is wrong")
def nobody_is_everybody(block, x, window, h, reads):
    y, kept, new = step(block, x, window, h, reads)
    return y, kept, new if reads.any() else torch.zeros_like(new)
