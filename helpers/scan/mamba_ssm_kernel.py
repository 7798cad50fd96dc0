"""The selective scan of upstream's own CUDA kernel, through upstream's own interface.

Source: https://github.com/state-spaces/mamba/tree/v2.3.2.post1, ``mamba_ssm/ops/selective_scan_interface.py`` (what is
called here) and ``csrc/selective_scan/selective_scan.cpp`` (what the kernel demands). Arguments for which it has no
answer, or a wrong one, are refused here, with a sentence that says why.
"""

import functools
import importlib.util
import math
import sys
import warnings
from importlib.machinery import ExtensionFileLoader

import torch

KERNEL = "selective_scan_cuda"
INTERFACE = "mamba_ssm.ops.selective_scan_interface"
CHUNK = 2048  # positions after which the kernel notes the state
DTYPES = (torch.float32, torch.float16, torch.bfloat16)


def available(device: torch.device | str) -> bool:
    """Whether upstream's compiled kernel can run on ``device``. A stand-in of its name does not count.

    If the package is installed but cannot be imported, it warns once and raises nothing.
    """
    return torch.device(device).type == "cuda" and compiled() and _imports()


def compiled() -> bool:
    """Whether the kernel's module is a compiled one: the loaded one, or else the one that an import would load."""
    loaded = sys.modules.get(KERNEL)
    spec = getattr(loaded, "__spec__", None) if loaded else importlib.util.find_spec(KERNEL)
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader)


@functools.cache
def _imports():
    try:
        importlib.import_module(KERNEL)  # on its own: newer versions of mamba_ssm hide that it does not import
        importlib.import_module(INTERFACE)
    except Exception as error:  # whatever a broken package raises, the other backends still work
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"mamba-ssm is installed but does not import ({type(error).__name__}: {reason}): going on without it.",
            stacklevel=4,
        )
        return False
    return torch.cuda.is_available()


def refusal(u, A, initial_state=None) -> str | None:
    """Why the kernel cannot run on these arguments of ``selective_scan``, or None if it can."""
    batch, dim, length = u.shape
    d_state = A.shape[1]
    states = batch * dim * math.ceil(length / CHUNK) * d_state
    if u.dtype not in DTYPES:
        return f"u must be float32, float16 or bfloat16 for mamba_ssm, got {u.dtype}"
    if A.is_complex():  # there is such a form, which adds the gradients of B and C in groups to the wrong places
        return f"A must be real for mamba_ssm, got {A.dtype}"
    if not 1 <= d_state <= 256:
        return f"A must be (dim, d_state) with 1 <= d_state <= 256 for mamba_ssm, got {tuple(A.shape)}"
    if batch < 1 or not 1 <= dim <= 65535:  # what a GPU's grid can be
        return (
            f"u must be (batch, dim, length) with 1 <= batch and 1 <= dim <= 65535 for mamba_ssm, got {tuple(u.shape)}"
        )
    if states >= 2**31:  # the kernel's index would overflow silently
        return f"u must be smaller for mamba_ssm: {tuple(u.shape)} makes {states} numbers of state, the limit is 2**31"
    if initial_state is not None:
        return f"initial_state must be None for mamba_ssm: it starts from zero, got {tuple(initial_state.shape)}"
    return None


def scan(
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
):
    """Run upstream's kernel. Arguments and results are those of :func:`helpers.scan.selective_scan`, shapes checked.

    Half-precision inputs are computed in float32, and so is float64 next to a narrower u. The state is float32, and has
    no gradient.

    Raises:
        ValueError: what :func:`refusal` says.
        RuntimeError: in the backward pass, when a gradient arrives at the last state: upstream would drop it.
    """
    why = refusal(u, A, initial_state)
    if why:
        raise ValueError(why)
    from mamba_ssm.ops.selective_scan_interface import selective_scan_fn

    B, C = _in_groups(B, C, *u.shape)
    # The kernel wants one dtype for all that varies; that of u would lose digits of the others.
    varying = [x for x in (u, delta, z, B, C) if x is not None and x.dim() > 2]
    dtype = u.dtype if all(x.dtype == u.dtype for x in varying) else torch.float32

    def prepared(x):
        return None if x is None else _aligned(x.to(dtype if x.dim() > 2 else torch.float32))

    y, last_state = selective_scan_fn(
        *map(prepared, (u, delta, A, B, C, D, z, delta_bias)), delta_softplus=delta_softplus, return_last_state=True
    )
    if B.dim() == 2:  # a fixed B the kernel multiplies with only on the way out: what it keeps is without it
        last_state = last_state * B.to(last_state.dtype)
    if y.requires_grad:
        y.register_hook(lambda dy: None if dy is None else _aligned(dy))
        last_state.register_hook(_no_gradient)
    y = y.to(u.dtype)
    return (y, last_state) if return_last_state else y


def _in_groups(B, C, batch, dim, length):
    """Bring B and C to one number of groups: upstream takes B's for both, and 1 if B is fixed."""

    def groups(form):
        return {2: dim, 3: 1}.get(form.dim()) or form.shape[1]

    def to_common_groups(form):
        if form.dim() == 2:
            form = form.expand(batch, length, *form.shape).movedim(1, -1)
        elif form.dim() == 3:
            form = form.unsqueeze(1)
        return form.repeat_interleave(common // form.shape[1], dim=1)  # (batch, common, d_state, length)

    if C.dim() == 2 or groups(C) == (1 if B.dim() == 2 else groups(B)):
        return B, C
    common = math.lcm(groups(B), groups(C))
    return to_common_groups(B), to_common_groups(C)


def _aligned(x):
    """Copy ``x`` if need be: at some lengths the kernel reads 16 bytes at a time, and does not check that it may."""
    x = x.contiguous()
    return x if x.data_ptr() % 16 == 0 else x.clone()


def _no_gradient(dlast_state):
    if dlast_state is not None:  # None where the last state was returned and not used
        raise RuntimeError(
            "There is no gradient through the last state with backend 'mamba_ssm': upstream's kernel would drop it. "
            "Take another backend, or detach() the last state."
        )
