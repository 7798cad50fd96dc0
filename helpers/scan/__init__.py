"""The selective scan: one function, five ways to compute it.

``selective_scan`` takes the arguments of ``mamba_ssm.ops.selective_scan_interface.selective_scan_fn`` and returns what
it returns. This file checks and normalizes the arguments and chooses the backend:

===============  ======================  ==========================================================
``mamba_ssm``    ``mamba_ssm_kernel``    upstream's CUDA kernel
``triton``       ``triton_kernel``       fused on the GPU, by hand
``numba``        ``numba_kernel``        fused on the CPU, by hand
``associative``  ``associative``         a parallel prefix scan in plain PyTorch: any device, any dtype
``reference``    ``reference``           the recurrence as a reader would write it: any device, any dtype
===============  ======================  ==========================================================

The environment variable ``SCAN_WITHOUT`` lists backends not to use, separated by commas. ``colab/setup.py`` sets it to
exclude an installed kernel that failed its check. It is read once. The last two cannot be left out.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, algorithm 2.
"""

import functools
import importlib.util
import math
import os

import torch

from helpers.derivatives import only_plain
from helpers.detect import kernel_works
from helpers.scan import associative, mamba_ssm_kernel, plain, reference

# In the order of choice. On a CPU "reference" can be the faster of the last two, where there are many channels.
BACKENDS = ("mamba_ssm", "triton", "numba", "associative", "reference")
_PLAIN = {"associative": associative.scan, "reference": reference.scan}


def backends(device: torch.device | str) -> list[str]:
    """Name the backends that can run on ``device``, in the order in which they are chosen."""
    return list(_backends(torch.device(device).type))


@torch.compiler.assume_constant_result
def _backends(device_type):
    return tuple(name for name in BACKENDS if name in _PLAIN or _runs(name, device_type))


@functools.cache
def _without():
    names = {name for name in os.environ.get("SCAN_WITHOUT", "").replace(" ", "").split(",") if name}
    possible = [name for name in BACKENDS if name not in _PLAIN]
    if not names <= set(possible):
        raise ValueError(f"SCAN_WITHOUT must name some of {', '.join(possible)}, got {os.environ['SCAN_WITHOUT']!r}")
    return names


@functools.cache
def _runs(name, device_type):
    if name in _without():
        return False
    if name == "mamba_ssm":
        return mamba_ssm_kernel.available(device_type)
    if name == "triton":
        if device_type != "cuda" or not importlib.util.find_spec("triton"):
            return False
        from helpers import triton_math

        return triton_math.available(device_type)
    return device_type == "cpu" and _numba_works()


@functools.cache
def _numba_works():
    return kernel_works(
        _probe_numba,
        "The fused CPU scan",
        "the scan in plain PyTorch takes its place, which is 10 to 20 times slower",
    )


