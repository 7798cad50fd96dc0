"""The selective scan fused on the CPU: one pass over memory forward, one back.

Sixteen channels are computed side by side (:mod:`helpers.cpu`). Their states, ``d_state`` vectors of sixteen numbers,
stay in the nearest cache while the sequence goes by; from memory come only the inputs, to memory go only the outputs,
and every ``BLOCK`` positions a copy of the states. The backward pass goes through the blocks from the last to the
first, computes the states of a block once more from its copy, and then follows the gradient back through them.

Where there are fewer channels than lanes, :mod:`helpers.scan.few_channels` puts the states side by side instead.

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

from helpers.cpu import CONTRACT, LANES, exp2, load, prefetch, run, sigmoid, softplus, splat, spread, store, totals
from helpers.scan import few_channels

BLOCK = 16  # positions between two copies of the states
LOG2E = 1 / math.log(2)  # the kernels get A * LOG2E: the decay is then a power of two, which costs less


# --- the kernels: sequences are (batch, length, dim), B and C (batch, length, groups, d_state) ------------------------


@njit(nogil=True, cache=True, fastmath=CONTRACT)
def _forward(first, last, u, delta, A, B, C, D, z, bias, initial, squash, gated, y, copies, final):
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    h, rates = np.empty(d_state * LANES, u.dtype), np.empty(d_state * LANES, u.dtype)
    steps, drives, sums = (
        np.empty(BLOCK * LANES, u.dtype),
        np.empty(BLOCK * LANES, u.dtype),
        np.empty(BLOCK * LANES, u.dtype),
    )
    for task in range(first, last):  # sixteen channels of one sequence
        b, c = task // (dim // LANES), task % (dim // LANES) * LANES
        group = c * groups // dim
        for n in range(d_state):
            store(h, n * LANES, load(initial, (b * d_state + n) * dim + c))
            store(rates, n * LANES, load(A, n * dim + c))
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            if blocks:
                for n in range(d_state):
                    store(copies, ((b * blocks + start // BLOCK) * d_state + n) * dim + c, load(h, n * LANES))
            for i in range(count):
                at = (b * length + start + i) * dim + c
                prefetch(u, at + BLOCK * dim)
                prefetch(delta, at + BLOCK * dim)
                prefetch(z, at + BLOCK * dim)
                step = load(delta, at) + load(bias, c)
                if squash:
                    step = softplus(step)
                store(steps, i * LANES, step)
                store(drives, i * LANES, step * load(u, at))
                store(sums, i * LANES, load(D, c) * load(u, at))
            for i in range(count):
                step, drive, out = load(steps, i * LANES), load(drives, i * LANES), load(sums, i * LANES)
                at = ((b * length + start + i) * groups + group) * d_state
                for n in range(d_state):
                    state = exp2(step * load(rates, n * LANES)) * load(h, n * LANES) + drive * spread(B, at + n)
                    store(h, n * LANES, state)
                    out = out + state * spread(C, at + n)
                store(sums, i * LANES, out)
            for i in range(count):
                at = (b * length + start + i) * dim + c
                out = load(sums, i * LANES)
                if gated:
                    gate = load(z, at)
                    out = out * (gate * sigmoid(gate))
                store(y, at, out)
        for n in range(d_state):
            store(final, (b * d_state + n) * dim + c, load(h, n * LANES))


@njit(nogil=True, cache=True, fastmath=CONTRACT)
def _backward(
    first, last, strips, u, delta, A, B, C, D, z, bias, squash, gated, copies, dy, dfinal,
    du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial,
):  # fmt: skip
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    width = dim // groups
    strip_width = -(-width // LANES // strips) * LANES
    real = u.dtype.type
    zero, one, log_two = splat(real(0)), real(1), real(1 / LOG2E)
    # a[i] takes the state before position i of the block, h[i], to the state after it, h[i + 1].
    h, a = np.empty((BLOCK + 1) * d_state * LANES, u.dtype), np.empty(BLOCK * d_state * LANES, u.dtype)
    sums_B, sums_C = np.zeros_like(a), np.zeros_like(a)
    row_B, row_C = np.empty(LANES, u.dtype), np.empty(LANES, u.dtype)
    rates, dh, sums_A = (
        np.empty(d_state * LANES, u.dtype),
        np.empty(d_state * LANES, u.dtype),
        np.empty(d_state * LANES, u.dtype),
    )
    steps, drives, slopes = (
        np.empty(BLOCK * LANES, u.dtype),
        np.empty(BLOCK * LANES, u.dtype),
        np.empty(BLOCK * LANES, u.dtype),
    )
    dexponents, ddrives = np.empty(BLOCK * LANES, u.dtype), np.empty(BLOCK * LANES, u.dtype)
    for task in range(first, last):  # a strip of channels of one group of one sequence
        strip, group, b = task % strips, task // strips % groups, task // strips // groups
        left = group * width + strip * strip_width
        right = min(left + strip_width, (group + 1) * width)
        for c in range(left, right, LANES):
            store(dD, b * dim + c, zero)
            store(dbias, b * dim + c, zero)
            for n in range(d_state):
                row = (b * d_state + n) * dim + c
                store(dA, row, zero)
                store(dinitial, row, load(dfinal, row))
        for block in range(blocks - 1, -1, -1):
            start = block * BLOCK
            count = min(BLOCK, length - start)
            for row in range(count * d_state):
                store(sums_B, row * LANES, zero)
                store(sums_C, row * LANES, zero)
            for c in range(left, right, LANES):
                for n in range(d_state):
                    row = (b * d_state + n) * dim + c
                    store(h, n * LANES, load(copies, ((b * blocks + block) * d_state + n) * dim + c))
                    store(rates, n * LANES, load(A, n * dim + c))
                    store(dh, n * LANES, load(dinitial, row))
                    store(sums_A, n * LANES, load(dA, row))
                # Forward once more, and this time every state of the block is kept.
                for i in range(count):
                    at = (b * length + start + i) * dim + c
                    prefetch(u, at - BLOCK * dim)
                    prefetch(delta, at - BLOCK * dim)
                    prefetch(z, at - BLOCK * dim)
                    prefetch(dy, at - BLOCK * dim)
                    step = load(delta, at) + load(bias, c)
                    if squash:
                        step = softplus(step)
                    store(steps, i * LANES, step)
                    store(drives, i * LANES, step * load(u, at))
                    store(slopes, i * LANES, load(D, c) * load(u, at))
                for i in range(count):
                    step, drive, out = load(steps, i * LANES), load(drives, i * LANES), load(slopes, i * LANES)
                    at = ((b * length + start + i) * groups + group) * d_state
                    for n in range(d_state):
                        row = (i * d_state + n) * LANES
                        decay = exp2(step * load(rates, n * LANES))
                        state = decay * load(h, row) + drive * spread(B, at + n)
                        store(a, row, decay)
                        store(h, row + d_state * LANES, state)
                        out = out + state * spread(C, at + n)
                    store(slopes, i * LANES, out)
                # Through the gate: from here on a slope is the gradient with respect to C h + D u.
                for i in range(count):
                    at = (b * length + start + i) * dim + c
                    slope = load(dy, at)
                    if gated:
                        gate = load(z, at)
                        opened = sigmoid(gate)
                        store(dz, at, slope * load(slopes, i * LANES) * opened * (one + gate * (one - opened)))
                        slope = slope * gate * opened
                    store(slopes, i * LANES, slope)
                # Through the states, backwards.
                for i in range(count - 1, -1, -1):
                    step, drive, slope = load(steps, i * LANES), load(drives, i * LANES), load(slopes, i * LANES)
                    dexponent, ddrive = zero, zero
                    at = ((b * length + start + i) * groups + group) * d_state
                    for n in range(d_state):
                        row = (i * d_state + n) * LANES
                        grad = load(dh, n * LANES) + slope * spread(C, at + n)
                        store(sums_C, row, load(sums_C, row) + slope * load(h, row + d_state * LANES))
                        store(sums_B, row, load(sums_B, row) + grad * drive)
                        ddrive = ddrive + grad * spread(B, at + n)
                        grad = grad * load(a, row)
                        store(dh, n * LANES, grad)
                        grad = grad * load(h, row)
                        dexponent = dexponent + grad * load(rates, n * LANES)
                        store(sums_A, n * LANES, load(sums_A, n * LANES) + grad * step)
                    store(dexponents, i * LANES, dexponent)
                    store(ddrives, i * LANES, ddrive)
                # To the inputs.
                sum_D, sum_bias = load(dD, b * dim + c), load(dbias, b * dim + c)
                for i in range(count):
                    at = (b * length + start + i) * dim + c
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
                    row = (b * d_state + n) * dim + c
                    store(dA, row, load(sums_A, n * LANES))
                    store(dinitial, row, load(dh, n * LANES))
            for row in range(0, count * d_state, LANES):
                store(row_B, 0, totals(sums_B, row * LANES))
                store(row_C, 0, totals(sums_C, row * LANES))
                for i in range(row, min(row + LANES, count * d_state)):
                    dB[strip, b, start + i // d_state, group, i % d_state] = row_B[i - row]
                    dC[strip, b, start + i // d_state, group, i % d_state] = row_C[i - row]


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
        self.by_channels = varies and channels <= few_channels.COST * states
        self.padding = -(self.width if self.by_channels else self.d_state) % LANES
        blocks = -(-self.length // BLOCK)
        if self.by_channels:
            self.copies = (self.batch, blocks, self.d_state, self.dim + self.groups * self.padding)
        else:
            self.copies = (self.batch, blocks, self.dim, self.d_state + self.padding)

    def channels(self, x):
        """``(..., dim)``, every group filled up to whole vectors."""
        if self.by_channels and self.padding:
            x = F.pad(x.unflatten(-1, (self.groups, self.width)), (0, self.padding)).flatten(-2)
        return x.contiguous().numpy()

    def states(self, x):
        """``(..., d_state)``, filled up to whole vectors where the states are the lanes."""
        if not self.by_channels and self.padding:
            x = F.pad(x, (0, self.padding))
        return x.contiguous().numpy()

    def per_channel(self, x):
        """``(..., dim, d_state)``, in the order of the kernel."""
        return self.channels(x.mT) if self.by_channels else self.states(x)

    def without_padding(self, x):
        """The inverse of :meth:`channels`."""
        x = torch.from_numpy(x)
        if self.by_channels and self.padding:
            x = x.unflatten(-1, (self.groups, -1))[..., : self.width].flatten(-2).contiguous()
        return x

    def per_channel_back(self, x):
        if self.by_channels:
            return self.without_padding(x).mT.contiguous()
        return torch.from_numpy(x)[..., : self.d_state].contiguous()

    def inputs(self, u, delta, A, B, C, D, z, delta_bias):
        zeros = u.new_zeros(self.dim)
        u = self.channels(u.mT)
        return (
            u,
            self.channels(delta.mT),
            self.per_channel(A * LOG2E),
            self.states(B.permute(0, 3, 1, 2)),
            self.states(C.permute(0, 3, 1, 2)),
            self.channels(zeros if D is None else D),
            u if z is None else self.channels(z.mT),
            self.channels(zeros if delta_bias is None else delta_bias),
        )


_OPTIONAL = torch.Tensor | None


@torch.library.custom_op("one_pixel::fused_cpu", mutates_args=(), device_types="cpu")
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
        initial_state = u.new_zeros(layout.batch, layout.dim, layout.d_state)
    initial = layout.per_channel(initial_state)
    batch, blocks, *state = layout.copies
    copies = np.empty((batch, blocks if keep else 0, *state), initial.dtype)
    y, final = np.empty_like(inputs[0]), np.empty_like(initial)
    kernel = _forward if layout.by_channels else few_channels.forward
    tasks = batch * (y.shape[2] // LANES if layout.by_channels else layout.dim)
    run(kernel, tasks, *inputs, initial, delta_softplus, z is not None, y, copies, final)
    return layout.without_padding(y).mT, layout.per_channel_back(final), torch.from_numpy(copies)


@_scan.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep):
    layout = _Layout(u, A, B, C)
    batch, blocks, *state = layout.copies
    return (
        u.new_empty(batch, layout.length, layout.dim).mT,
        u.new_empty(batch, layout.dim, layout.d_state),
        u.new_empty(batch, blocks if keep else 0, *state),
    )


@torch.library.custom_op("one_pixel::fused_cpu_backward", mutates_args=(), device_types="cpu")
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
    delta_softplus: bool,
    copies: torch.Tensor,
) -> list[torch.Tensor]:
    """The gradients of u, delta, A, B, C, D, z, delta_bias and initial_state, whether they were given or not."""
    layout = _Layout(u, A, B, C)
    inputs = layout.inputs(u, delta, A, B, C, D, z, delta_bias)
    dy, dfinal = layout.channels(dy.mT), layout.per_channel(dlast)
    real, (batch, dim) = dy.dtype, dy.shape[::2]
    du, ddelta = np.empty_like(dy), np.empty_like(dy)
    dz = du if z is None else np.empty_like(dy)  # not written to
    dA, dinitial = np.empty_like(dfinal), np.empty_like(dfinal)
    dD, dbias = np.empty((batch, dim), real), np.empty((batch, dim), real)
    # A strip adds up dB and dC over its channels. More strips are work for more threads where there are few sequences,
    # and more to add up for all. How many there are depends on the shape alone: it decides the order of additions.
    strips = 1
    if layout.by_channels:
        strips = min(dim // layout.groups // LANES, -(-2 // max(1, batch * layout.groups)))
    dB, dC = (np.empty((strips, *x.shape), real) for x in inputs[3:5])
    kernel = _backward if layout.by_channels else few_channels.backward
    gradients = (du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial)
    tasks = strips * batch * layout.groups
    run(kernel, tasks, strips, *inputs, delta_softplus, z is not None, copies.numpy(), dy, dfinal, *gradients)
    du, ddelta, dD, dz, dbias = (
        layout.without_padding(x) for x in (du, ddelta, dD.sum(0), dz[:0] if z is None else dz, dbias.sum(0))
    )
    dB, dC = (
        torch.from_numpy(x.sum(0) if strips > 1 else x[0])[..., : layout.d_state].permute(0, 2, 3, 1) for x in (dB, dC)
    )
    dA = layout.per_channel_back(dA.sum(0))
    return [du.mT, ddelta.mT, dA, dB, dC, dD, dz.mT, dbias, layout.per_channel_back(dinitial)]


@_scan_backward.register_fake
def _(dy, dlast, u, delta, A, B, C, D, z, delta_bias, delta_softplus, copies):
    def sequence(batch):
        return u.new_empty(batch, u.shape[2], u.shape[1]).mT

    def varying(form):
        batch, groups, d_state, length = form.shape
        return form.new_empty(batch, length, groups, d_state).permute(0, 2, 3, 1)

    batch, dim, _ = u.shape
    vectors = u.new_empty(dim), u.new_empty(dim)
    dz = sequence(0 if z is None else batch)
    state = u.new_empty(batch, dim, A.shape[1])
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
    *tensors, initial_state, delta_softplus, _ = inputs
    ctx.delta_softplus, ctx.given = delta_softplus, [x is not None for x in (*tensors, initial_state)]
    ctx.save_for_backward(*tensors, output[2])


def _differentiate(ctx, dy, dlast, _):
    *tensors, copies = ctx.saved_tensors
    gradients = _scan_backward(dy, dlast, *tensors, ctx.delta_softplus, copies)
    return *(g if given else None for g, given in zip(gradients, ctx.given, strict=True)), None, None


_scan.register_autograd(_differentiate, setup_context=_keep_for_backward)


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The whole selective scan, fused: the arguments of :func:`helpers.scan.selective_scan`, all of one real dtype.

    Args:
        u, delta, z: ``(batch, dim, length)``, float32 or float64, on the CPU; z or None. In memory the kernels want
            ``(batch, length, dim)``: a transposed view of such a tensor is taken as it is, anything else is copied.
        A: ``(dim, d_state)``.
        B, C: ``(batch, groups, d_state, length)``, or ``(batch, groups, d_state, 1)`` for what does not vary.
        D, delta_bias: ``(dim,)``, or None.
        initial_state: ``(batch, dim, d_state)``, or None for zeros.

    Returns:
        ``y``, a transposed view of ``(batch, length, dim)``, and the last state, ``(batch, dim, d_state)``.
    """
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last_state, _ = _scan(*tensors, delta_softplus, keep)
    return y, last_state
