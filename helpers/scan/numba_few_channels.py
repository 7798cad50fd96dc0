"""The selective scan fused on the CPU, for fewer channels than a vector has lanes.

The same computation as in :mod:`helpers.scan.numba_passes`, turned around: there sixteen channels are computed at once
and one state after another, here sixteen states and one channel after another. So what was a sum over states, one
addition each, is now a sum over lanes, and the other way round: the gradients of B and C become plain additions.

Sequences are ``(batch, length, dim)``; A is ``(dim, d_state)``; B and C are ``(batch, length, groups, d_state)``, or
``(batch, 1, groups, d_state)`` where they do not vary; d_state is a multiple of ``LANES``.
"""

import math

import numpy as np
from numba import njit

from helpers.jit import cached_kernel
from helpers.simd import CONTRACT, LANES, exp2, load, load_broadcast, sigmoid, softplus, splat, store, sum_lanes

BLOCK = LANES  # positions between two copies of the states: what is done once a position is done for a block at once
COST = 1.5  # of one vector here, in vectors of the other kernels
LOG2 = math.log(2)


@njit(fastmath=CONTRACT)
def _column(array, b, start, count, c, column):
    """Copy ``array[b, start : start + count, c]``, a channel of a block, into ``column``; fill it up with zeros."""
    column[:] = 0
    for i in range(count):
        column[i] = array[b, start + i, c]
    return load(column, 0)


@njit
def _rows(form, b, group):
    """Where B or C of the first position begins, and how much further on that of the next."""
    _, positions, groups, d_state = form.shape
    return (b * positions * groups + group) * d_state, groups * d_state if positions > 1 else 0


