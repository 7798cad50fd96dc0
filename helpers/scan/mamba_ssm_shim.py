"""Upstream's ``mamba_ssm.Mamba``, unmodified, on a CPU.

Its Python part calls a compiled module, ``selective_scan_cuda``, that exists only for GPUs. ``install()`` puts a
stand-in of that name in its place, with the same two functions, computed by :func:`helpers.scan.selective_scan`::

    from helpers.scan import mamba_ssm_shim
    mamba_ssm_shim.install()
    from mamba_ssm import Mamba

Source of the interface: https://github.com/state-spaces/mamba/tree/v2.3.2.post1, ``csrc/selective_scan``:
``selective_scan.cpp`` (arguments and results), ``selective_scan_fwd_kernel.cuh`` (what ``x`` holds).
"""

import functools
import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType

import torch
import torch.nn.functional as F

from helpers.scan import selective_scan
from helpers.scan.mamba_ssm_kernel import CHUNK, DTYPES, INTERFACE, KERNEL

WHAT = "stand-in for the CPU, not upstream's CUDA kernel"
_MODULE = ModuleType(KERNEL, f"A {WHAT}: see helpers.scan.mamba_ssm_shim.")
_MODULE.__spec__ = ModuleSpec(KERNEL, None, origin=WHAT)  # shown when the module is printed
_MODULE.__version__ = f"0 ({WHAT})"


def install(scan=selective_scan) -> None:
    """Let ``import selective_scan_cuda`` find the stand-in. To be called before ``mamba_ssm`` is imported.

    Releases of ``mamba_ssm`` after 2.3.2 import even without the kernel, and their Mamba then raises. One that is
    already imported gets the stand-in now. The first call says so on stderr; later ones only exchange the scan.

    Args:
        scan: what computes it, a function with the arguments and results of ``helpers.scan.selective_scan``.

    Raises:
        RuntimeError: if another module of that name is loaded or installed. The stand-in never takes its place.
    """
    loaded = sys.modules.get(KERNEL)
    if loaded is not _MODULE:
        spec = getattr(loaded, "__spec__", None) if loaded else importlib.util.find_spec(KERNEL)
        if loaded or spec:
            where = spec.origin if spec else "no file"
            raise RuntimeError(f"The stand-in leaves the {KERNEL} that is already here ({where}) in its place.")
        print(f"{KERNEL} is now a {WHAT}.", file=sys.stderr)
    _MODULE.fwd = functools.partial(fwd, scan)
    _MODULE.bwd = functools.partial(bwd, scan)
    sys.modules[KERNEL] = _MODULE
    if INTERFACE in sys.modules:  # what it holds is no kernel: none is loaded, and none can be
        setattr(sys.modules[INTERFACE], KERNEL, _MODULE)


def fwd(scan, u, delta, A, B, C, D, z, delta_bias, delta_softplus):
    """Upstream's ``fwd``, with the scan before its arguments: ``[out, x]``, and ``out_z`` as a third with z.

    Shapes and dtypes are those that :func:`_check` demands. ``out`` is the scan before the gate, ``out_z`` is
    ``out * silu(z)``. ``x``, ``(batch, dim, chunks, 2 * d_state)`` in A's dtype, holds by turns the decay since the
    first position and the state, at the end of every chunk of 2048 positions. Where B is fixed the state is without it:
    the kernel multiplies with a fixed B on the way out.
    """
    _check(u, delta, A, B, C, D, z, delta_bias)
    length = u.shape[-1]
    steps = _exact(delta) if delta_bias is None else _exact(delta) + delta_bias.unsqueeze(-1)
    steps = F.softplus(steps) if delta_softplus else steps

    def read(B, start, end, state):
        part = (_exact(_positions(x, start, end, length)) for x in (u, delta, A, B, C))
        return scan(*part, D, None, delta_bias, delta_softplus, return_last_state=True, initial_state=state)

    outs, decays, kept, state, without_B = [], [], [], None, None
    for start in range(0, length, CHUNK):
        end = min(start + CHUNK, length)
        out, state = read(B, start, end, state)
        if B.dim() == 2:
            without_B = read(torch.ones_like(B), start, end, without_B)[1]
        outs.append(out)
        decays.append(torch.exp(steps[..., :end].sum(-1, keepdim=True) * A))
        kept.append(without_B if B.dim() == 2 else state)
    out = torch.cat(outs, dim=-1)
    x = torch.stack([torch.stack(decays, 2), torch.stack(kept, 2)], dim=-1).flatten(-2)
    gated = [] if z is None else [(out * F.silu(_exact(z))).to(z.dtype)]
    return [out.to(u.dtype), x, *gated]


