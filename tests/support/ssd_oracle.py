"""Mamba-2's scan and Mamba-3's in NumPy, float64, one position and one head at a time: obviously right, not fast.

Nothing is shared with ``helpers``. Mamba-2: equation 1 and section 3 of arXiv 2405.21060, with upstream's arguments.
Mamba-3: the recurrence of arXiv 2603.15569, section 3, twice: with rotated B and C, and with complex numbers.
"""

import numpy as np
from oracle import silu, softplus


def ssd(x, dt, A, B, C, D=None, z=None, dt_bias=None, dt_softplus=False, dt_limit=(0.0, np.inf), initial_state=None):
    """Return ``y`` (batch, length, heads, headdim) and the last state (batch, heads, headdim, d_state)."""
    batch, length, heads, headdim = x.shape
    groups, d_state = B.shape[2:]
    y = np.zeros(x.shape)
    last = np.zeros((batch, heads, headdim, d_state)) if initial_state is None else initial_state.copy()
    for b in range(batch):
        for h in range(heads):
            g = h * groups // heads
            for t in range(length):
                step = dt[b, t, h] + (0 if dt_bias is None else dt_bias[h])
                step = np.clip(softplus(step) if dt_softplus else step, *dt_limit)
                for p in range(headdim):
                    last[b, h, p] = np.exp(step * A[h]) * last[b, h, p] + step * B[b, t, g] * x[b, t, h, p]
                    y[b, t, h, p] = C[b, t, g] @ last[b, h, p]
                    if D is not None:
                        y[b, t, h, p] += (D[h, p] if D.ndim == 2 else D[h]) * x[b, t, h, p]
                    if z is not None:
                        y[b, t, h, p] *= silu(z[b, t, h, p])
    return y, last


def mamba3(x, dt, A, weight, angles, B, C, state=None):
    """Mamba-3's recurrence: what is written and read is rotated by the angles added up so far.

    Args:
        x: (batch, length, rank, heads, headdim), what is written. B, C: (batch, length, rank, heads, d_state).
        dt, A, weight: (batch, length, heads), the step, the decay rate (negative) and lambda.
        angles: (batch, length, heads, pairs), by how much each pair of B and C, numbers 2i and 2i + 1, turns at a step.
        state: of an earlier call.

    Returns:
        ``y``, of the shape of x, and the state: angles, h, the last B (turned) and the last x.
    """
    batch, length, rank, heads, headdim = x.shape
    d_state, pairs = B.shape[-1], angles.shape[-1]
    if state is None:
        state = (
            np.zeros((batch, heads, pairs)),
            np.zeros((batch, heads, headdim, d_state)),
            np.zeros((batch, rank, heads, d_state)),
            np.zeros((batch, rank, heads, headdim)),
        )
    turned, h, B_last, x_last = (part.copy() for part in state)
    y = np.zeros(x.shape)
    for b in range(batch):
        for k in range(heads):
            for t in range(length):
                turned[b, k] += angles[b, t, k]
                rotation = np.eye(d_state)
                for i, angle in enumerate(turned[b, k]):
                    c, s = np.cos(angle), np.sin(angle)
                    rotation[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = [[c, -s], [s, c]]
                a = np.exp(A[b, t, k] * dt[b, t, k])
                early, now = (1 - weight[b, t, k]) * dt[b, t, k] * a, weight[b, t, k] * dt[b, t, k]
                h[b, k] = a * h[b, k]
                for r in range(rank):
                    h[b, k] += early * np.outer(x_last[b, r, k], B_last[b, r, k])
                for r in range(rank):
                    B_last[b, r, k], x_last[b, r, k] = rotation @ B[b, t, r, k], x[b, t, r, k]
                    h[b, k] += now * np.outer(x_last[b, r, k], B_last[b, r, k])
                for r in range(rank):
                    y[b, t, r, k] = h[b, k] @ (rotation @ C[b, t, r, k])
    return y, (turned, h, B_last, x_last)


def complex_mamba3(x, dt, A, weight, angles, B, C):
    """The same with one input and output a head, all of B and C in pairs: a complex state that turns as it decays.

    Two real numbers are one complex number, nothing is rotated but the state itself, by ``exp(A dt + i angle)``, and
    what is read is the real part of its product with the conjugate of C.
    """
    batch, length, heads, headdim = x.shape
    B, C = (form[..., 0::2] + 1j * form[..., 1::2] for form in (B, C))
    y = np.zeros(x.shape)
    for b in range(batch):
        for k in range(heads):
            h, written = np.zeros((headdim, B.shape[-1]), complex), np.zeros((headdim, B.shape[-1]), complex)
            for t in range(length):
                a = np.exp(A[b, t, k] * dt[b, t, k] - 1j * angles[b, t, k])
                h = a * h + (1 - weight[b, t, k]) * dt[b, t, k] * a * written
                written = np.outer(x[b, t, k], B[b, t, k])
                h += weight[b, t, k] * dt[b, t, k] * written
                y[b, t, k] = (h @ C[b, t, k].conj()).real
    return y
