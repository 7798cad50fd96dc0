"""One linear layer whose result is cut into parts, as a product for each part."""

import torch
import torch.nn.functional as F
from torch import nn

from helpers.layers.untouched import is_untouched


def project(linear, x, sizes):
    """``linear(x).split(sizes, -1)``, and exactly that where ``linear`` was replaced or has hooks.

    Cut out of one result, every part would be copied before it is used, and the gradients put together again.
    """
    if not is_untouched(linear, nn.Linear):
        return linear(x).split(sizes, -1)
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        x = x.to(torch.get_autocast_dtype(device))  # once, and not for each of them
    biases = [None] * len(sizes) if linear.bias is None else linear.bias.split(sizes)
    return [F.linear(x, weight, bias) for weight, bias in zip(linear.weight.split(sizes), biases, strict=True)]
