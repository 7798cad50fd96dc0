"""Of page 10."""

import math

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def below(x, diagonal=-1):
    """x of every row, below a diagonal: (..., length, length)."""
    return x.unsqueeze(-1).expand(*x.shape, x.shape[-1]).tril(diagonal)


def segment_sum(x):
    """As it should be."""
    S = below(x).cumsum(-2)
    return S.masked_fill(torch.ones_like(S).triu(1).bool(), -torch.inf)


@wrong("segment_sum", "with x[2] = -1e8 in float32, S[3, 2] should be -1.02, and is 0")
def differences(x):
    total = x.cumsum(-1)
    S = total.unsqueeze(-1) - total.unsqueeze(-2)
    return S.masked_fill(torch.ones_like(S).triu(1).bool(), -torch.inf)


@wrong("segment_sum", "S[0, 0] is -1.07, and nothing lies between a position and itself")
def first_included(x):
    S = below(x, 0).cumsum(-2)
    return S.masked_fill(torch.ones_like(S).triu(1).bool(), -torch.inf)


@wrong("segment_sum", "yours says so at S[0, 1]")
def transposed(x):
    return segment_sum(x).mT


@wrong("segment_sum", "S[0, 1] is 0: position 0 would see 1 of a later one")
def zero_above(x):
    return below(x).cumsum(-2)


@wrong("segment_sum", "S[1, 0] is x[0]")
def off_by_one(x):
    return segment_sum(x.roll(1, -1))


@wrong("segment_sum", "S[2, 0] should be")
def last_step_alone(x):
    return torch.where(segment_sum(x).isinf(), -torch.inf, below(x))


@wrong("segment_sum", "S should have shape (2, 3, 5, 5)")
def for_one_sequence(x):
    length = x.shape[-1]
    rows = [torch.stack([x[j + 1 : i + 1].sum() if j <= i else x.new_tensor(-math.inf) for j in range(length)])
            for i in range(length)]  # fmt: skip
    return torch.stack(rows)


@wrong("segment_sum", "right for one sequence, wrong for several")
def along_the_first_axis(x):
    S = below(x).cumsum(0) if x.dim() == 1 else below(x).cumsum(1)
    return S.masked_fill(torch.ones_like(S).triu(1).bool(), -torch.inf)


def chunked(x, log_decay, B, C, h, size, hand_on=None, read=None, last=None):
    """All chunks at once, as it should be, or with a slip."""
    length, rest = len(x), -len(x) % size
    x, B, C = (F.pad(form, (0, 0, 0, rest)).unflatten(0, (-1, size)) for form in (x, B, C))
    log_decay = F.pad(log_decay, (0, rest)).unflatten(0, (-1, size))
    L, since = segment_sum(log_decay).exp(), log_decay.cumsum(1).exp().unsqueeze(-1)
    written = x.mT @ (L[:, -1].unsqueeze(-1) * B)
    decays = since[:, -1:] if hand_on is None else hand_on(since[:, -1:])
    states = [h]
    for decay, more in zip(decays, written, strict=True):
        states.append(decay * states[-1] + more)
    before = torch.stack(states[:-1])
    y = (L * (C @ B.mT)) @ x + (since if read is None else read(since)) * (C @ before.mT)
    return y.flatten(0, 1)[:length], states[-1] if last is None else last(states)


@wrong("chunked", "of one chunk, with a state of zero before it, y[1] is the first that is wrong")
def no_decay_inside(x, log_decay, B, C, h, size):
    return chunked(x, torch.zeros_like(log_decay), B, C, h, size)


@wrong("chunked", "y[4] ignores all that the first chunk has read")
def nothing_between(x, log_decay, B, C, h, size):
    pieces = zip(*(part.split(size) for part in (x, log_decay, B, C)), strict=True)
    ys, states = zip(*(chunked(*piece, h, size) for piece in pieces), strict=True)
    return torch.cat(ys), states[-1]


@wrong("chunked", "what the first chunk wrote doesn't decay in the second")
def read_without_decay(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, read=torch.ones_like)


@wrong("chunked", "of two, y[4] is the first that is wrong")
def read_one_step_early(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, read=lambda since: since / since[:, :1])


@wrong("chunked", "each hands the state it was given on without having decayed")
def undecayed(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, hand_on=torch.ones_like)


