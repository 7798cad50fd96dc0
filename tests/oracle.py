"""The selective scan in NumPy, float64, one number of the state at a time: written to be obviously right, not fast.

Nothing is shared with ``helpers``; the recurrence is equation 2a of arXiv 2312.00752 with upstream's discretisation.
"""

import numpy as np


def softplus(x):
    return np.logaddexp(0, x)


def silu(x):
    return x / (1 + np.exp(-x))


def selective_scan(u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, initial_state=None):
    """Return ``y`` (batch, dim, length) and the last state (batch, dim, d_state), in float64 or complex128."""
    batch, dim, length = u.shape
    d_state = A.shape[1]
    y = np.zeros((batch, dim, length))
    last = np.zeros((batch, dim, d_state), dtype=A.dtype)

    def entry(form, b, d, n, t):
        if form.ndim == 2:
            return form[d, n]
        row = form[b, n] if form.ndim == 3 else form[b, d * form.shape[1] // dim, n]
        return row[2 * t] + 1j * row[2 * t + 1] if np.iscomplexobj(A) else row[t]

    for b in range(batch):
        for d in range(dim):
            for t in range(length):
                step = delta[b, d, t] + (0 if delta_bias is None else delta_bias[d])
                if delta_softplus:
                    step = softplus(step)
                total = 0
                for n in range(d_state):
                    before = last[b, d, n]
                    if t == 0:
                        before = 0 if initial_state is None else initial_state[b, d, n]
                    last[b, d, n] = np.exp(step * A[d, n]) * before + step * entry(B, b, d, n, t) * u[b, d, t]
                    total += entry(C, b, d, n, t) * last[b, d, n]
                y[b, d, t] = 2 * total.real if np.iscomplexobj(A) else total
                if D is not None:
                    y[b, d, t] += D[d] * u[b, d, t]
                if z is not None:
                    y[b, d, t] *= silu(z[b, d, t])
    return y, last
