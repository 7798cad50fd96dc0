"""The short convolution and its SiLU in plain PyTorch, on any device."""

import torch
import torch.nn.functional as F


def causal_conv1d(x, weight, bias, initial_states, activation):
    """:func:`helpers.conv.causal_conv1d`, computed in float32 at least, which is also the dtype of the result."""
    x = x.to(torch.promote_types(x.dtype, torch.float32))
    weight, bias, initial_states = (t if t is None else t.to(x.dtype) for t in (weight, bias, initial_states))
    width = weight.shape[1]
    x = F.pad(x, (width - 1, 0)) if initial_states is None else torch.cat([initial_states, x], -1)
    y = F.conv1d(x, weight.unsqueeze(1), bias, groups=len(weight))
    return F.silu(y) if activation else y
