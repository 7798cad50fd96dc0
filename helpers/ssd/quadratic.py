"""State space duality as attention: every position against every earlier one, under a mask of decays.

Equation 16 of Dao and Gu, "Transformers are SSMs", arXiv 2405.21060: ``Y = (L o C B^T) X``.
"""

import torch


def segment_sums(x):
    """How much lies between: ``s[..., i, j]`` is ``x[..., j + 1] + ... + x[..., i]``, and -inf where j comes after i.

    Each sum is added up for itself. As differences of two sums from the beginning they would be cheaper, and, behind
    a large number, wrong in all their digits.
    """
    length = x.shape[-1]
    after = torch.ones(length, length, dtype=torch.bool, device=x.device).tril(-1)  # i comes after j
    sums = x.unsqueeze(-1).expand(*x.shape, length).masked_fill(~after, 0).cumsum(-2)
    return sums.masked_fill(after.T, -torch.inf)


def mask(log_decay):
    """L: what is left at position i of what came in at j, ``(..., length, length)`` from ``(..., length)``."""
    return segment_sums(log_decay).exp()


def attend(L, x, B, C, strict=False):
    """``(L o C B^T) X``, over the last two axes: ``(..., rows, headdim)``, B and C ``(..., rows, d_state)``.

    ``strict`` leaves out what a position wrote itself. There may be several rows a position.
    """
    rank = x.shape[-2] // L.shape[-1]
    L = L.tril(-1) if strict else L
    L = L.repeat_interleave(rank, -1).repeat_interleave(rank, -2) if rank > 1 else L
    return (L * (C @ B.mT)) @ x


def scan(x, log_decay, B, C, state, strict=False):
    """The same as :func:`helpers.ssd.recurrent.scan`, with the same arguments, as two matrix products a head."""
    heads, rank = x.shape[2], x.shape[1] // log_decay.shape[1]
    B, C = (form.repeat_interleave(heads // form.shape[2], dim=2).transpose(1, 2) for form in (B, C))
    x, log_decay = x.transpose(1, 2), log_decay.mT  # heads before positions
    L = mask(log_decay)
    # The state from before has shrunk by everything since; so has, until the end, what each position wrote.
    since, until = log_decay.cumsum(-1).exp(), L[..., -1, :]
    y = attend(L, x, B, C, strict) + since.repeat_interleave(rank, -1).unsqueeze(-1) * (C @ state.mT)
    written = (until.repeat_interleave(rank, -1).unsqueeze(-1) * x).mT @ B
    return y.transpose(1, 2), since[..., -1, None, None] * state + written