@wrong("chunked", "each hands the state it was given on decayed as in the chunk before")
def decay_of_the_chunk_before(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, hand_on=lambda decays: decays.roll(1, 0))


@wrong("chunked", "each hands the state it was given on decayed as in the chunk after")
def decay_of_the_chunk_after(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, hand_on=lambda decays: decays.roll(-1, 0))


@wrong("chunked", "right for two chunks; of four, y[8] is the first that is wrong")
def decayed_twice(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size, hand_on=lambda decays: decays**2)


@wrong("chunked", "y should have shape (10, 3), yours has (8, 3)")
def last_chunk_lost(x, log_decay, B, C, h, size):
    whole = len(x) // size * size
    return chunked(x[:whole], log_decay[:whole], B[:whole], C[:whole], h, size)


@wrong("chunked", "right for whole chunks; of 10 positions, y[8] is the first that is wrong")
def last_chunk_zero(x, log_decay, B, C, h, size):
    whole = len(x) // size * size
    y, h = chunked(x[:whole], log_decay[:whole], B[:whole], C[:whole], h, size) if whole else (x[:0], h)
    return F.pad(y, (0, 0, 0, len(x) - whole)), h


@wrong("chunked", "isn't the one after the last of 10 positions")
def padding_decays(x, log_decay, B, C, h, size):
    rest = -len(x) % size
    x_, B_, C_ = (F.pad(form, (0, 0, 0, rest)) for form in (x, B, C))
    y, h = chunked(x_, F.pad(log_decay, (0, rest), value=-1.0), B_, C_, h, size)
    return y[: len(x)], h


@wrong("chunked", "it starts at zero whatever state it is given")
def from_zero(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, torch.zeros_like(h), size)


@wrong("chunked", "from a given state, y[4] is the first that is wrong")
def start_in_the_first_chunk_alone(x, log_decay, B, C, h, size):
    y, last = chunked(x, log_decay, B, C, torch.zeros_like(h), size)
    return torch.cat([chunked(x[:size], log_decay[:size], B[:size], C[:size], h, size)[0], y[size:]]), last


@wrong("chunked", "from a given state y is right, and the state that is returned is wrong")
def start_forgotten_in_the_end(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, size)[0], chunked(x, log_decay, B, C, torch.zeros_like(h), size)[1]


@wrong("chunked", "for 128 positions it makes a tensor of 16,384 numbers")
def one_chunk(x, log_decay, B, C, h, size):
    return chunked(x, log_decay, B, C, h, len(x))


@wrong("chunked", "much is done chunk after chunk")
def one_after_another(x, log_decay, B, C, h, size):
    ys = []
    for x_, l_, B_, C_ in zip(*(part.split(size) for part in (x, log_decay, B, C)), strict=True):
        L, since = segment_sum(l_).exp(), l_.cumsum(0).exp().unsqueeze(-1)
        ys.append((L * (C_ @ B_.mT)) @ x_ + since * (C_ @ h.mT))
        h = since[-1] * h + x_.mT @ (L[-1].unsqueeze(-1) * B_)
    return torch.cat(ys), h


@wrong("chunked", "much is done chunk after chunk")
def position_by_position(x, log_decay, B, C, h, size):
    ys = []
    for x_t, l_t, B_t, C_t in zip(x, log_decay, B, C, strict=True):
        h = torch.exp(l_t) * h + torch.outer(x_t, B_t)
        ys.append(h @ C_t)
    return torch.stack(ys), h


def decays(a):
    """What is left from s to t, (length, length)."""
    return below(a).add(torch.ones(len(a), len(a)).triu()).cumprod(0).tril()


def mask(a, now, later):
    """Of an input, ``now`` enters in its own step, and ``later`` with the next one."""
    return decays(a) * now + decays(a).tril(-1) * later


def following(x):
    return torch.cat([x[1:], torch.zeros(1, dtype=x.dtype)])


@wrong("trapezoid", "whatever λ is, M stays the same")
def euler(a, delta, weight):
    return decays(a) * delta


@wrong("trapezoid", "for a single step of 0.161 with λ = 1 it is 0")
def exchanged(a, delta, weight):
    return mask(a, (1 - weight) * delta, following(weight * delta))


@wrong("trapezoid", "it is the transpose of what it should be")
def mask_transposed(a, delta, weight):
    return mask(a, weight * delta, following((1 - weight) * delta)).mT


