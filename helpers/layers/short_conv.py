"""The short causal convolution with SiLU before the scan of Mamba and of Mamba-2.

``conv1d`` is the layer's ``nn.Conv1d``, depthwise and padded by ``d_conv - 1``, under upstream's name for it. A fused
kernel takes its place unless it was replaced or has hooks; then it is called.
"""

import torch
import torch.nn.functional as F
from torch import nn

from helpers.conv import causal_conv1d
from helpers.layers.untouched import is_untouched


def _may_be_fused(conv1d):
    """Whether it is depthwise, and has no options that the fused kernels do not have."""
    if not is_untouched(conv1d, nn.Conv1d):
        return False
    depthwise = conv1d.groups == conv1d.in_channels == conv1d.out_channels
    return depthwise and (conv1d.dilation, conv1d.stride, conv1d.padding_mode) == ((1,), (1,), "zeros")


def convolve(conv1d, x, state=None):
    """``(batch, channels, length)`` to the same, after the inputs in ``state``, ``(batch, channels, d_conv - 1)``."""
    if _may_be_fused(conv1d):
        return causal_conv1d(x, conv1d.weight.squeeze(1), conv1d.bias, state, activation="silu")
    before = 0 if state is None else state.shape[-1]
    padded = x if state is None else torch.cat([state.to(x.dtype), x], -1)
    return F.silu(conv1d(padded)[..., before : before + x.shape[-1]])


def next_state(state, x):
    """The last inputs, once ``(batch, channels, length)`` more were read."""
    return torch.cat([state, x.to(state.dtype)], -1)[..., x.shape[-1] :]


def convolve_step(conv1d, x, state):
    """One position, ``(batch, channels)``: returns what :func:`convolve` makes of it, and the next state."""
    window = torch.cat([state, x.to(state.dtype).unsqueeze(-1)], -1)  # (batch, channels, d_conv)
    if _may_be_fused(conv1d):
        u = (window * conv1d.weight.squeeze(1)).sum(-1)
        u = u if conv1d.bias is None else u + conv1d.bias
    else:
        u = conv1d(window.to(x.dtype))[..., window.shape[-1] - 1]
    return F.silu(u).to(x.dtype), window[..., 1:]
