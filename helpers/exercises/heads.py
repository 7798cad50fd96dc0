"""Exercises of page 10: sums of segments, all chunks at once, the mask of the trapezoidal rule, and pairs that turn."""

import math

import torch
from torch.overrides import TorchFunctionMode

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors, uniform


@exercise
def check_segment_sum(yours):
    """``segment_sum(x) -> S``: ``(..., length)`` to ``(..., length, length)``.

    ``S[i, j] = x[j + 1] + ... + x[i]``, and -inf above the diagonal.
    """

    def ask(x):
        rows = [[x[..., j + 1 : i + 1].sum(-1) for j in range(i + 1)] for i in range(x.shape[-1])]
        return tensors(yours, x, S=(*x.shape, x.shape[-1])), rows

    length = 5
    x = -0.1 - uniform(length)
    S, rows = ask(x)
    expect(S[0, 0] == 0, f"S[0, 0] is {S[0, 0]:.3g}, and nothing lies between a position and itself")
    expect(
        not S.tril(-1).isneginf().any() or S.triu(1).isneginf().any(),
        "of what position 0 wrote, S[1, 0] should say how much reaches position 1; yours says so at S[0, 1]",
    )
    expect(not close(S[1, 0], x[0]), "S[1, 0] is x[0], and that step is over when position 0 has written")
    for i in range(length):
        for j, sum_of_steps in enumerate(rows[i]):
            expect(close(S[i, j], sum_of_steps), f"S[{i}, {j}] should be {sum_of_steps:.3g}, and is {S[i, j]:.3g}")
        for j in range(i + 1, length):
            expect(
                S[i, j] == -math.inf,
                f"S[{i}, {j}] is {S[i, j]:.3g}: position {i} would see {S[i, j].exp():.3g} of a later one",
            )
    S, rows = ask(normal(2, 3, length, seed=1))
    right = all(close(S[..., i, j], rows[i][j]) for i in range(length) for j in range(i + 1))
    expect(right, "right for one sequence, wrong for several")
    large = x.float()
    large[2] = -1e8
    S, rows = ask(large)
    for i, j in ((3, 2), (4, 2), (4, 3)):
        expect(
            abs(S[i, j] - rows[i][j]) < 1e-5,
            f"right for short steps; with x[2] = -1e8 in float32, S[{i}, {j}] should be {rows[i][j]:.3g},"
            f" and is {S[i, j]:.3g}",
        )


def _scan(x, log_decay, B, C, h):
    ys = []
    for x_t, l_t, B_t, C_t in zip(x, log_decay, B, C, strict=True):
        h = torch.exp(l_t) * h + torch.outer(x_t, B_t)
        ys.append(h @ C_t)
    return torch.stack(ys), h


def _handed_on(x, log_decay, B, C, size, decays):
    """The output, from zero, if states are handed from chunk to chunk with decays of one's own."""
    h, ys = torch.zeros(x.shape[1], B.shape[1], dtype=x.dtype), []
    for decay, x_, l_, B_, C_ in zip(decays, *(part.split(size) for part in (x, log_decay, B, C)), strict=True):
        y, written = _scan(x_, l_, B_, C_, torch.zeros_like(h))
        ys.append(y + l_.cumsum(0).exp().unsqueeze(-1) * (C_ @ h.mT))
        h = decay * h + written
    return torch.cat(ys)


class _Counting(TorchFunctionMode):
    """Counts the tensors that are made, and notes the size of the largest."""

    def __init__(self):
        super().__init__()
        self.made, self.largest = 0, 0

    def __torch_function__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        if isinstance(result, torch.Tensor):
            self.made, self.largest = self.made + 1, max(self.largest, result.numel())
        return result


