"""State space duality in chunks: as attention inside of a chunk, as a recurrence from chunk to chunk.

Section 6 of Dao and Gu, "Transformers are SSMs", arXiv 2405.21060: the four steps of its listing 1.
"""

from contextlib import nullcontext

import torch
import torch.nn.functional as F

from helpers.ssd import quadratic
from helpers.ssd.quadratic import attention


def scan(x, write, log_decay, B, C, state, own=None, strict=False, chunk_size=28):
    """The same as :func:`helpers.ssd.recurrent.scan`, in matrix products; work and memory grow with the length.

    Args:
        x, write, log_decay, B, C, state, own, strict: as there.
        chunk_size: positions in a chunk. The length need not be a multiple of it.

    Returns:
        ``y``, of the shape of x, and the state after the last position.
    """
    batch, rows, heads = x.shape[:3]
    groups, length, rank = B.shape[2], log_decay.shape[1], rows // log_decay.shape[1]

    def in_chunks(form, rows):  # (batch, chunks, groups, heads of a group, rows of a chunk, ...)
        missing = rows * -(-length // chunk_size) - form.shape[1]
        form = F.pad(form, [0, 0] * (form.dim() - 2) + [0, missing]) if missing else form
        return form.unflatten(1, (-1, rows)).unflatten(3, (groups, -1)).movedim(2, 4)

    # Positions that are missing in the last chunk write and forget nothing.
    x, B, C = (in_chunks(form, rank * chunk_size) for form in (x, B, C))
    write, log_decay = (in_chunks(form, chunk_size).contiguous() for form in (write, log_decay))
    own = None if own is None else in_chunks(own.expand(batch, length, heads, rank, rank), chunk_size)
    x = x.contiguous()  # it is multiplied twice

    # 1. Inside of each chunk, as if there were no others: the blocks on the diagonal.
    L = segment_sums(log_decay).exp()
    M = attention(L, write, B, C, own, strict)

    # 2. The state that each chunk leaves behind, again as if there were no others. (As it is multiplied: transposed.)
    until = (write * L[..., -1, :]).repeat_interleave(rank, -1)
    written = (until.unsqueeze(-1) * B).mT @ x  # (..., d_state, headdim)

    # 3. From chunk to chunk, one after another: the state before each of them.
    since = log_decay.cumsum(-1).exp()
    state, before = state.unflatten(1, (groups, -1)).mT, []
    for kept, new in zip(since[..., -1, None, None].unbind(1), written.unbind(1), strict=True):
        before.append(state)
        state = torch.addcmul(new, kept, state)

    # 4. What each row reads of the state before its chunk, shrunk by what came since: the blocks off the diagonal.
    read = (since.repeat_interleave(rank, -1).unsqueeze(-1) * C) @ torch.stack(before, 1)
    y = torch.baddbmm(read.flatten(0, 3), M.flatten(0, 3), x.flatten(0, 3)).view_as(read)
    return y.movedim(4, 2).flatten(3, 4).flatten(1, 2)[:, :rows], state.mT.flatten(1, 2)


def segment_sums(x):
    """:func:`helpers.ssd.quadratic.segment_sums` of short pieces, as one product with a matrix of ones and zeros.

    It has ``length ** 3`` entries, which for a short chunk are few; and a product is faster than a sum along a column.
    """
    length = x.shape[-1]
    if length > 64:
        return quadratic.segment_sums(x)
    place = torch.arange(length, device=x.device)
    between = (place[:, None] <= place[:, None, None]) & (place[:, None] > place)  # (i, k, j): j < k <= i
    between = between.transpose(0, 1).reshape(length, -1).to(x.dtype)  # (k, i * j)
    device = x.device.type
    with torch.autocast(device, enabled=False) if torch.amp.is_autocast_available(device) else nullcontext():
        return (x @ between).unflatten(-1, (length, length))
