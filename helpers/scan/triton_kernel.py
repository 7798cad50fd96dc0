"""The selective scan fused on the GPU: one Triton kernel forward, one backward.

The loop of ``reference``, with the state in registers. A program is one warp, which holds the states of 8 channels with
16 numbers each, 4 to a lane, and walks through the positions; softplus, skip connection and gate happen on the way. No
array of size length times d_state is in memory but the states before every ``CHUNK``-th position, from which the
backward finds the states between again. What a program knows of a gradient that it shares with others (A, B, C, D,
delta_bias) it writes down, and these parts are summed afterwards in a fixed order: the same result every time.

Why no associative scan over the positions: batch * dim channels occupy a T4 without it, and the loop has the fewest
operations, never subtracts states to find a gradient, and reads channels-last tensors as they lie.

What bounds it at (batch 16, dim 128, length 784, d_state 16), float32, channels last, in microseconds, from shapes,
data sheets and compiled code (tests/support/compile_triton_kernel.py)::

                                                   forward        backward
                                                   T4     A100    T4     A100
    DRAM, 42 and 114 MB, at 320, 1555 GB/s         131      27     357     73
    SFU, 16 a clock and SM, 1.59, 1.41 GHz          50      21      63     26
    instructions, 1 a clock and scheduler           94      53     240    135

So a T4 should be bound by its memory, and an A100, which needs several such batches to be full, by latency. What was
measured is in ``experiments/gpu``.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section 3.3.2.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.scan import plain

CHUNK = 7  # positions from one kept state to the next: the most that the backward has registers for; divides 784
LOG2_E = tl.constexpr(1.4426950408889634)  # exp(x) = exp2(LOG2_E * x), and exp2 is one instruction
LN_2 = tl.constexpr(0.6931471805599453)


def available(device: torch.device | str) -> bool:
    """Whether the kernels run on ``device``: an NVIDIA GPU of compute capability 7.0 or higher."""
    device = torch.device(device)
    usable = device.type == "cuda" and torch.version.cuda is not None and torch.cuda.is_available()
    return usable and torch.cuda.get_device_capability(device) >= (7, 0)


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The scan of :func:`helpers.scan.selective_scan`, fused.

    Args:
        u, delta, z: ``(batch, dim, length)``, any strides, float32, float16 or bfloat16; ``z`` may be None.
        A: ``(dim, d_state)``, float32.
        B, C: ``(batch, groups, d_state, length)``, any strides, floating point; groups divides dim.
        D, delta_bias: ``(dim,)``, float32, or None.
        initial_state: ``(batch, dim, d_state)``, float32, or None for zero.
        delta_softplus: apply softplus to ``delta + delta_bias``.

    Returns:
        ``y``, ``(batch, dim, length)``, with the dtype and memory layout of ``u``, and the last state,
        ``(batch, dim, d_state)``, float32. All arithmetic is float32.
    """
    A, D, delta_bias, initial_state = (x if x is None else x.contiguous() for x in (A, D, delta_bias, initial_state))
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep_states = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    return _forward(*tensors, delta_softplus, keep_states)[:2]


# The kernels. c counts channels and n the numbers of a channel's state; a tile is (n, c). Names with _t belong to one
# position. An argument that is None is so at compile time, and all that is asked about it costs nothing.


@triton.jit
def _softplus(x):
    """max(x, 0) + log(1 + e) with e = exp(-|x|). The logarithm is 2 artanh(e / (2 + e)), as a power series."""
    e = tl.exp2(tl.abs(x) * -LOG2_E)
    s = e / (2 + e)
    q = s * s  # at most 1/9
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q / 13)))))
    return tl.maximum(x, 0) + 2 * s * series


@triton.jit
def _sigmoid(x):
    return 1 / (1 + tl.exp2(x * -LOG2_E))


@triton.jit
def _step(raw, exists, SOFTPLUS: tl.constexpr):
    """The step size before and after softplus. It is zero past the end, where the state shall stay as it is."""
    raw = tl.where(exists, raw, -float("inf") if SOFTPLUS else 0.0)
    return raw, _softplus(raw) if SOFTPLUS else raw


