"""The kernels of :func:`helpers.conv.causal_conv1d` on a GPU, and the operators around them.

With the formulas of :mod:`helpers.conv.numba_kernel`. A program has ``POSITIONS`` positions of some sequences: channels
of one example or several, one for each lane. It loads the rows that it needs, as far as its window reaches, and keeps
them in registers. Backwards the window reaches into the positions of the next program, whose sums are computed again.
Each program writes its part of the gradients of weight and bias, and the parts are summed afterwards in a fixed order,
so the result is the same every time.

No GPU has run these kernels yet. On an H100, (batch 16, dim 128, length 784), width 4, float32, channels last, memory
should take 4 and 7 microseconds, forward and backward, and instructions 2 and 4, counted as for the scan
(:mod:`helpers.scan.triton_kernel`).
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from helpers.conv import reference
from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.triton_math import load, sigmoid

POSITIONS = 16
LANES = 128  # sequences of a program
MOST_TAPS = 4  # that are unrolled; a wider window is a loop


# The kernels. A sequence is a channel of one example; a tuple has a vector over sequences for each position.


@triton.jit
def _place(batch, dim, length, LANES: tl.constexpr):
    """Which sequences are this program's: example, channel, how many positions they have (none where there is none)."""
    i = tl.program_id(0) * LANES + tl.arange(0, LANES)
    return (i // dim).to(tl.int64), i % dim, tl.where(i < batch * dim, length, 0)


@triton.jit
def _rows(x, strides, b, c, end, start, COUNT: tl.constexpr):
    """Positions start, start + 1, ... of ``x``, zero where there is none."""
    rows = ()
    for i in tl.static_range(COUNT):
        t = start + i
        there = (t < end) & (t >= tl.zeros_like(end))
        rows = rows + (tl.load(x + b * strides[0] + c * strides[1] + t * strides[2], there, 0.0).to(tl.float32),)  # noqa: RUF005
    return rows


@triton.jit
def _inputs(x, initial_states, strides, b, c, end, dim, start, WIDTH: tl.constexpr, COUNT: tl.constexpr):
    """The inputs from ``start`` on; before position zero those of ``initial_states``."""
    rows = _rows(x, strides, b, c, end, start, COUNT)
    if initial_states is not None:
        before, both = initial_states + (b * dim + c + 1) * (WIDTH - 1), ()
        for i in tl.static_range(COUNT):
            t = start + i
            there = (t < tl.where(end > 0, 0, -WIDTH)) & (t > -WIDTH + tl.zeros_like(end))
            both = both + (rows[i] + tl.load(before + t, there, 0.0),)  # noqa: RUF005
        rows = both
    return rows


@triton.jit
def _weights(weight, c, end, first, WIDTH: tl.constexpr, TAPS: tl.constexpr):
    rows = ()
    for k in tl.static_range(TAPS):
        rows = rows + (tl.load(weight + c * WIDTH + first + k, end > 0, 0.0),)  # noqa: RUF005
    return rows


@triton.jit
def _sums(
    x, weight, bias, initial_states, x_strides, b, c, end, dim, start,
    WIDTH: tl.constexpr, TAPS: tl.constexpr, COUNT: tl.constexpr,
):  # fmt: skip
    """What goes into the SiLU at positions start, start + 1, ..., ``TAPS`` of its terms at a time."""
    sums = ()
    for _ in tl.static_range(COUNT):
        sums = sums + (load(bias, c, end > 0),)  # noqa: RUF005
    for first in range(0, WIDTH, TAPS):
        xs = _inputs(x, initial_states, x_strides, b, c, end, dim, start - WIDTH + 1 + first, WIDTH, COUNT + TAPS - 1)
        weights, more = _weights(weight, c, end, first, WIDTH, TAPS), ()
        for i in tl.static_range(COUNT):
            s = sums[i]
            for k in tl.static_range(TAPS):
                s += weights[k] * xs[i + k]
            more = more + (s,)  # noqa: RUF005
        sums = more
    return sums


@triton.jit
def _slope(s, dy):
    """The gradient of ``s``, given that of its SiLU."""
    opened = sigmoid(s)
    return dy * opened * (1 + s * (1 - opened))


@triton.jit
def forward_kernel(
    x, weight, bias, initial_states, dy, y, x_strides, dy_strides, y_strides, batch, dim, length, start,
    SILU: tl.constexpr, WIDTH: tl.constexpr, TAPS: tl.constexpr, POSITIONS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    """``y``; or, where ``dy`` is given, the gradient of what the SiLU is taken of."""
    b, c, end = _place(batch, dim, length, LANES)
    start += tl.program_id(1) * POSITIONS
    sums = _sums(x, weight, bias, initial_states, x_strides, b, c, end, dim, start, WIDTH, TAPS, POSITIONS)
    if dy is not None:
        dys = _rows(dy, dy_strides, b, c, end, start, POSITIONS)
    for i in tl.static_range(POSITIONS):
        y_t = sums[i]
        if dy is not None:
            y_t = _slope(y_t, dys[i])
        elif SILU:
            y_t *= sigmoid(y_t)
        tl.store(y + b * y_strides[0] + c * y_strides[1] + (start + i) * y_strides[2], y_t, start + i < end)


@triton.jit
def backward_kernel(
    x, weight, bias, initial_states, dy, dx, dweight, dbias, dinitial_states,
    x_strides, dy_strides, dx_strides, batch, dim, length, start,
    SILU: tl.constexpr, WIDTH: tl.constexpr, TAPS: tl.constexpr, POSITIONS: tl.constexpr, LANES: tl.constexpr,
):  # fmt: skip
    b, c, end = _place(batch, dim, length, LANES)
    start += tl.program_id(1) * POSITIONS
    dxs, slopes = (), ()
    for _ in tl.static_range(POSITIONS):
        dxs = dxs + (tl.zeros((LANES,), tl.float32),)  # noqa: RUF005
    for _ in tl.static_range(POSITIONS + TAPS - 1):
        slopes = slopes + (tl.zeros((LANES,), tl.float32),)  # noqa: RUF005

    # An input meets one tap after another at later and later positions: from the last tap backwards those lie further
    # on. The first tap comes first, so that in the end ``slopes`` begins with those of our own positions.
    for first in range(0, WIDTH, TAPS):
        at = start + WIDTH - TAPS - first
        slopes = _rows(dy, dy_strides, b, c, end, at, POSITIONS + TAPS - 1)
        if SILU:
            sums = _sums(
                x, weight, bias, initial_states, x_strides, b, c, end, dim, at, WIDTH, TAPS, POSITIONS + TAPS - 1
            )
            dys, slopes = slopes, ()
            for i in tl.static_range(POSITIONS + TAPS - 1):
                slopes = slopes + (_slope(sums[i], dys[i]),)  # noqa: RUF005
        weights, more = _weights(weight, c, end, first, WIDTH, TAPS), ()
        for i in tl.static_range(POSITIONS):
            dx_t = dxs[i]
            for k in tl.static_range(TAPS):
                dx_t += weights[k] * slopes[i + TAPS - 1 - k]
            more = more + (dx_t,)  # noqa: RUF005
        dxs = more
    for i in tl.static_range(POSITIONS):
        t = start + i
        there = (t < end) & (t >= tl.zeros_like(end))
        tl.store(dx + b * dx_strides[0] + c * dx_strides[1] + t * dx_strides[2], dxs[i], there)
        if dinitial_states is not None:
            there = (t < tl.where(end > 0, 0, -WIDTH)) & (t > -WIDTH + tl.zeros_like(end))
            tl.store(dinitial_states + (b * dim + c + 1) * (WIDTH - 1) + t, dxs[i], there)

    # This program's parts, in (programs along the length, batch, dim, ...).
    part = (tl.program_id(1) * batch + b) * dim + c
    for first in range(0, WIDTH, TAPS):
        xs = _inputs(
            x, initial_states, x_strides, b, c, end, dim, start - WIDTH + 1 + first, WIDTH, POSITIONS + TAPS - 1
        )
        for k in tl.static_range(TAPS):
            total = tl.zeros((LANES,), tl.float32)
            for i in tl.static_range(POSITIONS):
                total += slopes[i] * xs[i + k]
            tl.store(dweight + part * WIDTH + first + k, total, end > 0)
    if dbias is not None:
        total = tl.zeros((LANES,), tl.float32)
        for i in tl.static_range(POSITIONS):
            total += slopes[i]
        tl.store(dbias + part, total, end > 0)


# The operators: weight (dim, width), bias (dim,) and initial_states (batch, dim, width - 1) are contiguous, float32.


def _taps(width):
    """How many terms of a window are unrolled: all, or a divisor of a wider one."""
    return max(taps for taps in range(1, MOST_TAPS + 1) if width % taps == 0)


def _launch(kernel, x, weight, silu, first, programs, arguments, strided):
    """Compute the positions from ``first`` on, by ``programs`` programs for each ``lanes`` sequences."""
    (batch, dim, length), width = x.shape, weight.shape[1]
    lanes = min(LANES, triton.next_power_of_2(max(batch * dim, 1)))
    constants = {"SILU": silu, "WIDTH": width, "TAPS": _taps(width), "POSITIONS": POSITIONS, "LANES": lanes}
    options = {"num_warps": max(lanes // 32, 1), "enable_fp_fusion": True}
    if kernel is backward_kernel and x.dtype != torch.float32:  # left alone, the compiler gives it too few, and spills
        options["maxnreg"] = 255
    strides = [None if x is None else x.stride() for x in strided]
    with torch.cuda.device_of(x):  # no effect on a CPU, where Triton's interpreter can run the kernels
        kernel[(triton.cdiv(batch * dim, lanes), programs)](
            *arguments, *strides, batch, dim, length, first, **constants, **options
        )


@torch.library.custom_op("one_pixel::causal_conv1d_triton", mutates_args=())
def _conv(x: Tensor, weight: Tensor, bias: Tensor | None, initial_states: Tensor | None, silu: bool) -> Tensor:
    y = torch.empty_like(x)
    programs = triton.cdiv(x.shape[2], POSITIONS)
    arguments = (x, weight, bias, initial_states, None, y)
    _launch(forward_kernel, x, weight, silu, 0, programs, arguments, (x, None, y))
    return y


@_conv.register_fake
def _(x, weight, bias, initial_states, silu):
    return torch.empty_like(x)


def _room_for_gradients(x, weight, bias, initial_states, fill):
    """Make room for the gradients of the arguments that are there, ``fill`` it, and add up the parts."""
    (batch, dim, length), width = x.shape, weight.shape[1]
    first = 0 if initial_states is None else 1 - width  # initial states are the inputs at these positions
    parts = (triton.cdiv(length - first, POSITIONS), batch, dim)
    dx, dinitial_states = torch.empty_like(x), None if initial_states is None else torch.empty_like(initial_states)
    dweight = weight.new_empty(*parts, width)
    dbias = None if bias is None else weight.new_empty(parts)
    fill(first, parts[0], dx, dweight, dbias, dinitial_states)
    dweight, dbias = (x if x is None else x.sum((0, 1)) for x in (dweight, dbias))
    return [x for x in (dx, dweight, dbias, dinitial_states) if x is not None]


@torch.library.custom_op("one_pixel::causal_conv1d_triton_backward", mutates_args=())
def _conv_backward(
    dy: Tensor, x: Tensor, weight: Tensor, bias: Tensor | None, initial_states: Tensor | None, silu: bool
) -> list[Tensor]:
    if silu and weight.shape[1] > _taps(weight.shape[1]):  # it would take the same sums again and again
        slopes, programs = torch.empty_like(x, dtype=torch.float32), triton.cdiv(x.shape[2], POSITIONS)
        arguments = (x, weight, bias, initial_states, dy, slopes)
        _launch(forward_kernel, x, weight, silu, 0, programs, arguments, (x, dy, slopes))
        dy, silu = slopes, False

    def fill(first, programs, *gradients):
        arguments = (x, weight, bias, initial_states, dy, *gradients)
        _launch(backward_kernel, x, weight, silu, first, programs, arguments, (x, dy, gradients[0]))

    return _room_for_gradients(x, weight, bias, initial_states, fill)


@_conv_backward.register_fake
def _(dy, x, weight, bias, initial_states, silu):
    return _room_for_gradients(x, weight, bias, initial_states, lambda *room: None)


def _remember(ctx, inputs, output):
    *tensors, ctx.silu = inputs
    ctx.save_for_backward(*tensors)


def _differentiate(ctx, dy):
    refuse_batched(dy)
    found = iter(_conv_backward(dy, *ctx.saved_tensors, ctx.silu))
    return *(None if x is None else next(found) for x in ctx.saved_tensors), None


def _gradients(dy, *arguments):
    *tensors, silu = arguments
    activation = "silu" if silu else None
    found = gradients(lambda *tensors: (reference.causal_conv1d(*tensors, activation),), tensors, (dy,))
    return [g for g, x in zip(found, tensors, strict=True) if x is not None]


_conv.register_autograd(_differentiate, setup_context=_remember)
differentiate_again(_conv_backward, _gradients)


def causal_conv1d(x, weight, bias, initial_states, activation):
    """:func:`helpers.conv.causal_conv1d`: x is float32, float16 or bfloat16, of any strides; the rest is float32.

    All arithmetic is float32.
    """
    weight, bias, initial_states = (t if t is None else t.contiguous() for t in (weight, bias, initial_states))
    return _conv(x, weight, bias, initial_states, activation == "silu")
