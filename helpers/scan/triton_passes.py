"""The kernels of :mod:`helpers.scan.triton_kernel`: the scan of a segment, forward and backward, and its carry.

c counts channels and n the numbers of a channel's state; a tile is (n, c). Names with _t belong to one position. An
argument that is None is so at compile time, and all that is asked about it costs nothing.

A program has some channels of one sequence, and one segment of its length. Segments are counted in the order in which
they are scanned: from the start in the forward pass, from the end in the backward pass.
"""

import triton
import triton.language as tl

from helpers.triton_math import LN_2, LOG2_E, load, sigmoid, softplus


@triton.jit
def _step(raw, exists, SOFTPLUS: tl.constexpr):
    """The step size before and after softplus. It is zero past the end, where the state shall stay as it is."""
    raw = tl.where(exists, raw, -float("inf") if SOFTPLUS else 0.0)
    return raw, softplus(raw) if SOFTPLUS else raw


@triton.jit
def _place(dim, groups, length, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr):
    """Where this program works: batch, group, c, n; how many positions c and n have, none where they do not exist; and
    which numbers of a tile exist."""
    width = dim // groups
    blocks = tl.cdiv(width, CHANNELS)
    program = tl.program_id(0)
    batch, group, block = program // (groups * blocks), program // blocks % groups, program % blocks
    i, n = block * CHANNELS + tl.arange(0, CHANNELS), tl.arange(0, N)
    c = group * width + i
    c_end, n_end = tl.where(i < width, length, 0), tl.where(n < d_state, length, 0)
    mask = (n < d_state)[:, None] & (i < width)[None, :]
    return batch.to(tl.int64), group, c, n, c_end, n_end, mask


@triton.jit
def _rows(x, strides, batch, i, end, start, by, CHUNK: tl.constexpr):
    """Positions start, start + by, ... of ``x`` as a tuple of float32 vectors over ``i``, all loaded at once."""
    rows = ()
    for k in tl.static_range(CHUNK):
        if x is not None:
            rows = rows + (_row(x, strides, batch, i, end, start + by * k),)  # noqa: RUF005
    return rows


@triton.jit
def _row(x, strides, batch, i, end, t):
    return tl.load(x + batch * strides[0] + i * strides[1] + t * strides[2], t < end, 0.0).to(tl.float32)


@triton.jit
def _join(h, A, carries, batch, batches, dim, c, c_end, tile, mask, d_state: tl.constexpr, AT_ONCE: tl.constexpr = 4):
    """The state in which this program's segment begins: what those before it carry, joined one after another."""
    if carries is not None:
        before = tl.program_id(1)
        for first in range(0, before, AT_ONCE):
            loaded = ()
            for k in tl.static_range(AT_ONCE):
                carry = carries + ((first + k) * batches + batch) * dim * (d_state + 1)
                exists = tl.where(first + k < before, c_end, 0) > 0
                steps = tl.load(carry + dim * d_state + c, exists, 0.0)
                loaded = loaded + ((steps, tl.load(carry + tile, mask & exists[None, :], 0.0)),)  # noqa: RUF005
            for k in tl.static_range(AT_ONCE):
                steps, from_zero = loaded[k]
                h = tl.exp2(steps[None, :] * A) * h + from_zero
    return h