@exercise
def check_chunked(yours):
    """``chunked(x, log_decay, B, C, h, size) -> (y, h)``, all chunks at once.

    ``h_t = exp(log_decay_t) h_(t-1) + x_t B_t^T`` and ``y_t = h_t C_t``, from ``h (headdim, d_state)``; ``x, y (length,
    headdim)``, ``log_decay (length,)``, ``B, C (length, d_state)``.
    """
    headdim, d_state, size = 3, 2, 4
    start = normal(headdim, d_state, seed=4)
    nothing = torch.zeros_like(start)

    def inputs(length):
        B, C = normal(length, d_state, seed=1), normal(length, d_state, seed=2)
        return normal(length, headdim), -0.05 - 0.5 * uniform(length, seed=3), B, C

    def ask(length, h):
        arguments = *inputs(length), h
        return tensors(yours, *arguments, size, y=(length, headdim), h=h.shape), _scan(*arguments)

    (y, _), (expected, _) = ask(size, nothing)
    wrong = first_wrong(y, expected, 0)
    expect(wrong is None, f"of one chunk, with a state of zero before it, y[{wrong}] is the first that is wrong")

    (y, _), (expected, _) = ask(2 * size, nothing)
    first, second = zip(*(part.split(size) for part in inputs(2 * size)), strict=True)
    (alone, _), (_, written) = _scan(*second, nothing), _scan(*first, nothing)
    expect(not close(y[size:], alone), f"right for one chunk; y[{size}] ignores all that the first chunk has read")
    expect(
        not close(y[size:], alone + second[-1] @ written.mT),
        "right for one chunk; what the first chunk wrote doesn't decay in the second",
    )
    wrong = first_wrong(y, expected, 0)
    expect(wrong is None, f"right for one chunk; of two, y[{wrong}] is the first that is wrong")

    (y, _), (expected, _) = ask(4 * size, nothing)
    decays = inputs(4 * size)[1].view(4, size).sum(1).exp()
    for others, how in (
        (torch.ones(4), "without having decayed"),
        (decays.roll(1), "decayed as in the chunk before"),
        (decays.roll(-1), "decayed as in the chunk after"),
    ):
        handed_on = _handed_on(*inputs(4 * size), size, others)
        expect(not close(y, handed_on), f"right for two chunks; of four, each hands the state it was given on {how}")
    wrong = first_wrong(y, expected, 0)
    expect(wrong is None, f"right for two chunks; of four, y[{wrong}] is the first that is wrong")

    for length in (2 * size + 2, size - 1):
        (y, last), (expected, last_expected) = ask(length, nothing)
        wrong = first_wrong(y, expected, 0)
        expect(wrong is None, f"right for whole chunks; of {length} positions, y[{wrong}] is the first that is wrong")
        expect(
            close(last, last_expected),
            f"y is right; the state that is returned isn't the one after the last of {length} positions",
        )
    (y, last), (expected, last_expected) = ask(2 * size + 2, start)
    expect(not close(y, _scan(*inputs(2 * size + 2), nothing)[0]), "it starts at zero whatever state it is given")
    wrong = first_wrong(y, expected, 0)
    expect(wrong is None, f"right from zero; from a given state, y[{wrong}] is the first that is wrong")
    expect(close(last, last_expected), "from a given state y is right, and the state that is returned is wrong")

    counts = {}
    for chunks in (16, 32):
        arguments = inputs(chunks * size)
        with _Counting() as counts[chunks]:
            yours(*arguments, nothing, size)
    length, largest = 32 * size, counts[32].largest
    expect(largest < length**2, f"all right; but for {length} positions it makes a tensor of {largest:,} numbers")
    more = (counts[32].made - counts[16].made) / 16
    expect(more < 8, f"all right; but each chunk more makes {more:.0f} tensors more: much is done chunk after chunk")


def _mask(a, now, before):
    """What each input adds to each state of ``h_t = a_t h + before_t u_(t-1) + now_t u_t``: ``(length, length)``."""
    h, rows, inputs = torch.zeros_like(a), [], torch.eye(len(a), dtype=a.dtype)
    for t in range(len(a)):
        h = a[t] * h + now[t] * inputs[t] + (before[t] * inputs[t - 1] if t else 0)
        rows.append(h)
    return torch.stack(rows)


