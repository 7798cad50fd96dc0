"""The convolution of upstream's own CUDA kernel, through upstream's own interface.

Source: https://github.com/Dao-AILab/causal-conv1d/tree/v1.6.1, ``causal_conv1d/causal_conv1d_interface.py`` (what is
called here) and ``csrc/causal_conv1d.cpp`` (what the kernel demands). Arguments that it cannot take are refused here,
with a sentence that says why.
"""

import functools
import importlib
import importlib.util
import warnings
from importlib.machinery import ExtensionFileLoader

import torch

KERNEL = "causal_conv1d_cuda"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
ALIGNED = 16  # bytes that it reads at a time where channels come last


def available(device: torch.device | str) -> bool:
    """Whether upstream's compiled kernel can run on ``device``. If it is installed but does not import, it warns."""
    if torch.device(device).type != "cuda":
        return False
    spec = importlib.util.find_spec(KERNEL)
    return spec is not None and isinstance(spec.loader, ExtensionFileLoader) and _imports()


@functools.cache
def _imports():
    try:
        importlib.import_module("causal_conv1d")
    except Exception as error:  # whatever a broken package raises, the other backends still work
        reason = (str(error).splitlines() or [""])[0]
        warnings.warn(
            f"causal-conv1d is installed but does not import ({type(error).__name__}: {reason}): going on without it.",
            stacklevel=4,
        )
        return False
    return torch.cuda.is_available()


def refusal(x, weight, initial_states=None) -> str | None:
    """Why the kernel cannot run on these arguments of ``causal_conv1d``, or None if it can."""
    if x.dtype not in DTYPES:
        return f"x must be float32, float16 or bfloat16 for backend 'causal_conv1d', got {x.dtype}"
    if not 2 <= weight.shape[1] <= 4:
        return f"weight must be (dim, 2 to 4) for backend 'causal_conv1d', got {tuple(weight.shape)}"
    channels_last = x.stride(1) == 1 and x.stride(2) > 1
    if channels_last and any(n % 8 for n in (x.shape[1], x.stride(0), x.stride(2))):
        return (
            "x must have channels, and strides, that are multiples of 8 for backend 'causal_conv1d' where channels come"
            f" last, got {tuple(x.shape)} with strides {x.stride()}"
        )
    if initial_states is not None and not channels_last:
        return (
            f"x must have its channels last for backend 'causal_conv1d' with initial_states, got strides {x.stride()}"
        )
    return None


def causal_conv1d(x, weight, bias, initial_states, activation):
    """Run upstream's kernel. Arguments and result are those of :func:`helpers.conv.causal_conv1d`, shapes checked.

    Weight and bias are of one dtype. There is no second derivative, and the gradients of weight and bias may differ in
    their last digits from call to call: they are added up in no fixed order.
    """
    from causal_conv1d import causal_conv1d_fn

    if initial_states is not None:  # of x's dtype and, like x, channels last
        initial_states = initial_states.to(x.dtype).mT.contiguous().mT
    x = x if x.data_ptr() % ALIGNED == 0 else x.clone()
    return causal_conv1d_fn(x, weight, bias, initial_states=initial_states, activation=activation)
