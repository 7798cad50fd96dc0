"""The selective scan: one function, several ways to compute it.

``selective_scan`` takes the arguments of ``mamba_ssm.ops.selective_scan_interface.selective_scan_fn`` and returns what
it returns. This file checks and normalises the arguments; ``reference`` and ``associative`` do the work.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, algorithm 2.
"""

import torch
import torch.nn.functional as F

from helpers.scan import associative, reference

_SCANS = {"reference": reference.scan, "associative": associative.scan}


def backends(device: torch.device | str) -> list[str]:
    """Name the backends that can run on ``device``, the fastest first."""
    torch.device(device)  # raises if there is no such thing
    return ["associative", "reference"]


def selective_scan(
    u,
    delta,
    A,
    B,
    C,
    D=None,
    z=None,
    delta_bias=None,
    delta_softplus=False,
    return_last_state=False,
    *,
    initial_state=None,
    backend=None,
):
    """Read a sequence with a state space model whose step size, input and output maps depend on what is read.

    At every position, in every channel, with ``delta`` after its bias and softplus::

        h = exp(delta * A) * h + delta * B * u        (dim, d_state)
        y = sum(C * h) + D * u                        (dim,)
        y = y * silu(z)

    Args:
        u: ``(batch, dim, length)``, the input. The result has its dtype.
        delta: ``(batch, dim, length)``, the step size.
        A: ``(dim, d_state)``, real or complex, the decay rates; the real parts should be negative.
        B, C: ``(dim, d_state)``, ``(batch, d_state, length)`` or ``(batch, groups, d_state, length)``: fixed, the same
            for all channels, or one for each of ``groups`` runs of ``dim / groups`` channels. With a complex ``A`` a
            fixed form is complex, and a varying one is real with ``2 * length`` entries, real and imaginary parts by
            turns.
        D: ``(dim,)``, the skip connection.
        z: ``(batch, dim, length)``, the gate.
        delta_bias: ``(dim,)``, added to ``delta``.
        delta_softplus: apply softplus to ``delta``.
        return_last_state: return ``(y, last_state)``.
        initial_state: ``(batch, dim, d_state)``, the state before the first position. Default: zero.
        backend: ``"reference"``, ``"associative"``, or ``None`` for the fastest on the device of ``u``.

    Returns:
        ``y``, ``(batch, dim, length)``; with ``return_last_state`` also ``(batch, dim, d_state)``. With a complex ``A``
        the output is twice the real part, and the state is complex. Half-precision inputs are computed in float32.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """
    if u.dim() != 3:
        raise ValueError(f"u must be (batch, dim, length), got {tuple(u.shape)}")
    batch, dim, length = u.shape
    if length == 0:
        raise ValueError(f"u must have at least one position, got {tuple(u.shape)}")
    if A.dim() != 2 or A.shape[0] != dim:
        raise ValueError(f"A must be (dim, d_state) = ({dim}, d_state), got {tuple(A.shape)}")
    d_state = A.shape[1]
    _check("delta", delta, (batch, dim, length))
    _check("D", D, (dim,))
    _check("z", z, (batch, dim, length))
    _check("delta_bias", delta_bias, (dim,))
    _check("initial_state", initial_state, (batch, dim, d_state))
    available = backends(u.device)
    if backend is None:
        backend = available[0]
    elif backend not in available:
        raise ValueError(f"backend must be None or one of {', '.join(available)}, got {backend!r}")

    dtype = torch.promote_types(u.dtype, torch.float32)
    state_dtype = torch.promote_types(dtype, A.dtype)
    x, delta = u.to(dtype), delta.to(dtype)
    if delta_bias is not None:
        delta = delta + delta_bias.to(dtype).unsqueeze(-1)
    if delta_softplus:
        delta = F.softplus(delta)
    if initial_state is None:
        initial_state = u.new_zeros(batch, dim, d_state)

    B, C = (
        _per_channel(name, form.to(state_dtype if form.is_complex() else dtype), A, batch, length)
        for name, form in (("B", B), ("C", C))
    )
    y, last_state = _SCANS[backend](x, delta, A.to(state_dtype), B, C, initial_state.to(state_dtype))
    if y.is_complex():
        y = 2 * y.real
    if D is not None:
        y = y + D.to(dtype).unsqueeze(-1) * x
    if z is not None:
        y = y * F.silu(z.to(dtype))
    y = y.to(u.dtype)
    return (y, last_state) if return_last_state else y


def _check(name, tensor, shape):
    if tensor is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")


def _per_channel(name, form, A, batch, length):
    """Bring B or C to a shape that broadcasts to ``(batch, dim, d_state, length)``."""
    dim, d_state = A.shape
    if A.is_complex() and form.dim() > 2 and form.shape[-1] == 2 * length:
        form = torch.view_as_complex(form.unflatten(-1, (length, 2)).contiguous())
    shape = tuple(form.shape)
    if shape == (dim, d_state):
        return form.expand(length, dim, d_state).movedim(0, -1).unsqueeze(0)
    if shape == (batch, d_state, length):
        return form.unsqueeze(1)
    if len(shape) == 4 and shape[::2] == (batch, d_state) and shape[3] == length and shape[1] and dim % shape[1] == 0:
        return form.repeat_interleave(dim // shape[1], dim=1)
    raise ValueError(
        f"{name} must be (dim, d_state) = ({dim}, {d_state}), (batch, d_state, length) = ({batch}, {d_state}, {length})"
        f" or (batch, groups, d_state, length) with groups dividing {dim}"
        + (", length doubled where A is complex and it varies" if A.is_complex() else "")
        + f"; got {shape}"
    )