@exercise
def check_trapezoid(yours):
    """``trapezoid_mask(a, delta, weight) -> M``, so that ``y = (M * (C @ B.T)) @ x``.

    Decays, step sizes and λ, all ``(length,)``, to ``(length, length)``. Nothing comes in before the first position.
    """
    length = 5
    a, delta, weight = 0.2 + 0.7 * uniform(length), 0.1 + uniform(length, seed=1), 0.1 + 0.8 * uniform(length, seed=2)
    ones, nothing = torch.ones_like(a), torch.zeros_like(a)

    def ask(length, weight):
        return tensors(yours, a[:length], delta[:length], weight[:length], M=(length, length))

    M = ask(1, ones).item()
    expect(abs(M - delta[0]) < 1e-6, f"for a single step of {delta[0]:.3g} with λ = 1 it is {M:.3g}")
    M, expected = ask(length, ones), _mask(a, delta, nothing)
    expect(not close(M, expected.mT), "with λ = 1 everywhere it is the transpose of what it should be")
    expect(
        not close(M, _mask(a, delta, delta * a)),
        "with λ = 1 everywhere M[1, 0] also has what enters at the beginning of step 1, though its weight is 0",
    )
    wrong = first_wrong(M, expected, 0)
    expect(wrong is None, f"with λ = 1 everywhere, which is Mamba-2, M[{wrong}] is the first row that is wrong")

    M = ask(length, weight)
    now, rest = weight * delta, (1 - weight) * delta
    for slip, says in (
        (_mask(a, delta, nothing), "whatever λ is, M stays the same"),
        (_mask(a, now, nothing), "with another, M[1, 0] has nothing of what enters at the beginning of step 1"),
        (_mask(a, now, rest), "with another, what enters at the beginning of a step hasn't decayed when it ends"),
        (
            _mask(a, now, rest.roll(1) * a),
            "with another, what enters at the beginning of step 1 is weighed as in step 0",
        ),
        (
            _mask(a, now + torch.cat([rest[1:], nothing[:1]]), nothing),
            "with another, M[0, 0] contains what enters only with step 1",
        ),
    ):
        expect(not close(M, slip), f"right for λ = 1; {says}")
    wrong = first_wrong(M, _mask(a, now, rest * a), 0)
    expect(wrong is None, f"right for λ = 1; with another, M[{wrong}] is the first row that is wrong")


def _turned(B, angles):
    pairs = torch.view_as_complex(B.unflatten(1, (-1, 2)).contiguous())
    return torch.view_as_real(pairs * torch.polar(torch.ones_like(angles), angles)).flatten(1)


@exercise
def check_rotation(yours):
    """``turn_pairs(B, turns, angle) -> (turned, angle)``: numbers 2n and 2n + 1 of ``B (length, d_state)`` are a pair.

    ``turns (length, d_state / 2)`` is by how much each turns at each position, ``angle (d_state / 2,)`` how far it has
    turned before and after, in radians.
    """

    def ask(B, turns, angle):
        turned, last = tensors(yours, B, turns, angle, turned=B.shape, angle=angle.shape)
        return turned, last, angle + turns.cumsum(0)

    quarter, nothing = torch.full((1, 1), math.pi / 2, dtype=torch.float64), torch.zeros(2, dtype=torch.float64)
    for start, end in (((1.0, 0.0), (0, 1)), ((0.0, 1.0), (-1, 0))):
        turned, _, _ = ask(torch.tensor([start], dtype=torch.float64), quarter, nothing[:1])
        x, y = (round(number, 2) + 0.0 for number in turned[0].tolist())  # + 0.0: no minus before a zero
        expect(
            close(turned, torch.tensor([end])),
            f"a quarter of a turn takes ({start[0]:g}, {start[1]:g}) to {end}, and yours to ({x:g}, {y:g})",
        )
    B, turns = normal(5, 4), uniform(5, 2, seed=1)
    turned, _, angles = ask(B[:1], turns[:1], nothing)
    halves = B[:1, [0, 2, 1, 3]]
    for slip in (_turned(halves, angles), _turned(halves, angles)[:, [0, 2, 1, 3]]):
        expect(not close(turned, slip), "right for one pair; of four numbers, it pairs number 0 with number 2")
    expect(
        not close(turned, _turned(B[:1], angles)[:, [0, 2, 1, 3]]),
        "right for one pair; of two, the numbers are right and come in another order",
    )
    expect(not close(turned, _turned(B[:1], angles[:, :1])), "right for one pair; of two, both turn by the same angle")
    expect(close(turned, _turned(B[:1], angles)), "right for one pair, wrong for two")

    turned, _, angles = ask(B, turns, nothing)
    expect(not close(turned, _turned(B, turns)), "right for one position; what has turned at earlier ones is forgotten")
    wrong = first_wrong(turned, _turned(B, angles), 0)
    expect(wrong is None, f"right for one position; of five, turned[{wrong}] is the first that is wrong")
    before = torch.tensor([0.4, -1.3], dtype=torch.float64)
    turned, last, angles = ask(B, turns, before)
    expect(
        not close(turned, _turned(B, turns.cumsum(0))), "however far the pairs have turned before, they start at zero"
    )
    wrong = first_wrong(turned, _turned(B, angles), 0)
    expect(wrong is None, f"right from zero; from a given angle, turned[{wrong}] is the first that is wrong")
    expect(
        not close(last, turns.sum(0)),
        "turned is right; the angle that is returned leaves out how far the pairs had turned before",
    )
    apart = torch.cos(last - angles[-1])  # a whole turn more or less is as good
    expect(
        close(apart, torch.ones_like(apart)),
        "turned is right; the angle that is returned isn't that of the last position",
    )
