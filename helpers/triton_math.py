"""What the Triton kernels of :mod:`helpers.scan` and :mod:`helpers.conv` are made of, and where they run."""

import torch
import triton
import triton.language as tl

LOG2_E = tl.constexpr(1.4426950408889634)  # exp(x) = exp2(LOG2_E * x), and exp2 is one instruction
LN_2 = tl.constexpr(0.6931471805599453)


def available(device: torch.device | str) -> bool:
    """Whether the kernels run on ``device``: an NVIDIA GPU of compute capability 7.0 or higher."""
    device = torch.device(device)
    usable = device.type == "cuda" and torch.version.cuda is not None and torch.cuda.is_available()
    return usable and torch.cuda.get_device_capability(device) >= (7, 0)


@triton.jit
def softplus(x):
    """max(x, 0) + log(1 + e) with e = exp(-|x|). The logarithm is 2 artanh(e / (2 + e)), as a power series."""
    e = tl.exp2(tl.abs(x) * -LOG2_E)
    s = e / (2 + e)
    q = s * s  # at most 1/9
    series = 1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9 + q * (1 / 11 + q / 13)))))
    return tl.maximum(x, 0) + 2 * s * series


@triton.jit
def sigmoid(x):
    return 1 / (1 + tl.exp2(x * -LOG2_E))


@triton.jit
def load(x, offsets, mask):
    """``x`` at ``offsets``, zero where ``mask`` is not set or ``x`` is None."""
    if x is None:
        value = tl.zeros(mask.shape, tl.float32)
    else:
        value = tl.load(x + offsets, mask, 0.0)
    return value
