"""The selective scan in parallel: 28 steps for every 196 positions.

One position maps a state h to ``a h + b``. Two such maps in a row are again such a map, and it does not matter which
neighbors are joined first: joining is associative. So the sequence can be cut into chunks that are scanned all at
once; then a scan over the chunks, which are few, finds the state that each of them starts from.

Source: Blelloch, "Prefix sums and their applications", 1990, sections 1.2 (chunks) and 1.4 (first-order recurrences).
Only products of decays are formed, never a quotient, so nothing overflows whatever the step sizes are.
"""

import math

import torch

BLOCK = 196  # positions scanned in parallel; the state is carried from block to block, so that memory stays bounded


def states(a, b, state):
    """All states of the recurrence ``h[t] = a[t] h[t-1] + b[t]``.

    Args:
        a, b: ``(length, ...)``.
        state: ``(...)``, the state before the first position.

    Returns:
        ``(length, ...)``.
    """
    length = len(a)
    width = math.isqrt(length - 1) + 1
    padding = -length % width
    if padding:  # with maps that leave the state as it is
        a = torch.cat([a, torch.ones_like(a[:padding])])
        b = torch.cat([b, torch.zeros_like(b[:padding])])
    a, b = (x.unflatten(0, (-1, width)).unbind(1) for x in (a, b))

    # Within the chunks, all at once: the map from a chunk's start to each of its positions.
    decays, inputs = [a[0]], [b[0]]
    for a_t, b_t in zip(a[1:], b[1:], strict=True):
        decays.append(a_t * decays[-1])
        inputs.append(a_t * inputs[-1] + b_t)

    # Over the chunks: the state that each starts from.
    starts = []
    for decay, entered in zip(decays[-1].unbind(0), inputs[-1].unbind(0), strict=True):
        starts.append(state)
        state = decay * state + entered

    h = torch.stack(decays, 1) * torch.stack(starts).unsqueeze(1) + torch.stack(inputs, 1)
    return h.flatten(0, 1)[:length]


def scan(u, delta, A, B, C, state):
    """The same arguments and results as :func:`helpers.scan.reference.scan`."""
    ys = []
    for start in range(0, u.shape[-1], BLOCK):
        u_, delta_, B_, C_ = (x[..., start : start + BLOCK].movedim(-1, 0) for x in (u, delta, B, C))
        A_bar = torch.exp(delta_.unsqueeze(-1) * A)  # (BLOCK, batch, dim, d_state)
        h = states(A_bar, (delta_ * u_).unsqueeze(-1) * B_, state)
        state = h[-1]
        ys.append((h * C_).sum(-1))
    return torch.cat(ys).movedim(0, -1), state
