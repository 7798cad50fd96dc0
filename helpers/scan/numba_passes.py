"""The kernels of :mod:`helpers.scan.numba_kernel` for many channels: one pass over memory forward, one back.

Sixteen channels are computed side by side (:mod:`helpers.simd`). Their states, ``d_state`` vectors of sixteen numbers,
stay in the nearest cache while the sequence is read. Only the inputs come from memory; only the outputs go there,
and every ``BLOCK`` positions a copy of the states. The backward pass goes through the blocks from the last to the
first, computes the states of a block once more from its copy, and then follows the gradient back through them: two
states at a time, so that what they have in common is loaded once, and their gradients stay in registers.

The backward pass by hand, with ``a = exp(step A)``, ``h = a h' + step u B``, ``y = C h + D u`` and a gradient ``g`` of
the loss with respect to h, which comes from y (``g += dy C``) and from the next position (``g += a g``)::

    dC = dy h                 dB = g step u             dA = g a h' step
    dstep = g (a h' A + u B)  du = g step B + dy D      dh' = g a

Sequences are (batch, length, dim), B and C (batch, length, groups, d_state). A task is a strip of channels of one group
of one sequence, and what it keeps of every channel and state lies together in the order (channels / LANES, d_state,
LANES). There d_state is even: states are computed two by two.
"""

import math

import numpy as np
from numba import njit

from helpers.jit import cached_kernel
from helpers.simd import (
    CONTRACT,
    LANES,
    exp2,
    load,
    load_broadcast,
    prefetch,
    sigmoid,
    softplus,
    splat,
    store,
    sum_lanes,
)

BLOCK = LANES  # positions between two copies of the states; as many as lanes, so that sums over lanes fill a vector
LOG2E = 1 / math.log(2)  # the kernels get A * LOG2E: the decay is then a power of two, which costs less


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
def forward(first, last, strips, u, delta, A, B, C, D, z, bias, initial, squash, gated, y, copies, final):
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
def backward(
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