@triton.jit
def carry_kernel(
    x, delta, A, R, gate, delta_bias, carries,
    x_strides, delta_strides, R_strides, gate_strides, dim, groups, length, batches, chunks, per_segment,
    SOFTPLUS: tl.constexpr, BACKWARD: tl.constexpr,
    CHUNK: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """What a segment adds to the state after it, scanned from zero, and the sum of its steps, by which it decays what
    was there before. Forward x is u and R is B; backward the state is its gradient, x is dy and R is C."""
    batch, group, c, n, c_end, n_end, mask = _place(dim, groups, length, d_state, N, CHANNELS)
    tile = c[None, :] * d_state + n[:, None]
    A = tl.load(A + tile, mask, 0.0) * LOG2_E
    delta_bias = load(delta_bias, c, c_end > 0)
    h, steps = tl.zeros((N, CHANNELS), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    for done in range(tl.program_id(1) * per_segment, (tl.program_id(1) + 1) * per_segment):
        # Positions in the order of the scan, by = 1 or -1.
        start, by = ((chunks - done) * CHUNK - 1, -1) if BACKWARD else (done * CHUNK, 1)
        xs = _rows(x, x_strides, batch, c, c_end, start, by, CHUNK)
        deltas = _rows(delta, delta_strides, batch, c, c_end, start, by, CHUNK)
        Rs = _rows(R + group * R_strides[3], R_strides, batch, n, n_end, start, by, CHUNK)
        gates = _rows(gate, gate_strides, batch, c, c_end, start, by, CHUNK)
        for k in tl.static_range(CHUNK):
            t, x_t = start + by * k, xs[k]
            _, step = _step(deltas[k] + delta_bias, t < c_end, SOFTPLUS)
            steps += step
            decay = tl.exp2(step[None, :] * A)
            if BACKWARD:
                if gate is not None:
                    x_t *= gates[k] * sigmoid(gates[k])
                h = decay * (h + x_t[None, :] * Rs[k][:, None])
            else:
                h = decay * h + (step * x_t)[None, :] * Rs[k][:, None]
    carry = carries + (tl.program_id(1) * batches + batch) * dim * (d_state + 1)
    tl.store(carry + tile, h, mask)
    tl.store(carry + dim * d_state + c, steps, c_end > 0)


@triton.jit
def forward_kernel(
    u, delta, A, B, C, D, z, delta_bias, initial_state, carries, y, last_state, states,
    u_strides, delta_strides, B_strides, C_strides, z_strides, y_strides,
    dim, groups, length, batches, chunks, per_segment,
    SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch, group, c, n, c_end, n_end, mask = _place(dim, groups, length, d_state, N, CHANNELS)
    tile = c[None, :] * d_state + n[:, None]
    A = tl.load(A + tile, mask, 0.0) * LOG2_E
    D, delta_bias = load(D, c, c_end > 0), load(delta_bias, c, c_end > 0)
    h = load(initial_state, batch * dim * d_state + tile, mask)
    h = _join(h, A, carries, batch, batches, dim, c, c_end, tile, mask, d_state)
    first = tl.program_id(1) * per_segment
    for chunk in range(first, tl.minimum(first + per_segment, chunks)):
        if states is not None:
            tl.store(states + (batch * chunks + chunk) * dim * d_state + tile, h, mask)
        start = chunk * CHUNK
        us = _rows(u, u_strides, batch, c, c_end, start, 1, CHUNK)
        deltas = _rows(delta, delta_strides, batch, c, c_end, start, 1, CHUNK)
        Bs = _rows(B + group * B_strides[3], B_strides, batch, n, n_end, start, 1, CHUNK)
        Cs = _rows(C + group * C_strides[3], C_strides, batch, n, n_end, start, 1, CHUNK)
        zs = _rows(z, z_strides, batch, c, c_end, start, 1, CHUNK)
        for k in tl.static_range(CHUNK):
            t = start + k
            _, step = _step(deltas[k] + delta_bias, t < c_end, SOFTPLUS)
            h = tl.exp2(step[None, :] * A) * h + (step * us[k])[None, :] * Bs[k][:, None]
            y_t = tl.sum(Cs[k][:, None] * h, 0) + D * us[k]
            if z is not None:
                y_t *= zs[k] * sigmoid(zs[k])
            tl.store(y + batch * y_strides[0] + c * y_strides[1] + t * y_strides[2], y_t, t < c_end)
    if first + per_segment >= chunks:
        tl.store(last_state + batch * dim * d_state + tile, h, mask)


@triton.jit
def backward_kernel(
    u, delta, A, B, C, D, z, delta_bias, states, dy, dlast_state, carries,
    du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state,
    u_strides, delta_strides, B_strides, C_strides, z_strides, dy_strides, du_strides, ddelta_strides, dz_strides,
    dim, groups, length, batches, chunks, per_segment,
    SOFTPLUS: tl.constexpr, CHUNK: tl.constexpr, d_state: tl.constexpr, N: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    batch, group, c, n, c_end, n_end, mask = _place(dim, groups, length, d_state, N, CHANNELS)
    tile = c[None, :] * d_state + n[:, None]
    A = tl.load(A + tile, mask, 0.0) * LOG2_E
    D, delta_bias = load(D, c, c_end > 0), load(delta_bias, c, c_end > 0)
    part = tl.program_id(0).to(tl.int64) * length * d_state + n  # of dB and dC: the sum over this program's channels
    dA_sum = tl.zeros((N, CHANNELS), tl.float32)
    dD_sum, ddelta_bias_sum = tl.zeros((CHANNELS,), tl.float32), tl.zeros((CHANNELS,), tl.float32)
    dh = load(dlast_state, batch * dim * d_state + tile, mask)  # the gradient of h, from all that comes after
    dh = _join(dh, A, carries, batch, batches, dim, c, c_end, tile, mask, d_state)
    first = tl.program_id(1) * per_segment
    last = chunks - tl.minimum(first + per_segment, chunks)
    for chunk in range(chunks - 1 - first, last - 1, -1):
        start = chunk * CHUNK
        us = _rows(u, u_strides, batch, c, c_end, start, 1, CHUNK)
        deltas = _rows(delta, delta_strides, batch, c, c_end, start, 1, CHUNK)
        dys = _rows(dy, dy_strides, batch, c, c_end, start, 1, CHUNK)
        Bs = _rows(B + group * B_strides[3], B_strides, batch, n, n_end, start, 1, CHUNK)
        Cs = _rows(C + group * C_strides[3], C_strides, batch, n, n_end, start, 1, CHUNK)
        zs = _rows(z, z_strides, batch, c, c_end, start, 1, CHUNK)

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
                gate = sigmoid(zs[k])
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
                ddelta_t *= sigmoid(raw)  # zero past the end
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
    place = tl.program_id(1) * batches + batch  # of this segment's part of dA, dD and ddelta_bias
    tl.store(dA + place * dim * d_state + tile, dA_sum, mask)
    if dD is not None:
        tl.store(dD + place * dim + c, dD_sum, c_end > 0)
    if ddelta_bias is not None:
        tl.store(ddelta_bias + place * dim + c, ddelta_bias_sum, c_end > 0)
    if dinitial_state is not None:
        if first + per_segment >= chunks:
            tl.store(dinitial_state + batch * dim * d_state + tile, dh, mask)
