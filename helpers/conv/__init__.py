"""The short convolution of a Mamba block and its SiLU: one function, four ways to compute it.

A depthwise, causal convolution of a few taps: every channel is a weighted sum of its own last ``width`` inputs. In
PyTorch the convolution, and the SiLU after it, each go through memory on their own, and so do their gradients. A fused
kernel makes one pass over memory; backwards it computes the sums once more rather than keep them.

=================  ========================  ===============================================
``triton``         ``triton_kernel``         fused on the GPU, by hand
``causal_conv1d``  ``causal_conv1d_kernel``  upstream's CUDA kernel, where it is installed
``numba``          ``numba_kernel``          fused on the CPU, by hand
``reference``      ``reference``             PyTorch's: any device, any dtype
=================  ========================  ===============================================

On a GPU ours comes first: it takes any width and layout, and its gradients are the same every time. Which of the two is
faster has not been measured yet; ``make gpu`` does.

Source: Gu and Dao, arXiv 2312.00752, figure 3. Arguments are those of ``causal_conv1d_fn`` in upstream's package
``causal_conv1d`` (Tri Dao).
"""

import functools
import importlib.util

import torch

from helpers.conv import causal_conv1d_kernel, reference
from helpers.derivatives import only_plain
from helpers.detect import kernel_works

BACKENDS = ("triton", "causal_conv1d", "numba", "reference")


def causal_conv1d(x, weight, bias=None, initial_states=None, activation=None, *, backend=None):
    """A causal depthwise convolution: position t sees positions ``t - width + 1`` to t of its own channel.

    Args:
        x: ``(batch, dim, length)``, floating, any strides; a transposed view of ``(batch, length, dim)`` is taken
            without a copy. The result has its dtype; half precision is computed in float32.
        weight: ``(dim, width)``, the last of which belongs to the present position.
        bias: ``(dim,)``, or None.
        initial_states: ``(batch, dim, width - 1)``, the inputs before the first position. Default: zero.
        activation: ``"silu"``, or None for the convolution alone.
        backend: one of ``BACKENDS``, or None for the first that can run. ``"triton"`` has no float64, ``"numba"`` needs
            SiLU, and ``"causal_conv1d"`` takes widths from 2 to 4 and has no second derivative.

    Returns:
        ``(batch, dim, length)``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """
    if x.dim() != 3 or not x.is_floating_point():
        raise ValueError(f"x must be (batch, dim, length), real and floating, got {tuple(x.shape)}, {x.dtype}")
    batch, dim, length = x.shape
    if dim == 0 or length == 0:
        raise ValueError(f"x must have at least one channel and one position, got {tuple(x.shape)}")
    if weight.dim() != 2 or weight.shape[0] != dim or weight.shape[1] < 1:
        raise ValueError(f"weight must be (dim, width) = ({dim}, at least 1), got {tuple(weight.shape)}")
    width = weight.shape[1]
    for name, tensor, shape in (("bias", bias, (dim,)), ("initial_states", initial_states, (batch, dim, width - 1))):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias), ("initial_states", initial_states)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} must be on {x.device}, where x is, got {tensor.device}")
    if activation not in (None, "silu"):
        raise ValueError(f"activation must be None or 'silu', got {activation!r}")
    if backend not in (None, *BACKENDS):
        raise ValueError(f"backend must be None or one of {', '.join(BACKENDS)}, got {backend!r}")
    # Where only plain PyTorch will do, nothing else is probed: an export's patches keep Numba from compiling.
    available = BACKENDS[-1:] if only_plain() else _backends(x.device.type)
    if backend is None:
        backend = next(name for name in available if not _refusal(name, x, weight, initial_states, activation))
    elif backend not in available:
        where = "under torch.func, in forward-mode differentiation and in torch.export" if only_plain() else x.device
        raise ValueError(f"backend must be one that runs on {where}: {', '.join(available)}; got {backend!r}")
    elif why := _refusal(backend, x, weight, initial_states, activation):
        raise ValueError(why)
    if backend == "reference":
        return reference.causal_conv1d(x, weight, bias, initial_states, activation).to(x.dtype)
    dtype = torch.promote_types(x.dtype, torch.float32)
    weight, bias, initial_states = (t if t is None else t.to(dtype) for t in (weight, bias, initial_states))
    if backend == "causal_conv1d":
        return causal_conv1d_kernel.causal_conv1d(x, weight, bias, initial_states, activation)
    if backend == "triton":
        from helpers.conv import triton_kernel

        return triton_kernel.causal_conv1d(x, weight, bias, initial_states, activation)
    from helpers.conv import numba_kernel

    x_ = x if x.dtype == torch.bfloat16 else x.to(dtype)  # the kernels read and write bfloat16 as it is
    return numba_kernel.causal_conv1d(x_, weight, bias, initial_states).to(x.dtype)


def _refusal(name, x, weight, initial_states, activation):
    """Why a backend that runs here cannot run on these arguments, or None."""
    if name == "triton" and x.dtype == torch.float64:
        return "x must be float32, float16 or bfloat16 for backend 'triton', got torch.float64"
    if name == "causal_conv1d":
        return causal_conv1d_kernel.refusal(x, weight, initial_states)
    if name == "numba" and activation is None:
        return "activation must be 'silu' for backend 'numba', got None"
    return None


@torch.compiler.assume_constant_result  # on a plain function: Dynamo would look through a cached one
def _backends(device_type):
    return tuple(name for name in BACKENDS if name == "reference" or _runs(name, device_type))


def _runs(name, device_type):
    if name == "numba":
        return device_type == "cpu" and numba_works()
    return device_type == "cuda" and _runs_on_gpu(name)


@functools.cache
def _runs_on_gpu(name):
    if name == "causal_conv1d":
        return causal_conv1d_kernel.available("cuda")
    if not importlib.util.find_spec("triton"):
        return False
    from helpers import triton_math

    return triton_math.available("cuda")


def numba_works() -> bool:
    """Whether the Numba kernel compiles and runs here; if not, a warning says so, once."""
    return _numba_works()


@functools.cache
def _numba_works():
    return kernel_works(_probe, "The fused CPU convolution", "PyTorch's takes its place, which is slower")


def _probe():
    from helpers.conv import numba_kernel

    x = torch.ones(1, 16, 1, dtype=torch.float32, requires_grad=True)
    numba_kernel.causal_conv1d(x, x[0].detach(), None, None).sum().backward()
