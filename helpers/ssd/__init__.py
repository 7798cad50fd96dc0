"""The scan of Mamba-2, in which all channels of a head decay alike: one function, three ways to compute it.

``ssd`` takes arguments of upstream's ``mamba_chunk_scan_combined``, as many as are needed here and in its order, and
returns what it returns. With one decay a head the scan is a matrix product under a mask, and so there is a choice:

=============  =============  ====================================================================
``recurrent``  ``recurrent``  one position after another: linear in the length, 784 small steps
``quadratic``  ``quadratic``  as masked attention: one large product, quadratic in the length
``chunked``    ``chunked``    attention inside of chunks, a recurrence between them: linear, and large products
=============  =============  ====================================================================

All are plain PyTorch, for any device and floating dtype. Source: Dao and Gu, "Transformers are SSMs: Generalized Models
and Efficient Algorithms Through Structured State Space Duality", arXiv 2405.21060.
"""

import math

import torch
import torch.nn.functional as F

from helpers.ssd import chunked, quadratic, recurrent

FORMS = ("recurrent", "quadratic", "chunked")


def ssd(
    x,
    dt,
    A,
    B,
    C,
    D=None,
    z=None,
    dt_bias=None,
    dt_softplus=False,
    dt_limit=(0.0, math.inf),
    *,
    chunk_size=28,
    initial_state=None,
    return_last_state=False,
    form=None,
):
    """Read a sequence with heads of channels, each with one decay rate and a step size chosen at every position.

    At every position, in every head, with ``dt`` after its bias, softplus and limits::

        h = exp(dt * A) * h + dt * x B^T        (headdim, d_state)
        y = h C + D * x                         (headdim,)
        y = y * silu(z)

    Args:
        x: ``(batch, length, heads, headdim)``, the input. The result has its dtype.
        dt: ``(batch, length, heads)``, the step size.
        A: ``(heads,)``, the decay rates, negative.
        B, C: ``(batch, length, groups, d_state)``; each group serves ``heads / groups`` heads in a row.
        D: ``(heads,)`` or ``(heads, headdim)``, the skip connection.
        z: ``(batch, length, heads, headdim)``, the gate.
        dt_bias: ``(heads,)``, added to ``dt``.
        dt_softplus: apply softplus to ``dt``.
        dt_limit: bounds to which the step sizes are clamped, after that.
        chunk_size: positions in a chunk. Other forms than "chunked" have no use for it.
        initial_state: ``(batch, heads, headdim, d_state)``, the state before the first position. Default: zero.
        return_last_state: return ``(y, last_state)``.
        form: one of ``FORMS``. Default: "chunked".

    Returns:
        ``y``, of the shape of x; with ``return_last_state`` also ``(batch, heads, headdim, d_state)``. Computed in
        float32 at least; under autocast the matrix products are in its dtype, the decays are not.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """
    if x.dim() != 4 or not x.is_floating_point() or 0 in x.shape[1:]:
        raise ValueError(f"x must be (batch, length, heads, headdim), floating, got {tuple(x.shape)}, {x.dtype}")
    batch, length, heads, headdim = x.shape
    if B.dim() != 4 or tuple(B.shape[:2]) != (batch, length) or 0 in B.shape or heads % B.shape[2]:
        raise ValueError(
            f"B must be (batch, length, groups, d_state) = ({batch}, {length}, groups, d_state) with groups dividing"
            f" {heads}, got {tuple(B.shape)}"
        )
    _check("dt", dt, x, (batch, length, heads))
    _check("A", A, x, (heads,))
    _check("B", B, x, tuple(B.shape))
    _check("C", C, x, tuple(B.shape))
    _check("D", D, x, (heads, headdim) if D is not None and D.dim() == 2 else (heads,))
    _check("z", z, x, tuple(x.shape))
    _check("dt_bias", dt_bias, x, (heads,))
    _check("initial_state", initial_state, x, (batch, heads, headdim, B.shape[3]))
    if form is not None and form not in FORMS:
        raise ValueError(f"form must be None or one of {', '.join(FORMS)}, got {form!r}")

    dtype = torch.promote_types(x.dtype, torch.float32)
    u, dt, A, B, C = (tensor.to(dtype) for tensor in (x, dt, A, B, C))
    if dt_bias is not None:
        dt = dt + dt_bias.to(dtype)
    if dt_softplus:
        dt = F.softplus(dt)
    if tuple(dt_limit) != (0.0, math.inf):
        dt = dt.clamp(*dt_limit)
    skip = D.to(dtype)[:, None, None] if D is not None and D.dim() == 1 else None
    y, last_state = scan(u, dt, dt * A, B, C, initial_state, skip, chunk_size=chunk_size, form=form)
    if D is not None and D.dim() == 2:
        y = y + D.to(dtype) * u
    if z is not None:
        y = y * F.silu(z.to(dtype))
    y = y.to(x.dtype)
    return (y, last_state) if return_last_state else y


def scan(x, write, log_decay, B, C, initial_state=None, own=None, *, strict=False, chunk_size=28, form=None):
    """What :func:`ssd` is made of: ``h = exp(log_decay) h + write x B^T``, ``y = h C + own x``.

    Args:
        x: ``(batch, length, heads, headdim)``, float32 or float64. With a rank (several inputs and outputs a head, as
            in Mamba-3) x, B and C have ``rank * length`` rows, those of a position one after another.
        write: ``(batch, length, heads)``, by how much each position is written.
        log_decay: ``(batch, length, heads)``.
        B, C, initial_state, chunk_size, form: as for :func:`ssd`.
        own: ``(batch, length, heads, rank, rank)``, or what broadcasts to it: what a position also reads of its own x.
        strict: let every position read before it writes, after the decay.

    Returns:
        ``y``, of the shape of x, and the last state, ``(batch, heads, headdim, d_state)``.

    Raises:
        ValueError: if ``chunk_size`` is not a positive whole number.
    """
    if not (isinstance(chunk_size, int) and chunk_size >= 1):
        raise ValueError(f"chunk_size must be a whole number, at least 1, got {chunk_size!r}")
    if initial_state is None:
        initial_state = x.new_zeros(len(x), *x.shape[2:], B.shape[3])
    arguments = (x, write, log_decay, B, C, initial_state.to(x.dtype), own, strict)
    if form == "recurrent":
        return recurrent.scan(*arguments)
    if form == "quadratic":
        return quadratic.scan(*arguments)
    return chunked.scan(*arguments, min(chunk_size, log_decay.shape[1]))


def _check(name, tensor, x, shape):
    if tensor is None:
        return
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
    if not tensor.is_floating_point():
        raise ValueError(f"{name} must be floating, got {tensor.dtype}")
    if tensor.device != x.device:
        raise ValueError(f"{name} must be on {x.device}, where x is, got {tensor.device}")