def _probe_numba():
    from helpers.scan import numba_kernel

    u = torch.ones(1, 16, 1, dtype=torch.float32, requires_grad=True)
    y, _ = numba_kernel.scan(u, u, -u[0], u[:, :1, None], u[:, :1, None], None, None, None, None, False)
    y.sum().backward()


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
        backend: one of ``BACKENDS``, or ``None`` for the fastest that can run on these tensors. ``"mamba_ssm"`` has no
            float64, no initial state and no gradient through the last state; it, ``"triton"`` and ``"numba"`` have no
            complex ``A``; ``"triton"`` has no float64.

    Returns:
        ``y``, ``(batch, dim, length)``; with ``return_last_state`` also ``(batch, dim, d_state)``. With a complex ``A``
        the output is twice the real part, and the state is complex. Half-precision inputs are computed in float32.
        Any strides are taken; ``"numba"`` and ``"triton"`` take a transposed view of ``(batch, length, dim)`` without
        a copy.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """
    if u.dim() != 3 or not u.is_floating_point():
        raise ValueError(f"u must be (batch, dim, length), real and floating, got {tuple(u.shape)}, {u.dtype}")
    batch, dim, length = u.shape
    if dim == 0 or length == 0:
        raise ValueError(f"u must have at least one channel and one position, got {tuple(u.shape)}")
    if A.dim() != 2 or A.shape[0] != dim or A.shape[1] == 0:
        raise ValueError(f"A must be (dim, d_state) = ({dim}, at least 1), got {tuple(A.shape)}")
    d_state = A.shape[1]
    _check("delta", delta, u, (batch, dim, length))
    _check("A", A, u, (dim, d_state), may_be_complex=True)
    _check("B", B, u, may_be_complex=A.is_complex())
    _check("C", C, u, may_be_complex=A.is_complex())
    _check("D", D, u, (dim,))
    _check("z", z, u, (batch, dim, length))
    _check("delta_bias", delta_bias, u, (dim,))
    _check("initial_state", initial_state, u, (batch, dim, d_state), may_be_complex=A.is_complex())
    groups_B, groups_C = (_groups(name, form, A, batch, length) for name, form in (("B", B), ("C", C)))

    # Where only plain PyTorch will do, nothing else is probed: an export's patches keep Numba from compiling.
    available = tuple(_PLAIN) if only_plain() else _backends(u.device.type)
    if backend is None:
        backend = next(name for name in available if not _refusal(name, u, A, initial_state, return_last_state))
    elif backend not in BACKENDS:
        raise ValueError(f"backend must be None or one of {', '.join(BACKENDS)}, got {backend!r}")
    elif backend not in available:
        where = "under torch.func, in forward-mode differentiation and in torch.export" if only_plain() else u.device
        raise ValueError(f"backend must be one that runs on {where}: {', '.join(available)}; got {backend!r}")
    elif why := _refusal(backend, u, A, initial_state):
        raise ValueError(why)
    if backend == "mamba_ssm":
        arguments = (u, delta, A, B, C, D, z, delta_bias, delta_softplus, return_last_state)
        return mamba_ssm_kernel.scan(*arguments, initial_state=initial_state)

    groups = math.lcm(groups_B, groups_C)
    B, C = (_in_groups(form, groups, A, batch, length) for form in (B, C))
    dtype = torch.promote_types(u.dtype, torch.float32)
    if backend == "triton":
        from helpers.scan import triton_kernel

        A, D, delta_bias, initial_state = (_to(dtype, x) for x in (A, D, delta_bias, initial_state))
        B, C = (form if form.shape[-1] == length else form.expand(-1, -1, -1, length) for form in (B, C))
        y, last_state = triton_kernel.scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus)
    elif backend == "numba":
        from helpers.scan import numba_kernel

        # The kernels read and write bfloat16 as it is: half the traffic, and no copies.
        half = all(x is None or x.dtype == torch.bfloat16 for x in (u, delta, z))
        u_, delta, z = (x if half else _to(dtype, x) for x in (u, delta, z))
        A, B, C, D, delta_bias, initial_state = (_to(dtype, x) for x in (A, B, C, D, delta_bias, initial_state))
        y, last_state = numba_kernel.scan(u_, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus)
    else:
        y, last_state = plain.scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, _PLAIN[backend])
    y = _to(u.dtype, y)
    return (y, last_state) if return_last_state else y


def _refusal(name, u, A, initial_state, wants_last_state=False):
    """Why a backend that runs here cannot run on these arguments, or None."""
    if name in _PLAIN:
        return None
    if name == "mamba_ssm":
        # Asked for by name it may return a last state without a gradient. Chosen for the user it must not.
        return mamba_ssm_kernel.refusal(u, A, initial_state) or ("last_state" if wants_last_state else None)
    if A.is_complex():
        return f"A must be real for backend {name!r}, got {A.dtype}"
    if name == "triton" and u.dtype == torch.float64:
        return "u must be float32, float16 or bfloat16 for backend 'triton', got torch.float64"
    return None


def _check(name, tensor, u, shape=None, may_be_complex=False):
    if tensor is None:
        return
    if shape is not None and tuple(tensor.shape) != shape:
        raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
    if not (tensor.is_floating_point() or (tensor.is_complex() and may_be_complex)):
        kinds = "real or complex" if may_be_complex else "real and floating"
        raise ValueError(f"{name} must be {kinds}, got {tensor.dtype}")
    if tensor.device != u.device:
        raise ValueError(f"{name} must be on {u.device}, where u is, got {tensor.device}")


def _groups(name, form, A, batch, length):
    """In how many groups of channels B or C comes, once its shape is known to be right."""
    dim, d_state = A.shape
    shape = tuple(form.shape)
    entries = 2 * length if A.is_complex() and not form.is_complex() else length
    if shape == (dim, d_state):
        return dim
    if shape == (batch, d_state, entries):
        return 1
    if len(shape) == 4 and shape[::2] == (batch, d_state) and shape[3] == entries and shape[1] and dim % shape[1] == 0:
        return shape[1]
    raise ValueError(
        f"{name} must be (dim, d_state) = ({dim}, {d_state}), (batch, d_state, length) = ({batch}, {d_state}, {length})"
        f" or (batch, groups, d_state, length) with groups dividing {dim}"
        + (", length doubled where A is complex and it varies" if A.is_complex() else "")
        + f"; got {shape}"
    )


def _in_groups(form, groups, A, batch, length):
    """Bring B or C to ``(batch, groups, d_state, length)``, or ``(batch, groups, d_state, 1)`` if it is fixed."""
    if form.dim() == 3:
        form = form.unsqueeze(1)
    if form.dim() == 2 or form.shape[1] < groups:  # its gradient is a sum, not to be formed in half precision
        form = form.to(torch.promote_types(form.dtype, torch.float32))
    if form.dim() == 2:
        return form.expand(batch, *form.shape).unsqueeze(-1)
    if A.is_complex() and form.shape[-1] == 2 * length:
        form = torch.view_as_complex(form.unflatten(-1, (length, 2)).contiguous())
    return form.repeat_interleave(groups // form.shape[1], dim=1) if groups > form.shape[1] else form


def _to(dtype, tensor):
    # Checked here: where nothing is to be done, Tensor.to takes microseconds to see it.
    return tensor if tensor is None or tensor.dtype == dtype else tensor.to(dtype)