@cached_kernel
def forward(first, last, strips, u, delta, A, B, C, D, z, bias, initial, squash, gated, y, copies, final):
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    h, column = np.empty(d_state, u.dtype), np.empty(BLOCK, u.dtype)
    steps, drives = np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype)
    outs = np.zeros(BLOCK * LANES, u.dtype)  # of every position of a block, before the sum over states
    for task in range(first, last):  # a channel of one sequence
        b, c = task // dim, task % dim
        group = c * groups // dim
        (first_B, row_B), (first_C, row_C) = _rows(B, b, group), _rows(C, b, group)
        for n in range(0, d_state, LANES):
            store(h, n, load(initial, task * d_state + n))
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            if blocks:
                for n in range(0, d_state, LANES):
                    store(copies, ((b * blocks + start // BLOCK) * dim + c) * d_state + n, load(h, n))
            step = _column(delta, b, start, count, c, column) + bias[c]
            if squash:
                step = softplus(step)
            x = _column(u, b, start, count, c, column)
            store(steps, 0, step)
            store(drives, 0, step * x)
            outs[:] = 0
            for n in range(0, d_state, LANES):
                rate, state = load(A, c * d_state + n), load(h, n)
                for i in range(count):
                    at_B, at_C = first_B + (start + i) * row_B + n, first_C + (start + i) * row_C + n
                    state = exp2(load_broadcast(steps, i) * rate) * state + load_broadcast(drives, i) * load(B, at_B)
                    store(outs, i * LANES, load(outs, i * LANES) + state * load(C, at_C))
                store(h, n, state)
            out = sum_lanes(outs, 0) + x * D[c]
            if gated:
                gate = _column(z, b, start, count, c, column)
                out = out * (gate * sigmoid(gate))
            store(column, 0, out)
            for i in range(count):
                y[b, start + i, c] = column[i]
        for n in range(0, d_state, LANES):
            store(final, task * d_state + n, load(h, n))


@cached_kernel
def backward(
    first, last, strips, u, delta, A, B, C, D, z, bias, squash, gated, copies, dy, dfinal,
    du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial,
):  # fmt: skip
    _, length, dim = u.shape
    groups, d_state = B.shape[2:]
    blocks = copies.shape[1]
    width = dim // groups
    real = u.dtype.type
    zero, one, log_two = splat(real(0)), real(1), real(LOG2)
    # a[i] takes the state before position i of the block, h[i], to the state after it, h[i + 1].
    h, a = np.empty((BLOCK + 1) * d_state, u.dtype), np.empty(BLOCK * d_state, u.dtype)
    steps, drives, slopes = np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype), np.empty(BLOCK, u.dtype)
    column = np.empty(BLOCK, u.dtype)
    # Of every position of a block, before the sum over states. Of what lies past the end nothing is used.
    outs, dexponents, ddrives = (
        np.zeros(BLOCK * LANES, u.dtype), np.zeros(BLOCK * LANES, u.dtype), np.zeros(BLOCK * LANES, u.dtype)
    )  # fmt: skip
    for task in range(first, last):  # a group of channels of one sequence
        b, group = task // groups, task % groups
        (first_B, row_B), (first_C, row_C) = _rows(B, b, group), _rows(C, b, group)
        dB[0, b, :, group] = 0
        dC[0, b, :, group] = 0
        for c in range(group * width, (group + 1) * width):
            channel = (b * dim + c) * d_state
            sum_D, sum_bias = zero, zero
            for n in range(0, d_state, LANES):
                store(dA, channel + n, zero)
                store(dinitial, channel + n, load(dfinal, channel + n))
            for block in range(blocks - 1, -1, -1):
                start = block * BLOCK
                count = min(BLOCK, length - start)
                raw = _column(delta, b, start, count, c, column) + bias[c]
                step = softplus(raw) if squash else raw
                x = _column(u, b, start, count, c, column)
                store(steps, 0, step)
                store(drives, 0, step * x)
                # Forward once more, and this time every state of the block is kept.
                outs[:] = 0
                for n in range(0, d_state, LANES):
                    rate, state = load(A, c * d_state + n), load(copies, ((b * blocks + block) * dim + c) * d_state + n)
                    store(h, n, state)
                    for i in range(count):
                        at_B, at_C = first_B + (start + i) * row_B + n, first_C + (start + i) * row_C + n
                        decay = exp2(load_broadcast(steps, i) * rate)
                        state = decay * state + load_broadcast(drives, i) * load(B, at_B)
                        store(a, i * d_state + n, decay)
                        store(h, (i + 1) * d_state + n, state)
                        store(outs, i * LANES, load(outs, i * LANES) + state * load(C, at_C))
                # Through the gate: from here on a slope is the gradient with respect to C h + D u.
                slope = _column(dy, b, start, count, c, column)
                if gated:
                    gate = _column(z, b, start, count, c, column)
                    opened = sigmoid(gate)
                    out = sum_lanes(outs, 0) + x * D[c]
                    store(column, 0, slope * out * opened * (one + gate * (one - opened)))
                    for i in range(count):
                        dz[b, start + i, c] = column[i]
                    slope = slope * gate * opened
                store(slopes, 0, slope)
                # Through the states, backwards.
                dexponents[:], ddrives[:] = 0, 0
                for n in range(0, d_state, LANES):
                    rate, grad, sum_A = load(A, c * d_state + n), load(dinitial, channel + n), load(dA, channel + n)
                    for i in range(count - 1, -1, -1):
                        at_B, at_C = first_B + (start + i) * row_B + n, first_C + (start + i) * row_C + n
                        row = i * d_state + n
                        grad = grad + load_broadcast(slopes, i) * load(C, at_C)
                        store(dC, at_C, load(dC, at_C) + load_broadcast(slopes, i) * load(h, row + d_state))
                        store(dB, at_B, load(dB, at_B) + grad * load_broadcast(drives, i))
                        store(ddrives, i * LANES, load(ddrives, i * LANES) + grad * load(B, at_B))
                        grad = grad * load(a, row)
                        through = grad * load(h, row)
                        store(dexponents, i * LANES, load(dexponents, i * LANES) + through * rate)
                        sum_A = sum_A + through * load_broadcast(steps, i)
                    store(dinitial, channel + n, grad)
                    store(dA, channel + n, sum_A)
                # To the inputs. Past the end of the sequence slope and x are also zero.
                ddrive = sum_lanes(ddrives, 0)
                dstep = sum_lanes(dexponents, 0) * log_two + ddrive * x
                if squash:
                    dstep = dstep * sigmoid(raw)
                sum_D = sum_D + slope * x
                sum_bias = sum_bias + dstep
                store(column, 0, dstep)
                for i in range(count):
                    ddelta[b, start + i, c] = column[i]
                store(column, 0, ddrive * load(steps, 0) + slope * D[c])
                for i in range(count):
                    du[b, start + i, c] = column[i]
            store(column, 0, sum_D)
            dD[b, c] = column.sum()
            store(column, 0, sum_bias)
            dbias[b, c] = column.sum()
