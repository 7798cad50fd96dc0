"""State space duality as attention: every position against every earlier one, under a mask of decays.

Equation 16 of Dao and Gu, "Transformers are SSMs", arXiv 2405.21060: ``Y = (L o C B^T) X``.
"""

import torch


def segment_sums(x):
    """How much lies between: ``s[..., i, j]`` is ``x[..., j + 1] + ... + x[..., i]``; 0 where j does not come before i.

    Each sum is added up separately. Differences of two running sums would be cheaper, but wrong in all their digits
    after a large number.
    """
    return x.unsqueeze(-1).expand(*x.shape, x.shape[-1]).tril(-1).cumsum(-2)


def mask(log_decay):
    """L: what is left at position i of what came in at j, ``(..., length, length)`` from ``(..., length)``."""
    return segment_sums(log_decay).exp().tril()


def attention(L, write, B, C, own=None, strict=False):
    """The matrix that a sequence is multiplied with: ``L o C B^T``, its columns times ``write``, plus ``own``.

    Args:
        L: ``(..., length, length)``, a mask; what is above its diagonal is ignored.
        write: ``(..., length)``.
        B, C: ``(..., rank * length, d_state)``.
        own, strict: as for :func:`helpers.ssd.recurrent.scan`; ``own`` is ``(..., length, rank, rank)``.

    Returns:
        ``(..., rank * length, rank * length)``.
    """
    length, rank = L.shape[-1], B.shape[-2] // L.shape[-1]
    seen = torch.ones(length, length, dtype=L.dtype, device=L.device).tril(-1 if strict else 0)
    L = L * write.unsqueeze(-2)
    if rank > 1:
        L, seen = (form.repeat_interleave(rank, -1).repeat_interleave(rank, -2) for form in (L, seen))
    M = L * (C @ B.mT * seen)
    if own is not None:
        blocks = M.unflatten(-1, (length, rank)).unflatten(-3, (length, rank))
        blocks.diagonal(dim1=-4, dim2=-2).add_(own.movedim(-3, -1))
    return M


def scan(x, write, log_decay, B, C, state, own=None, strict=False):
    """The same as :func:`helpers.ssd.recurrent.scan`, with the same arguments, as two matrix products a head."""
    heads, rank = x.shape[2], x.shape[1] // log_decay.shape[1]
    B, C = (form.repeat_interleave(heads // form.shape[2], dim=2).transpose(1, 2) for form in (B, C))
    x, write, log_decay = x.transpose(1, 2), write.mT, log_decay.mT  # heads before positions
    own = None if own is None else own.transpose(-4, -3) if own.dim() > 3 else own.unsqueeze(-3)
    L = mask(log_decay)
    y = attention(L, write, B, C, own, strict) @ x
    # The state from before has shrunk by everything since; so has, until the end, what each position wrote.
    since, until = log_decay.cumsum(-1).exp(), write * L[..., -1, :]
    y = y + (since.repeat_interleave(rank, -1).unsqueeze(-1) * C) @ state.mT
    state = since[..., -1, None, None] * state + x.mT @ (until.repeat_interleave(rank, -1).unsqueeze(-1) * B)
    return y.transpose(1, 2), state