@triton.jit
def _place(dim, groups, length, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr):
    """Where this program works: batch, group, c, n; how many positions c and n have, none where they do not exist; the
    tile in a (dim, d_state) array, and its mask."""
    width = dim // groups
    blocks = tl.cdiv(width, CHANNELS)
    program = tl.program_id(0)
    batch, group, block = program // (groups * blocks), program // blocks % groups, program % blocks
    i, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, N)
    c = group * width + i
    c_end, n_end = tl.where(i < width, length, 0), tl.where(n < d_state, length, 0)
    mask = (n < d_state)[:, None] & (i < width)[None, :]
    return batch.to(tl.int64), group, c, n, c_end, n_end, c[None, :] * d_state + n[:, None], mask


@triton.jit
def _load(x, offsets, mask):
    """``x`` at ``offsets``, zero where ``mask`` is not set or ``x`` is None."""
    if x is None:
        value = tl.zeros(mask.shape, tl.float32)
    else:
        value = tl.load(x + offsets, mask, 0.0)
    return value


@triton.jit
def _rows(x, strides, batch, i, end, start, CHUNK: tl.constexpr):
    """Positions start, start + 1, ... of ``x`` as a tuple of float32 vectors over ``i``, all loaded at once."""
    rows = ()
    for k in tl.static_range(CHUNK):
        if x is not None:
            row = tl.load(x + batch * strides[0] + i * strides[1] + (start + k) * strides[2], start + k < end, 0.0)
            rows = rows + (row.to(tl.float32),)  # noqa: RUF005
    return rows


