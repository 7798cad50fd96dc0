"""The short convolution of a Mamba block and its SiLU, fused on the CPU.

A depthwise, causal convolution of a few taps: every channel is a weighted sum of its own last ``taps`` inputs. On a CPU
PyTorch's convolution, and the SiLU after it, each go through memory on their own, and so do their gradients. Here both
are one pass (:mod:`helpers.cpu`); backwards the sums are computed once more rather than kept.

Source: Gu and Dao, arXiv 2312.00752, figure 3; upstream's kernel for it is ``causal_conv1d`` (Tri Dao).
"""

import torch
import torch.nn.functional as F

from helpers.scan import backends


def conv_silu(x, weight, bias=None, window=None):
    """``silu`` of a causal depthwise convolution: position t sees positions ``t - taps + 1`` to t of its own channel.

    Args:
        x: ``(batch, dim, length)``, floating, any strides; on the CPU a transposed view of ``(batch, length, dim)`` is
            taken without a copy. The result has its dtype; half precision is computed in float32.
        weight: ``(dim, taps)``, the last of which belongs to the present position.
        bias: ``(dim,)``, or None.
        window: ``(batch, dim, taps - 1)``, the inputs before the first position. Default: zero.

    Returns:
        ``(batch, dim, length)``.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """
    if x.dim() != 3 or not x.is_floating_point():
        raise ValueError(f"x must be (batch, dim, length), real and floating, got {tuple(x.shape)}, {x.dtype}")
    batch, dim, length = x.shape
    if weight.dim() != 2 or weight.shape[0] != dim or weight.shape[1] < 1:
        raise ValueError(f"weight must be (dim, taps) = ({dim}, at least 1), got {tuple(weight.shape)}")
    taps = weight.shape[1]
    for name, tensor, shape in (("bias", bias, (dim,)), ("window", window, (batch, dim, taps - 1))):
        if tensor is not None and tuple(tensor.shape) != shape:
            raise ValueError(f"{name} must be {shape}, got {tuple(tensor.shape)}")
    for name, tensor in (("weight", weight), ("bias", bias), ("window", window)):
        if tensor is not None and tensor.device != x.device:
            raise ValueError(f"{name} must be on {x.device}, where x is, got {tensor.device}")

    dtype = torch.promote_types(x.dtype, torch.float32)
    weight, bias, window = (t if t is None else t.to(dtype) for t in (weight, bias, window))
    if "numba" in backends(x.device) and length:
        from helpers import conv_cpu

        x_ = x if x.dtype == torch.bfloat16 else x.to(dtype)  # the kernels read and write bfloat16 as it is
        return conv_cpu.conv_silu(x_, weight, bias, window).to(x.dtype)
    x_ = x.to(dtype)
    x_ = F.pad(x_, (taps - 1, 0)) if window is None else torch.cat([window, x_], -1)
    return F.silu(F.conv1d(x_, weight.unsqueeze(1), bias, groups=dim)).to(x.dtype)