def bwd(scan, u, delta, A, B, C, D, z, delta_bias, dout, x, out, dz, delta_softplus, recompute_out_z):
    """Upstream's ``bwd``, with the scan before its arguments.

    Returns ``[du, ddelta, dA, dB, dC, dD, ddelta_bias]``, None for what is None; then, with z, ``dz``, written into
    ``dz`` if that is given; then ``out_z`` if ``recompute_out_z``. ``out`` is read only with z, ``x`` not at all: the
    states are computed again.
    """
    _check(u, delta, A, B, C, D, z, delta_bias, dout, x, out if z is not None else None, dz)
    dout = _exact(dout)
    rest = []
    if z is not None:  # first back through the gate
        with torch.enable_grad():
            ungated, gate = _leaves(out, z)
            out_z = ungated * F.silu(gate)
        dout, dgate = torch.autograd.grad(out_z, (ungated, gate), dout)
        rest.append(dgate.to(z.dtype) if dz is None else dz.copy_(dgate))
    if recompute_out_z:
        rest.append(None if z is None else out_z.detach().to(out.dtype))

    given = (u, delta, A, B, C, D, delta_bias)
    with torch.enable_grad():
        u, delta, A, B, C, D, delta_bias = leaves = _leaves(*given)
        y = scan(u, delta, A, B, C, D, None, delta_bias, delta_softplus)
    grads = iter(torch.autograd.grad(y, [leaf for leaf in leaves if leaf is not None], dout))
    return [None if argument is None else next(grads).to(argument.dtype) for argument in given] + rest


def _exact(x):
    """Half precision as float32: the kernel computes in float32 and rounds once, when it stores."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _leaves(*tensors):
    return [None if x is None else _exact(x).detach().requires_grad_() for x in tensors]


def _positions(x, start, end, length):
    """Positions ``start`` to ``end`` of what varies; of what is fixed, all."""
    entries = x.shape[-1] // length  # two where the numbers are complex
    return x[..., entries * start : entries * end] if x.dim() > 2 else x


def _check(u, delta, A, B, C, D, z, delta_bias, dout=None, x=None, out=None, dz=None):
    """Raise ValueError where ``selective_scan.cpp`` would raise, and where a tensor is not on the CPU."""
    batch, dim, length = u.shape
    d_state = A.shape[1]
    if u.dtype not in DTYPES or A.dtype not in (torch.float32, torch.complex64) or d_state > 256:
        raise ValueError(
            f"u must be float32, float16 or bfloat16, A float32 or complex64, with d_state of at most 256; "
            f"got {u.dtype}, {A.dtype} and {d_state}"
        )
    sequence = (batch, dim, length), u.dtype
    channels = (dim,), torch.float32
    fixed = (dim, d_state), A.dtype
    groups = B.shape[1] if B.dim() > 2 else 1
    varying = (batch, groups, d_state, length * (2 if A.is_complex() else 1)), u.dtype
    for name, tensor, (shape, dtype) in (
        ("u", u, sequence),
        ("delta", delta, sequence),
        ("A", A, fixed),
        ("B", B, varying if B.dim() > 2 else fixed),
        ("C", C, varying if C.dim() > 2 else fixed),
        ("D", D, channels),
        ("z", z, sequence),
        ("delta_bias", delta_bias, channels),
        ("dout", dout, sequence),
        ("x", x, ((batch, dim, -(-length // CHUNK), 2 * d_state), A.dtype)),
        ("out", out, sequence),
        ("dz", dz, sequence),
    ):
        if tensor is None:
            continue
        if tensor.device.type != "cpu":
            raise ValueError(f"{name} must be on the CPU: this {KERNEL} is a {WHAT}; got {tensor.device}")
        if tuple(tensor.shape) != shape or tensor.dtype != dtype:
            raise ValueError(f"{name} must be {shape}, {dtype}; got {tuple(tensor.shape)}, {tensor.dtype}")
        if tensor.dim() != 2 and tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
            raise ValueError(f"{name} must have neighbors in its last dimension, got strides {tensor.stride()}")
