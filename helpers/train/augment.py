"""Digits that nobody wrote: each a little turned, moved and stretched anew whenever it is read.

The transformations are made in image space, before a digit is flattened or permuted, for a whole batch in one call of
PyTorch's spatial transformer (Jaderberg and others, arXiv 1506.02025). (torchvision's ``v2.RandomAffine`` draws one
transformation for all images of a batch.)
"""

import math

import torch
import torch.nn.functional as F

from helpers.mnist import MEAN, STD

DEGREES, SHIFT, STRETCH = 15.0, 2.0, 0.15  # the most that a digit is turned; moved, in pixels; larger or smaller


def augment(pixels: torch.Tensor) -> torch.Tensor:
    """Turn, scale and shift every digit of a batch by amounts of its own, and fill the gaps with black.

    The amounts are uniform: up to 15 degrees, 15 % of the size, 2 pixels in each direction. They are drawn from
    PyTorch's generator of the device, which :func:`helpers.train.fit` seeds by the number of the step.

    Args:
        pixels: normalized digits, ``(batch, 784, 1)``, row by row.

    Returns:
        The same shape, dtype and device.

    Raises:
        ValueError: if the sequences are not digits.
    """
    if pixels.dim() != 3 or tuple(pixels.shape[1:]) != (784, 1):
        raise ValueError(f"only digits can be augmented, (batch, 784, 1), got {tuple(pixels.shape)}")
    amounts = 2 * torch.rand(4, len(pixels), dtype=pixels.dtype, device=pixels.device) - 1
    angle = amounts[0] * math.radians(DEGREES)
    # Where in the old digit, from -1 to 1, the new one finds its pixels: so a digit shrinks by what grows here.
    zoom = 1 / (1 + STRETCH * amounts[1])
    cos, sin = zoom * angle.cos(), zoom * angle.sin()
    x, y = amounts[2:] * (2 * SHIFT / 28)
    places = torch.stack([cos, -sin, x, sin, cos, y], 1).view(-1, 2, 3)
    black = -MEAN / STD
    images = pixels.view(-1, 1, 28, 28) - black  # outside of an image the sampler finds zeros
    grid = F.affine_grid(places, images.shape, align_corners=False)
    return F.grid_sample(images, grid, align_corners=False).add(black).view_as(pixels)
