"""The short convolution of a Mamba block and its SiLU: one function, two ways to compute it.

A depthwise, causal convolution of a few taps: every channel is a weighted sum of its own last ``width`` inputs. On a
CPU PyTorch's convolution, and the SiLU after it, each go through memory on their own, and so do their gradients. The
backend ``numba`` (:mod:`helpers.conv.numba_kernel`) is one pass over memory; backwards it computes the sums once more
rather than keep them. The backend ``reference`` (:mod:`helpers.conv.reference`) is PyTorch's, on any device.

Source: Gu and Dao, arXiv 2312.00752, figure 3. Arguments are those of ``causal_conv1d_fn`` in upstream's package
``causal_conv1d`` (Tri Dao).
"""

import functools

import torch

from helpers.conv import reference
from helpers.derivatives import only_plain
from helpers.detect import kernel_works

BACKENDS = ("numba", "reference")


def causal_conv1d(x, weight, bias=None, initial_states=None, activation=None, *, backend=None):
    """A causal depthwise convolution: position t sees positions ``t - width + 1`` to t of its own channel.

    Args:
        x: ``(batch, dim, length)``, floating, any strides; on the CPU a transposed view of ``(batch, length, dim)`` is
            taken without a copy. The result has its dtype; half precision is computed in float32.
        weight: ``(dim, width)``, the last of which belongs to the present position.
        bias: ``(dim,)``, or None.
        initial_states: ``(batch, dim, width - 1)``, the inputs before the first position. Default: zero.
        activation: ``"silu"``, or None for the convolution alone.
        backend: one of ``BACKENDS``, or None for the fastest that can run. ``"numba"`` is for the CPU, with SiLU.

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
    fused = activation == "silu" and x.device.type == "cpu" and not only_plain() and numba_works()
    if backend == "numba" and not fused:
        raise ValueError(
            "backend 'numba' needs a CPU, Numba and activation='silu', and runs neither under torch.func, nor in"
            f" forward-mode differentiation, nor in torch.export; got {x.device}, {activation!r}"
        )
    if not fused or backend == "reference":
        return reference.causal_conv1d(x, weight, bias, initial_states, activation).to(x.dtype)
    from helpers.conv import numba_kernel

    dtype = torch.promote_types(x.dtype, torch.float32)
    weight, bias, initial_states = (t if t is None else t.to(dtype) for t in (weight, bias, initial_states))
    x_ = x if x.dtype == torch.bfloat16 else x.to(dtype)  # the kernels read and write bfloat16 as it is
    return numba_kernel.causal_conv1d(x_, weight, bias, initial_states).to(x.dtype)


@torch.compiler.assume_constant_result  # on a plain function: Dynamo would look through a cached one
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
