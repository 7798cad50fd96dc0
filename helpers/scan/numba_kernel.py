"""The selective scan fused on the CPU: one pass over memory forward, one back.

Sixteen channels are computed side by side (:mod:`helpers.simd`). Their states, ``d_state`` vectors of sixteen numbers,
stay in the nearest cache while the sequence is read. Only the inputs come from memory; only the outputs go there,
and every ``BLOCK`` positions a copy of the states. The backward pass goes through the blocks from the last to the
first, computes the states of a block once more from its copy, and then follows the gradient back through them: two
states at a time, so that what they have in common is loaded once, and their gradients stay in registers.

Where there are fewer channels than lanes, :mod:`helpers.scan.numba_few_channels` puts the states side by side instead.

The backward pass by hand, with ``a = exp(step A)``, ``h = a h' + step u B``, ``y = C h + D u`` and a gradient ``g`` of
the loss with respect to h, which comes from y (``g += dy C``) and from the next position (``g += a g``)::

    dC = dy h                 dB = g step u             dA = g a h' step
    dstep = g (a h' A + u B)  du = g step B + dy D      dh' = g a
"""

import math

import numpy as np
import torch
import torch.nn.functional as F
from numba import njit

from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.jit import cached_kernel
from helpers.scan import numba_few_channels, plain
from helpers.simd import (
    CONTRACT,
    LANES,
    array,
    exp2,
    load,
    load_broadcast,
    prefetch,
    sigmoid,
    softplus,
    splat,
    store,
    sum_lanes,
    tensor,
)
from helpers.threads import parallel_for

BLOCK = LANES  # positions between two copies of the states; as many as lanes, so that sums over lanes fill a vector
STRIP = 16  # vectors of channels that a task computes at most, so that what it keeps of them stays in the cache
TASKS = 4  # at least, if there are vectors enough
LOG2E = 1 / math.log(2)  # the kernels get A * LOG2E: the decay is then a power of two, which costs less


# --- the kernels: sequences are (batch, length, dim), B and C (batch, length, groups, d_state) ------------------------
#
# A task is a strip of channels of one group of one sequence, and what it keeps of every channel and state lies together
# in the order (channels / LANES, d_state, LANES). There d_state is even: states are computed two by two.


@njit(fastmath=CONTRACT)
def _strip(task, strips, groups, width):
    """The sequence and the group of a task, and its first channel and the one after its last."""
    strip, group, b = task % strips, task // strips % groups, task // strips // groups
    strip_width = _strip_width(width, strips)
    left = group * width + strip * strip_width
    return b, group, left, min(left + strip_width, (group + 1) * width)


@njit
def _vectors(count, like):
    return np.empty(count * LANES, like.dtype)


