"""State space duality as a recurrence: one position after another.

Equation 1 of Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, with a scalar times the identity as A (section 3).
"""

import torch


def scan(x, write, log_decay, B, C, state, own=None, strict=False):
    """Run ``h = exp(log_decay) h + write x B^T``, ``y = h C + own x``, over the positions, in order.

    Args:
        x: ``(batch, length, heads, headdim)``.
        write: ``(batch, length, heads)``, by how much each position is written.
        log_decay: ``(batch, length, heads)``, at most 0.
        B, C: ``(batch, length, groups, d_state)``; each group serves ``heads / groups`` heads in a row.
        state: ``(batch, heads, headdim, d_state)``, the state before the first position.
        own: ``(batch, length, heads, rank, rank)``, or what broadcasts to it: what a position also reads of its own x.
        strict: read at every position before it writes, after the decay.

    Returns:
        ``y``, of the shape of x, and the state after the last position.

    The rank is 1, or the number of rows that x, B and C have for a position, one after another: all of them are
    written, and then all are read.
    """
    heads, rank = x.shape[2], x.shape[1] // log_decay.shape[1]
    B, C = (form.repeat_interleave(heads // form.shape[2], dim=2) for form in (B, C))
    x, B, C = (form.unflatten(1, (-1, rank)).transpose(2, 3) for form in (x, B, C))  # (batch, length, heads, rank, ...)
    B = write[..., None, None] * B
    ys = []
    # unbind, not x[:, t]: the gradient of an index is a tensor of zeros as large as x, for every t.
    for x_t, a_t, B_t, C_t in zip(x.unbind(1), log_decay.exp().unbind(1), B.unbind(1), C.unbind(1), strict=True):
        kept = a_t[..., None, None] * state
        state = kept + x_t.mT @ B_t  # (batch, heads, headdim, d_state)
        ys.append(C_t @ (kept if strict else state).mT)
    y = torch.stack(ys, 1) if own is None else torch.stack(ys, 1) + own @ x
    return y.transpose(2, 3).flatten(1, 2), state