@triton.jit
def _forward_kernel(
    u, delta, A, B, C, D, z, delta_bias, initial_state, y, last_state, states,
    u_strides, delta_strides, B_strides, C_strides, z_strides, y_strides, dim, groups, length, chunks,
    SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch, group, c, n, c_end, n_end, tile, mask = _place(dim, groups, length, d_state, N, CHANNELS)
    A = tl.load(A + tile, mask, 0.0) * LOG2_E
    D, delta_bias = _load(D, c, c_end > 0), _load(delta_bias, c, c_end > 0)
    h = _load(initial_state, batch * dim * d_state + tile, mask)
    for chunk in range(chunks):
        if states is not None:
            tl.store(states + (batch * chunks + chunk) * dim * d_state + tile, h, mask)
        start = chunk * CHUNK
        us = _rows(u, u_strides, batch, c, c_end, start, CHUNK)
        deltas = _rows(delta, delta_strides, batch, c, c_end, start, CHUNK)
        Bs = _rows(B + group * B_strides[3], B_strides, batch, n, n_end, start, CHUNK)
        Cs = _rows(C + group * C_strides[3], C_strides, batch, n, n_end, start, CHUNK)
        zs = _rows(z, z_strides, batch, c, c_end, start, CHUNK)
        for k in tl.static_range(CHUNK):
            t = start + k
            _, step = _step(deltas[k] + delta_bias, t < c_end, SOFTPLUS)
            h = tl.exp2(step[None, :] * A) * h + (step * us[k])[None, :] * Bs[k][:, None]
            y_t = tl.sum(Cs[k][:, None] * h, 0) + D * us[k]
            if z is not None:
                y_t *= zs[k] * _sigmoid(zs[k])
            tl.store(y + batch * y_strides[0] + c * y_strides[1] + t * y_strides[2], y_t, t < c_end)
    tl.store(last_state + batch * dim * d_state + tile, h, mask)


@triton.jit
def _backward_kernel(
    u, delta, A, B, C, D, z, delta_bias, states, dy, dlast_state,
    du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state,
    u_strides, delta_strides, B_strides, C_strides, z_strides, dy_strides, du_strides, ddelta_strides, dz_strides,
    dim, groups, length, chunks,
    SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch, group, c, n, c_end, n_end, tile, mask = _place(dim, groups, length, d_state, N, CHANNELS)
    A = tl.load(A + tile, mask, 0.0) * LOG2_E
    D, delta_bias = _load(D, c, c_end > 0), _load(delta_bias, c, c_end > 0)
    part = tl.program_id(0).to(tl.int64) * length * d_state + n  # of dB and dC: the sum over this program's channels
    dA_sum = tl.zeros((N, CHANNELS), tl.float32)
    dD_sum, ddelta_bias_sum = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    dh = _load(dlast_state, batch * dim * d_state + tile, mask)  # the gradient of h, from all that comes after
    for done in range(chunks):
        chunk = chunks - 1 - done
        start = chunk * CHUNK
        us = _rows(u, u_strides, batch, c, c_end, start, CHUNK)
        deltas = _rows(delta, delta_strides, batch, c, c_end, start, CHUNK)
        dys = _rows(dy, dy_strides, batch, c, c_end, start, CHUNK)
        Bs = _rows(B + group * B_strides[3], B_strides, batch, n, n_end, start, CHUNK)
        Cs = _rows(C + group * C_strides[3], C_strides, batch, n, n_end, start, CHUNK)
        zs = _rows(z, z_strides, batch, c, c_end, start, CHUNK)

        # Forwards through the chunk again, for its states.
        h = tl.load(states + (batch * chunks + chunk) * dim * d_state + tile, mask, 0.0)
        passed = ()
        for k in tl.static_range(CHUNK):
            t, before, dy_t = start + k, h, dys[k]
            raw, step = _step(deltas[k] + delta_bias, t < c_end, SOFTPLUS)
            decay = tl.exp2(step[None, :] * A)
            h = decay * h + (step * us[k])[None, :] * Bs[k][:, None]
            if z is not None:
                y_t = tl.sum(Cs[k][:, None] * h, 0) + D * us[k]
                gate = _sigmoid(zs[k])
                dz_t = dy_t * y_t * gate * (1 + zs[k] * (1 - gate))
                tl.store(dz + batch * dz_strides[0] + c * dz_strides[1] + t * dz_strides[2], dz_t, t < c_end)
                dy_t *= zs[k] * gate
            tl.store(dC + part + t * d_state, tl.sum(h * dy_t[None, :], 1), t < n_end)
            passed = passed + ((dy_t, raw, step, decay, before),)  # noqa: RUF005

        # Backwards, with all of them at hand.
        for k in tl.static_range(CHUNK - 1, -1, -1):
            dy_t, raw, step, decay, before = passed[k]
            t = start + k
            dh += Cs[k][:, None] * dy_t[None, :]
            tl.store(dB + part + t * d_state, tl.sum(dh * (step * us[k])[None, :], 1), t < n_end)
            entered = tl.sum(dh * Bs[k][:, None], 0)  # the gradient of step * u
            dh *= decay  # now the gradient of the state before
            kept = dh * before  # the gradient of step * A
            dA_sum += step[None, :] * kept
            ddelta_t = us[k] * entered + tl.sum(A * kept, 0) * LN_2
            if SOFTPLUS:
                ddelta_t *= _sigmoid(raw)  # zero past the end
            else:
                ddelta_t = tl.where(t < c_end, ddelta_t, 0.0)
            ddelta_bias_sum += ddelta_t
            # Zero times a sum over n adds nothing, but shows the compiler which lanes should hold dD. Left alone it
            # picks others, loads u, z and dy a second time for them, and runs out of registers.
            dD_sum += us[k] * dy_t + 0.0 * entered
            du_t = step * entered + D * dy_t
            tl.store(du + batch * du_strides[0] + c * du_strides[1] + t * du_strides[2], du_t, t < c_end)
            ddelta_row = ddelta + batch * ddelta_strides[0] + c * ddelta_strides[1] + t * ddelta_strides[2]
            tl.store(ddelta_row, ddelta_t, t < c_end)
    tl.store(dA + batch * dim * d_state + tile, dA_sum, mask)
    if dD is not None:
        tl.store(dD + batch * dim + c, dD_sum, c_end > 0)
    if ddelta_bias is not None:
        tl.store(ddelta_bias + batch * dim + c, ddelta_bias_sum, c_end > 0)
    if dinitial_state is not None:
        tl.store(dinitial_state + batch * dim * d_state + tile, dh, mask)


# The operators: make room, launch, add up the parts.


def _sizes(A, B):
    """A program's state entries (padded), channels and warps, and how many programs a group has.

    At most 16 channels, and 4 numbers a lane. Beyond 16 state entries it is more channels and warps: each program has
    2 * d_state numbers of dB and dC for every position, and with few programs that stays comparable to u.
    """
    (dim, d_state), groups = A.shape, B.shape[1]
    n = triton.next_power_of_2(d_state)
    channels = min(max(min(128 // n, 16), min(n // 4, 32)), triton.next_power_of_2(dim // groups))
    return n, channels, min(max(n * channels // 128, 1), 16), triton.cdiv(dim // groups, channels)


def _launch(kernel, u, A, B, delta_softplus, arguments, strided):
    n, channels, warps, blocks = _sizes(A, B)
    (batch, dim, length), groups = u.shape, B.shape[1]
    strides = [None if x is None else x.stride() for x in strided]
    sizes = {"dim": dim, "groups": groups, "length": length, "chunks": triton.cdiv(length, CHUNK)}
    constants = {"SOFTPLUS": delta_softplus, "CHUNK": CHUNK, "d_state": A.shape[1], "N": n, "CHANNELS": channels}
    with torch.cuda.device_of(u):  # no effect on a CPU, where Triton's interpreter can run the kernels
        kernel[(batch * groups * blocks,)](
            *arguments, *strides, **sizes, **constants, num_warps=warps, enable_fp_fusion=True
        )


def _results(u, A, keep_states):
    """Room for y, the last state, and the states before every chunk."""
    batch, dim, length = u.shape
    state = (dim, A.shape[1])
    states = (batch, triton.cdiv(length, CHUNK), *state) if keep_states else (0,)
    return torch.empty_like(u), A.new_empty(batch, *state), A.new_empty(states)


@torch.library.custom_op("one_pixel::scan_triton", mutates_args=())
def _forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, initial_state: Tensor | None, delta_softplus: bool, keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    y, last_state, states = _results(u, A, keep_states)
    arguments = (u, delta, A, B, C, D, z, delta_bias, initial_state, y, last_state, states if keep_states else None)
    _launch(_forward_kernel, u, A, B, delta_softplus, arguments, (u, delta, _group_last(B), _group_last(C), z, y))
    return y, last_state, states


@_forward.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep_states):
    return _results(u, A, keep_states)


def _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, fill):
    """Make room for the gradients of the arguments that are there, ``fill`` it, and add up the parts."""
    batch, dim, length = u.shape
    (groups, d_state), blocks = B.shape[1:3], _sizes(A, B)[-1]
    du, ddelta, dz = (None if x is None else torch.empty_like(x) for x in (u, delta, z))
    dA, dinitial_state = (None if x is None else A.new_empty(batch, dim, d_state) for x in (A, initial_state))
    dB, dC = (A.new_empty(batch, groups, blocks, length, d_state) for _ in "BC")
    dD, ddelta_bias = (None if x is None else A.new_empty(batch, dim) for x in (D, delta_bias))
    fill(du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state)
    dA, dD, ddelta_bias = (None if x is None else x.sum(0) for x in (dA, dD, ddelta_bias))
    dB, dC = (part.sum(2).transpose(2, 3).to(x.dtype) for part, x in ((dB, B), (dC, C)))
    return [x for x in (du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state) if x is not None]


@torch.library.custom_op("one_pixel::scan_triton_backward", mutates_args=())
def _backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, initial_state: Tensor | None, delta_softplus: bool,
    states: Tensor, dy: Tensor, dlast_state: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    def fill(du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state):
        arguments = (u, delta, A, B, C, D, z, delta_bias, states, dy, dlast_state)
        gradients = (du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state)
        strided = (u, delta, _group_last(B), _group_last(C), z, dy, du, ddelta, dz)
        _launch(_backward_kernel, u, A, B, delta_softplus, (*arguments, *gradients), strided)

    return _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, fill)


@_backward.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, states, dy, dlast_state):
    return _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, lambda *gradients: None)


def _group_last(x):
    return x.movedim(1, -1)  # for its strides: batch, n and position as with u, then group


def _remember(ctx, inputs, output):
    *tensors, ctx.delta_softplus, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, dy, dlast_state, _):
    *tensors, states = ctx.saved_tensors
    if dy is None:
        dy = tensors[0].new_zeros(()).expand_as(tensors[0])
    refuse_batched(dy)
    dlast_state = None if dlast_state is None else dlast_state.contiguous()
    gradients = iter(_backward(*tensors, ctx.delta_softplus, states, dy, dlast_state))
    return *(None if x is None else next(gradients) for x in tensors), None, None


def _gradients(*arguments):
    *tensors, delta_softplus, _, dy, dlast_state = arguments
    found = gradients(lambda *tensors: plain.scan(*tensors, delta_softplus), tensors, (dy, dlast_state))
    return [g for g, x in zip(found, tensors, strict=True) if x is not None]


_forward.register_autograd(_differentiate, setup_context=_remember)
differentiate_again(_backward, _gradients)
