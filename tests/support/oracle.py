"""The selective scan and its gradient in NumPy, float64, one position at a time: obviously right, not fast.

Nothing is shared with ``helpers``; the recurrence is equation 2a of arXiv 2312.00752 with upstream's discretization.
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


def selective_scan_backward(
    dy, dlast, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, initial_state=None
):
    """Return the gradient of ``sum(dy * y) + sum(dlast * last)``: a dict from argument names to arrays, real A only.

    Every line of the forward pass has its chain rule here, in reverse order: what is added to in the gradient of a
    variable is the derivative of the one line in which the variable was used.
    """
    batch, dim, length = u.shape
    given = dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias, initial_state=initial_state)
    grad = {name: np.zeros(x.shape) for name, x in given.items() if x is not None}

    def entry(form, b, d, t):  # the index of the d_state numbers that hold here
        if form.ndim == 2:
            return d
        return (b, slice(None), t) if form.ndim == 3 else (b, d * form.shape[1] // dim, slice(None), t)

    for b in range(batch):
        for d in range(dim):
            raw = delta[b, d] + (0 if delta_bias is None else delta_bias[d])
            step = softplus(raw) if delta_softplus else raw
            h = [np.zeros(A.shape[1]) if initial_state is None else initial_state[b, d]]  # h[t] is before position t
            for t in range(length):
                h.append(np.exp(step[t] * A[d]) * h[t] + step[t] * B[entry(B, b, d, t)] * u[b, d, t])

            dh = dlast[b, d]
            for t in reversed(range(length)):
                B_t, C_t = B[entry(B, b, d, t)], C[entry(C, b, d, t)]
                dout = dy[b, d, t]
                if z is not None:  # y = out * z * sigmoid(z)
                    out = C_t @ h[t + 1] + (0 if D is None else D[d] * u[b, d, t])
                    sigmoid = 1 / (1 + np.exp(-z[b, d, t]))
                    grad["z"][b, d, t] = dout * out * (sigmoid + z[b, d, t] * sigmoid * (1 - sigmoid))
                    dout = dout * z[b, d, t] * sigmoid
                if D is not None:  # out = sum(C * h) + D * u
                    grad["D"][d] += dout * u[b, d, t]
                    grad["u"][b, d, t] += dout * D[d]
                grad["C"][entry(C, b, d, t)] += dout * h[t + 1]
                dh = dh + dout * C_t

                decay = np.exp(step[t] * A[d])  # h[t + 1] = decay * h[t] + step * B * u
                grad["A"][d] += dh * h[t] * decay * step[t]
                grad["B"][entry(B, b, d, t)] += dh * step[t] * u[b, d, t]
                grad["u"][b, d, t] += dh @ B_t * step[t]
                dstep = dh @ (h[t] * decay * A[d] + B_t * u[b, d, t])
                dh = dh * decay

                draw = dstep / (1 + np.exp(-raw[t])) if delta_softplus else dstep
                grad["delta"][b, d, t] = draw
                if delta_bias is not None:
                    grad["delta_bias"][d] += draw
            if initial_state is not None:
                grad["initial_state"][b, d] = dh
    return grad
