"""State space duality in chunks: as attention inside of a chunk, as a recurrence from chunk to chunk.

Section 6 of Dao and Gu, "Transformers are SSMs", arXiv 2405.21060: the four steps of its listing 1.
"""

import torch
import torch.nn.functional as F

from helpers.ssd.quadratic import attend, mask


def scan(x, log_decay, B, C, state, strict=False, chunk_size=64):
    """The same as :func:`helpers.ssd.recurrent.scan`, in matrix products; work and memory grow with the length.

    Args:
        x, log_decay, B, C, state, strict: as there.
        chunk_size: positions in a chunk. The length need not be a multiple of it.

    Returns:
        ``y``, of the shape of x, and the state after the last position.
    """
    batch, rows, heads, headdim = x.shape
    groups, d_state = B.shape[2:]
    each, length = heads // groups, log_decay.shape[1]  # each: heads of a group
    rank, missing = rows // length, -length % chunk_size  # positions that are missing write and forget nothing
    x, B, C = (F.pad(form, (0, 0, 0, 0, 0, rank * missing)) for form in (x, B, C))
    log_decay = F.pad(log_decay, (0, 0, 0, missing))
    x = x.view(batch, -1, rank * chunk_size, groups, each, headdim)  # (batch, chunks, rows of a chunk, ...)
    B, C = (form.view(batch, -1, rank * chunk_size, groups, d_state).transpose(2, 3) for form in (B, C))
    log_decay = log_decay.view(batch, -1, chunk_size, groups, each).permute(0, 1, 3, 4, 2)

    # 1. Inside of each chunk, as if there were no others: the blocks on the diagonal.
    L = mask(log_decay)  # (batch, chunks, groups, each, chunk_size, chunk_size)
    y = attend(L, x.permute(0, 1, 3, 4, 2, 5), B.unsqueeze(3), C.unsqueeze(3), strict).permute(0, 1, 4, 2, 3, 5)

    # 2. The state that each chunk leaves behind, again as if there were no others. The heads of a group lie side by
    #    side: one large product is faster than some small ones.
    left = x * _beside_rows(L[..., -1, :], rank)
    written = left.flatten(-2).transpose(2, 3).mT @ B  # (batch, chunks, groups, each * headdim, d_state)

    # 3. From chunk to chunk, one after another: the state before each of them.
    state, before = state.view(batch, groups, each, headdim, d_state), []
    kept = log_decay.sum(-1).exp()[..., None, None]
    for kept_by_chunk, new in zip(kept.unbind(1), written.view(batch, -1, *state.shape[1:]).unbind(1), strict=True):
        before.append(state)
        state = kept_by_chunk * state + new

    # 4. What each row reads of the state before its chunk, shrunk by what came since: the blocks off the diagonal.
    read = C @ torch.stack(before, 1).flatten(3, 4).mT  # (batch, chunks, groups, rows, each * headdim)
    read = read.transpose(2, 3).unflatten(-1, (each, headdim))
    y = y + read * _beside_rows(log_decay.cumsum(-1).exp(), rank)
    return y.reshape(batch, -1, heads, headdim)[:, :rows], state.view(batch, heads, headdim, d_state)


def _beside_rows(factors, rank):
    """A factor for each position, ``(batch, chunks, groups, each, chunk_size)``, in the shape of x's rows."""
    return factors.permute(0, 1, 4, 2, 3).repeat_interleave(rank, 2).unsqueeze(-1)
