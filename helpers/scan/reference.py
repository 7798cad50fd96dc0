"""The selective scan as a reader would write it: one step after another.

The recurrence is equation 2a of Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces",
arXiv 2312.00752, with the step size, B and C chosen anew for every position (section 3.2).
"""

import torch

BLOCK = 56  # positions discretized at once: enough to keep Python out of the way, few enough to stay in the cache


def scan(u, delta, A, B, C, state):
    """Run ``h = exp(delta A) h + delta u B``, ``y = C h`` over the positions, in order.

    Args:
        u, delta: ``(batch, dim, length)``.
        A: ``(dim, d_state)``.
        B, C: ``(batch, dim, d_state, length)``, or anything that broadcasts to it.
        state: ``(batch, dim, d_state)``, the state before the first position.

    Returns:
        ``y``, ``(batch, dim, length)``, and the state after the last position.
    """
    ys = []
    for start in range(0, u.shape[-1], BLOCK):
        u_, delta_, B_, C_ = (x[..., start : start + BLOCK].movedim(-1, 0) for x in (u, delta, B, C))
        A_bar = torch.exp(delta_.unsqueeze(-1) * A)  # (BLOCK, batch, dim, d_state): zero-order hold
        Bu = (delta_ * u_).unsqueeze(-1) * B_  # (BLOCK, batch, dim, d_state): Euler
        states = []
        # unbind, not A_bar[t]: the gradient of an index is a tensor of zeros as large as A_bar, for every t.
        for A_bar_t, Bu_t in zip(A_bar.unbind(0), Bu.unbind(0), strict=True):
            state = A_bar_t * state + Bu_t
            states.append(state)
        ys.append((torch.stack(states) * C_).sum(-1))
    return torch.cat(ys).movedim(0, -1), state
