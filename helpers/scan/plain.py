"""The selective scan in plain PyTorch, around either recurrence: what the fused kernels do on the way."""

import torch
import torch.nn.functional as F

from helpers.scan import associative


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, recurrence=associative.scan):
    """Bias, softplus, the recurrence, skip connection and gate.

    Args:
        u, delta, z: ``(batch, dim, length)``; z or None.
        A: ``(dim, d_state)``, real or complex.
        B, C: ``(batch, groups, d_state, length)``, or ``(batch, groups, d_state, 1)`` for what does not vary.
        D, delta_bias: ``(dim,)``, or None.
        initial_state: ``(batch, dim, d_state)``, or None for zeros.
        delta_softplus: apply softplus to ``delta``, after the bias.
        recurrence: ``scan`` of :mod:`helpers.scan.associative` or of :mod:`helpers.scan.reference`.

    Returns:
        ``y``, ``(batch, dim, length)``, and the last state, in float32 at least.
    """
    dtype = torch.promote_types(u.dtype, torch.float32)
    state_dtype = torch.promote_types(dtype, A.dtype if A.is_complex() else dtype)
    x, delta = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        delta = delta + delta_bias.to(dtype).unsqueeze(-1)
    if delta_softplus:
        delta = F.softplus(delta)
    if initial_state is None:
        initial_state = x.new_zeros(*x.shape[:2], A.shape[1])

    def broadcasts(form):  # to (batch, dim, d_state, length)
        form = form.to(state_dtype if form.is_complex() else dtype).expand(-1, -1, -1, x.shape[2])
        return form.repeat_interleave(x.shape[1] // form.shape[1], dim=1) if form.shape[1] > 1 else form

    B, C = broadcasts(B), broadcasts(C)
    y, last_state = recurrence(x, delta, A.to(state_dtype), B, C, initial_state.to(state_dtype))
    if y.is_complex():
        y = 2 * y.real
    if D is not None:
        y = y + D.to(dtype).unsqueeze(-1) * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    return y, last_state