@njit
def _strip_width(width, strips):
    return -(-width // LANES // strips) * LANES


@njit(fastmath=CONTRACT, inline="always")
def _enter(at, row, ahead, count, u, delta, D, bias, c, squash, steps, drives, outs):
    """Step size, step size times input, and D u, of the ``count`` positions of a block, which lie ``row`` apart."""
    for i in range(count):
        prefetch(u, at + ahead)
        prefetch(delta, at + ahead)
        step = load(delta, at) + load(bias, c)
        if squash:
            step = softplus(step)
        store(steps, i * LANES, step)
        store(drives, i * LANES, step * load(u, at))
        store(outs, i * LANES, load(D, c) * load(u, at))
        at += row


@cached_kernel
def _forward(first, last, strips, u, delta, A, B, C, D, z, bias, initial, squash, gated, y, copies, final):
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    kept = _strip_width(dim // groups, strips) * d_state
    h, rates = np.empty(kept, A.dtype), np.empty(kept, A.dtype)
    steps, drives, outs = _vectors(BLOCK, A), _vectors(BLOCK, A), _vectors(BLOCK, A)
    for task in range(first, last):
        b, group, left, right = _strip(task, strips, groups, dim // groups)
        for c in range(left, right, LANES):
            for n in range(d_state):
                at = (c - left) * d_state + n * LANES
                store(h, at, load(initial, (b * d_state + n) * dim + c))
                store(rates, at, load(A, n * dim + c))
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            for c in range(left, right, LANES):
                own = (c - left) * d_state
                top = (b * length + start) * dim + c
                if blocks:
                    for n in range(0, d_state * LANES, LANES):
                        store(copies, ((b * blocks + start // BLOCK) * dim + c) * d_state + n, load(h, own + n))
                _enter(top, dim, BLOCK * dim, count, u, delta, D, bias, c, squash, steps, drives, outs)
                for i in range(count):
                    prefetch(z, top + (i + BLOCK) * dim)
                    prefetch(y, top + (i + BLOCK) * dim)
                    step, drive, out = load(steps, i * LANES), load(drives, i * LANES), load(outs, i * LANES)
                    at = ((b * length + start + i) * groups + group) * d_state
                    for n in range(d_state):
                        row = own + n * LANES
                        state = exp2(step * load(rates, row)) * load(h, row) + drive * load_broadcast(B, at + n)
                        store(h, row, state)
                        out = out + state * load_broadcast(C, at + n)
                    store(outs, i * LANES, out)
                for i in range(count):
                    at = top + i * dim
                    out = load(outs, i * LANES)
                    if gated:
                        gate = load(z, at)
                        out = out * (gate * sigmoid(gate))
                    store(y, at, out)
        for c in range(left, right, LANES):
            for n in range(d_state):
                store(final, (b * d_state + n) * dim + c, load(h, (c - left) * d_state + n * LANES))


@cached_kernel
def _backward(
    first, last, strips, u, delta, A, B, C, D, z, bias, squash, gated, copies, dy, dfinal,
    du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial,
):  # fmt: skip
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    real = A.dtype.type
    zero, one, log_two = splat(real(0)), real(1), real(1 / LOG2E)
    kept = _strip_width(dim // groups, strips) * d_state
    rates, dh, sums_A = np.empty(kept, A.dtype), np.empty(kept, A.dtype), np.empty(kept, A.dtype)
    # Of two states: a[i] takes the state before position i of the block, h[i], to the state after it, h[i + 1].
    h0, a0, h1, a1 = _vectors(BLOCK + 1, A), _vectors(BLOCK, A), _vectors(BLOCK + 1, A), _vectors(BLOCK, A)
    sums_B, sums_C = _vectors(BLOCK * d_state, A), _vectors(BLOCK * d_state, A)  # over the channels, state by state
    row_B, row_C = _vectors(1, A), _vectors(1, A)
    steps, drives, slopes, outs = _vectors(BLOCK, A), _vectors(BLOCK, A), _vectors(BLOCK, A), _vectors(BLOCK, A)
    dexponents, ddrives, gates = _vectors(BLOCK, A), _vectors(BLOCK, A), _vectors(BLOCK, A)
    for task in range(first, last):
        b, group, left, right = _strip(task, strips, groups, dim // groups)
        for c in range(left, right, LANES):
            store(dD, b * dim + c, zero)
            store(dbias, b * dim + c, zero)
            for n in range(d_state):
                own = (c - left) * d_state + n * LANES
                store(rates, own, load(A, n * dim + c))
                store(dh, own, load(dfinal, (b * d_state + n) * dim + c))
                store(sums_A, own, zero)
        for block in range(blocks - 1, -1, -1):
            start = block * BLOCK
            count = min(BLOCK, length - start)
            for row in range(BLOCK * d_state):
                store(sums_B, row * LANES, zero)
                store(sums_C, row * LANES, zero)
            for c in range(left, right, LANES):
                top = (b * length + start) * dim + c
                _enter(top, dim, -BLOCK * dim, count, u, delta, D, bias, c, squash, steps, drives, outs)
                # Through the gate: from here on a slope is the gradient with respect to C h + D u.
                for i in range(count):
                    at = top + i * dim
                    prefetch(dy, at - BLOCK * dim)
                    slope = load(dy, at)
                    if gated:
                        prefetch(z, at - BLOCK * dim)
                        gate = load(z, at)
                        opened = sigmoid(gate)
                        store(gates, i * LANES, slope * opened * (one + gate * (one - opened)))
                        slope = slope * gate * opened
                    store(slopes, i * LANES, slope)
                    store(dexponents, i * LANES, zero)
                    store(ddrives, i * LANES, zero)
                for n in range(0, d_state, 2):
                    own = (c - left) * d_state + n * LANES
                    rate0, rate1 = load(rates, own), load(rates, own + LANES)
                    # Forward once more, and this time every state of the block is kept.
                    at = ((b * blocks + block) * dim + c) * d_state + n * LANES
                    state0, state1 = load(copies, at), load(copies, at + LANES)
                    store(h0, 0, state0)
                    store(h1, 0, state1)
                    for i in range(count):
                        at = ((b * length + start + i) * groups + group) * d_state + n
                        step, drive, out = load(steps, i * LANES), load(drives, i * LANES), load(outs, i * LANES)
                        decay0, decay1 = exp2(step * rate0), exp2(step * rate1)
                        state0 = drive * load_broadcast(B, at) + decay0 * state0
                        state1 = drive * load_broadcast(B, at + 1) + decay1 * state1
                        store(a0, i * LANES, decay0)
                        store(a1, i * LANES, decay1)
                        store(h0, (i + 1) * LANES, state0)
                        store(h1, (i + 1) * LANES, state1)
                        store(
                            outs, i * LANES, out + state0 * load_broadcast(C, at) + state1 * load_broadcast(C, at + 1)
                        )
                    # Through the states, backwards.
                    grad0, grad1 = load(dh, own), load(dh, own + LANES)
                    sum0, sum1 = load(sums_A, own), load(sums_A, own + LANES)
                    for i in range(count - 1, -1, -1):
                        at = ((b * length + start + i) * groups + group) * d_state + n
                        row0, row1 = (n * BLOCK + i) * LANES, ((n + 1) * BLOCK + i) * LANES
                        step, drive, slope = load(steps, i * LANES), load(drives, i * LANES), load(slopes, i * LANES)
                        ddrive, dexponent = load(ddrives, i * LANES), load(dexponents, i * LANES)
                        store(sums_C, row0, load(sums_C, row0) + slope * load(h0, (i + 1) * LANES))
                        store(sums_C, row1, load(sums_C, row1) + slope * load(h1, (i + 1) * LANES))
                        grad0 = grad0 + slope * load_broadcast(C, at)
                        grad1 = grad1 + slope * load_broadcast(C, at + 1)
                        store(sums_B, row0, load(sums_B, row0) + grad0 * drive)
                        store(sums_B, row1, load(sums_B, row1) + grad1 * drive)
                        store(
                            ddrives,
                            i * LANES,
                            ddrive + grad0 * load_broadcast(B, at) + grad1 * load_broadcast(B, at + 1),
                        )
                        grad0 = grad0 * load(a0, i * LANES)
                        grad1 = grad1 * load(a1, i * LANES)
                        slope0, slope1 = grad0 * load(h0, i * LANES), grad1 * load(h1, i * LANES)
                        store(dexponents, i * LANES, dexponent + slope0 * rate0 + slope1 * rate1)
                        sum0 = sum0 + slope0 * step
                        sum1 = sum1 + slope1 * step
                    store(dh, own, grad0)
                    store(dh, own + LANES, grad1)
                    store(sums_A, own, sum0)
                    store(sums_A, own + LANES, sum1)
                # To the inputs.
                sum_D, sum_bias = load(dD, b * dim + c), load(dbias, b * dim + c)
                for i in range(count):
                    at = top + i * dim
                    if gated:
                        store(dz, at, load(gates, i * LANES) * load(outs, i * LANES))
                    x, slope, ddrive = load(u, at), load(slopes, i * LANES), load(ddrives, i * LANES)
                    dstep = load(dexponents, i * LANES) * log_two + ddrive * x
                    if squash:
                        dstep = dstep * sigmoid(load(delta, at) + load(bias, c))
                    store(ddelta, at, dstep)
                    store(du, at, ddrive * load(steps, i * LANES) + slope * load(D, c))
                    sum_D = sum_D + slope * x
                    sum_bias = sum_bias + dstep
                store(dD, b * dim + c, sum_D)
                store(dbias, b * dim + c, sum_bias)
            for n in range(d_state):
                store(row_B, 0, sum_lanes(sums_B, n * BLOCK * LANES))
                store(row_C, 0, sum_lanes(sums_C, n * BLOCK * LANES))
                for i in range(count):
                    dB[task % strips, b, start + i, group, n] = row_B[i]
                    dC[task % strips, b, start + i, group, n] = row_C[i]
        for c in range(left, right, LANES):
            for n in range(d_state):
                row, own = (b * d_state + n) * dim + c, (c - left) * d_state + n * LANES
                store(dA, row, load(sums_A, own))
                store(dinitial, row, load(dh, own))


# --- the operators: sequences are (batch, dim, length), B and C (batch, groups, d_state, length or 1) -----------------


class _Layout:
    """How the operator's tensors lie in the kernels' arrays, and which kernels they are."""

    def __init__(self, u, A, B, C):
        self.batch, self.dim, self.length = u.shape
        self.d_state = A.shape[1]
        self.groups = B.shape[1]
        self.width = self.dim // self.groups
        channels = -(-self.width // LANES) * LANES * self.d_state  # lanes that are computed, filled or not
        states = -(-self.d_state // LANES) * LANES * self.width
        varies = min(B.shape[3], C.shape[3]) == self.length
        self.by_channels = varies and channels <= numba_few_channels.COST * states
        self.more_channels = -self.width % LANES if self.by_channels else 0  # a group, to fill whole vectors
        self.more_states = -self.d_state % (2 if self.by_channels else LANES)
        channels, states = self.dim + self.groups * self.more_channels, self.d_state + self.more_states
        self.copies = (self.batch, -(-self.length // BLOCK), channels, states)
        # A task is a strip of channels of one group of one sequence. More strips are work for more threads, and more
        # to add up: each of them sums dB and dC over its own channels. How many there are depends on the shape alone,
        # since it decides the order of additions.
        self.strips = 1
        if self.by_channels:
            vectors, sequences = (self.width + self.more_channels) // LANES, max(1, self.batch * self.groups)
            self.strips = min(vectors, max(-(-TASKS // sequences), -(-vectors // STRIP)))
        self.tasks = self.batch * self.groups * self.strips

    def channels(self, x):
        """``(..., dim)``, every group filled up."""
        if self.more_channels:
            x = F.pad(x.unflatten(-1, (self.groups, self.width)), (0, self.more_channels)).flatten(-2)
        return array(x)

    def sequence(self, x):
        """``(batch, dim, length)`` as ``(batch, length, channels)``; in bfloat16 only where the kernel can read it."""
        return self.channels((x if self.by_channels or x.dtype != torch.bfloat16 else x.float()).mT)

    def states(self, x):
        """``(..., d_state)``, filled up."""
        return array(F.pad(x, (0, self.more_states)) if self.more_states else x)

    def per_channel(self, x):
        """``(..., dim, d_state)``, in the order of the kernel."""
        if not self.by_channels:
            return self.states(x)
        return self.channels((F.pad(x, (0, self.more_states)) if self.more_states else x).mT)

    def without_padding(self, x):
        """The inverse of :meth:`channels`."""
        x = tensor(x)
        if self.more_channels:
            x = x.unflatten(-1, (self.groups, -1))[..., : self.width].flatten(-2).contiguous()
        return x

    def per_channel_back(self, x):
        x = self.without_padding(x).mT if self.by_channels else torch.from_numpy(x)
        return x[..., : self.d_state].contiguous()

    def inputs(self, u, delta, A, B, C, D, z, delta_bias):
        zeros = A.new_zeros(self.dim)
        u = self.sequence(u)
        return (
            u,
            self.sequence(delta),
            self.per_channel(A * LOG2E),
            self.states(B.permute(0, 3, 1, 2)),
            self.states(C.permute(0, 3, 1, 2)),
            self.channels(zeros if D is None else D),
            u if z is None else self.sequence(z),
            self.channels(zeros if delta_bias is None else delta_bias),
        )


_OPTIONAL = torch.Tensor | None


@torch.library.custom_op("one_pixel::scan_numba", mutates_args=(), device_types="cpu")
def _scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: _OPTIONAL,
    z: _OPTIONAL,
    delta_bias: _OPTIONAL,
    initial_state: _OPTIONAL,
    delta_softplus: bool,
    keep: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``y``, the last state, and, if they are to be kept for the backward pass, copies of the states."""
    layout = _Layout(u, A, B, C)
    inputs = layout.inputs(u, delta, A, B, C, D, z, delta_bias)
    if initial_state is None:
        initial_state = A.new_zeros(layout.batch, layout.dim, layout.d_state)
    initial = layout.per_channel(initial_state)
    batch, blocks, *state = layout.copies
    copies = np.empty((batch, blocks if keep else 0, *state), initial.dtype)
    y, final = np.empty_like(inputs[0]), np.empty_like(initial)
    kernel, tasks = (_forward, layout.tasks) if layout.by_channels else (numba_few_channels.forward, batch * layout.dim)
    parallel_for(kernel, tasks, layout.strips, *inputs, initial, delta_softplus, z is not None, y, copies, final)
    return layout.without_padding(y).mT.to(u.dtype), layout.per_channel_back(final), torch.from_numpy(copies)


@_scan.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep):
    layout = _Layout(u, A, B, C)
    batch, blocks, *state = layout.copies
    return (
        u.new_empty(batch, layout.length, layout.dim).mT,
        A.new_empty(batch, layout.dim, layout.d_state),
        A.new_empty(batch, blocks if keep else 0, *state),
    )


@torch.library.custom_op("one_pixel::scan_numba_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    dy: torch.Tensor,
    dlast: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: _OPTIONAL,
    z: _OPTIONAL,
    delta_bias: _OPTIONAL,
    initial_state: _OPTIONAL,
    delta_softplus: bool,
    copies: torch.Tensor,
) -> list[torch.Tensor]:
    """The gradients of u, delta, A, B, C, D, z, delta_bias and initial_state, whether they were given or not."""
    layout = _Layout(u, A, B, C)
    inputs = layout.inputs(u, delta, A, B, C, D, z, delta_bias)
    dtype = dy.dtype
    dy, dfinal = layout.sequence(dy), layout.per_channel(dlast)
    real, (batch, dim) = dfinal.dtype, dy.shape[::2]
    du, ddelta = np.empty_like(dy), np.empty_like(dy)
    dz = du if z is None else np.empty_like(dy)  # not written to
    dA, dinitial = np.empty_like(dfinal), np.empty_like(dfinal)
    dD, dbias = np.empty((batch, dim), real), np.empty((batch, dim), real)
    strips = layout.strips
    dB, dC = (np.empty((strips, *x.shape), real) for x in inputs[3:5])
    kernel = _backward if layout.by_channels else numba_few_channels.backward
    gradients = (du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial)
    parallel_for(
        kernel, layout.tasks, strips, *inputs, delta_softplus, z is not None, copies.numpy(), dy, dfinal, *gradients
    )
    du, ddelta, dD, dz, dbias = (
        layout.without_padding(x) for x in (du, ddelta, dD.sum(0), dz[:0] if z is None else dz, dbias.sum(0))
    )
    dB, dC = (
        torch.from_numpy(x.sum(0) if strips > 1 else x[0])[..., : layout.d_state].permute(0, 2, 3, 1) for x in (dB, dC)
    )
    dA = layout.per_channel_back(dA.sum(0))
    du, ddelta, dz = (x.mT.to(dtype) for x in (du, ddelta, dz))
    return [du, ddelta, dA, dB, dC, dD, dz, dbias, layout.per_channel_back(dinitial)]


@_scan_backward.register_fake
def _(dy, dlast, u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, copies):
    def sequence(batch):
        return u.new_empty(batch, u.shape[2], u.shape[1]).mT

    def varying(form):
        batch, groups, d_state, length = form.shape
        return form.new_empty(batch, length, groups, d_state).permute(0, 2, 3, 1)

    batch, dim, _ = u.shape
    vectors = A.new_empty(dim), A.new_empty(dim)
    dz = sequence(0 if z is None else batch)
    state = A.new_empty(batch, dim, A.shape[1])
    return [
        sequence(batch),
        sequence(batch),
        torch.empty_like(A),
        varying(B),
        varying(C),
        vectors[0],
        dz,
        vectors[1],
        state,
    ]


def _keep_for_backward(ctx, inputs, output):
    *tensors, delta_softplus, _ = inputs
    ctx.delta_softplus, ctx.given = delta_softplus, [x is not None for x in tensors]
    ctx.save_for_backward(*tensors, output[2])


def _differentiate(ctx, dy, dlast, _):
    refuse_batched(dy)
    *tensors, copies = ctx.saved_tensors
    gradients = _scan_backward(dy, dlast, *tensors, ctx.delta_softplus, copies)
    return *(g if given else None for g, given in zip(gradients, ctx.given, strict=True)), None, None


def _gradients(dy, dlast, *rest):
    *tensors, delta_softplus, _ = rest
    return gradients(lambda *tensors: plain.scan(*tensors, delta_softplus), tensors, (dy, dlast))


_scan.register_autograd(_differentiate, setup_context=_keep_for_backward)
differentiate_again(_scan_backward, _gradients)


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The whole selective scan, fused: the arguments of :func:`helpers.scan.selective_scan`, on the CPU.

    All are float32, or all float64; or u, delta and z are bfloat16 and the rest is float32, in which all is computed.

    Args:
        u, delta, z: ``(batch, dim, length)``; z or None. In memory the kernels want ``(batch, length, dim)``: a
            transposed view of such a tensor is taken as it is, anything else is copied.
        A: ``(dim, d_state)``.
        B, C: ``(batch, groups, d_state, length)``, or ``(batch, groups, d_state, 1)`` for what does not vary.
        D, delta_bias: ``(dim,)``, or None.
        initial_state: ``(batch, dim, d_state)``, or None for zeros.

    Returns:
        ``y``, of u's dtype, a transposed view of ``(batch, length, dim)``; the last state, ``(batch, dim, d_state)``.
    """
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last_state, _ = _scan(*tensors, delta_softplus, keep)
    return y, last_state