@wrong("trapezoid", "which is Mamba-2, M[1] is the first row that is wrong")
def own_decay_counted(a, delta, weight):
    return mask(a, weight * delta, following((1 - weight) * delta)) * torch.where(torch.eye(len(a)) > 0, 1, a)


@wrong("trapezoid", "M[1, 0] has nothing of what enters at the beginning of step 1")
def end_alone(a, delta, weight):
    return decays(a) * weight * delta


@wrong("trapezoid", "hasn't decayed when it ends")
def earlier_undecayed(a, delta, weight):
    return mask(a, weight * delta, following((1 - weight) * delta / a))


@wrong("trapezoid", "M[1, 0] also has what enters at the beginning of step 1")
def halves_forgotten(a, delta, weight):
    return mask(a, delta, following(delta))


@wrong("trapezoid", "is weighed as in step 0")
def own_weight(a, delta, weight):
    return mask(a, weight * delta, (1 - weight) * delta)


@wrong("trapezoid", "M[0, 0] contains what enters only with step 1")
def diagonal_too(a, delta, weight):
    return decays(a) * (weight * delta + following((1 - weight) * delta))


@wrong("trapezoid", "with another, M[1] is the first row that is wrong")
def always_half(a, delta, weight):
    return mask(a, weight * delta, following((1 - weight) * delta / 2))


def turned(B, angles):
    a, b = B[:, ::2], B[:, 1::2]
    return torch.stack([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], -1).flatten(1)


@wrong("rotation", "a quarter of a turn takes (1, 0) to (0, 1), and yours to (0, -1)")
def opposite(B, turns, angle):
    angles = angle + turns.cumsum(0)
    return turned(B, -angles), angles[-1]


@wrong("rotation", "a quarter of a turn takes (0, 1) to (-1, 0)")
def mirrored(B, turns, angle):
    angles = angle + turns.cumsum(0)
    a, b = B[:, ::2], B[:, 1::2]
    pairs = torch.stack([a * angles.cos() + b * angles.sin(), a * angles.sin() - b * angles.cos()], -1)
    return pairs.flatten(1), angles[-1]


@wrong("rotation", "it pairs number 0 with number 2")
def halves(B, turns, angle):
    angles = angle + turns.cumsum(0)
    a, b = B.chunk(2, 1)
    return torch.cat([a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()], 1), angles[-1]


@wrong("rotation", "it pairs number 0 with number 2")
def halves_stacked(B, turns, angle):
    angles = angle + turns.cumsum(0)
    return turned(torch.stack(B.chunk(2, 1), -1).flatten(1), angles), angles[-1]


@wrong("rotation", "the numbers are right and come in another order")
def joined_in_halves(B, turns, angle):
    angles = angle + turns.cumsum(0)
    return turned(B, angles).unflatten(1, (-1, 2)).mT.flatten(1), angles[-1]


@wrong("rotation", "both turn by the same angle")
def one_angle(B, turns, angle):
    angles = angle + turns.cumsum(0)
    return turned(B, angles[:, :1]), angles[-1]


@wrong("rotation", "right for one pair, wrong for two")
def accumulated_over_pairs(B, turns, angle):
    angles = angle + turns.cumsum(1)
    return turned(B, angles), angles[-1]


@wrong("rotation", "what has turned at earlier ones is forgotten")
def not_accumulated(B, turns, angle):
    return turned(B, angle + turns), angle + turns.sum(0)


@wrong("rotation", "of five, turned[1] is the first that is wrong")
def turns_times_position(B, turns, angle):
    angles = angle + turns * torch.arange(1, len(B) + 1).unsqueeze(1)
    return turned(B, angles), angles[-1]


@wrong("rotation", "they start at zero")
def angle_ignored(B, turns, angle):
    return turned(B, turns.cumsum(0)), angle + turns.sum(0)


@wrong("rotation", "from a given angle, turned[1] is the first that is wrong")
def angle_at_every_position(B, turns, angle):
    angles = (angle + turns).cumsum(0)
    return turned(B, angles), angles[-1]


@wrong("rotation", "leaves out how far the pairs had turned before")
def sum_of_turns(B, turns, angle):
    return turned(B, angle + turns.cumsum(0)), turns.sum(0)


@wrong("rotation", "isn't that of the last position")
def last_turn(B, turns, angle):
    return turned(B, angle + turns.cumsum(0)), turns[-1]
