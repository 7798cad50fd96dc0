"""What the blocks of all three Mambas share: where step sizes start, and what a block can read."""

import math

import torch


def initial_step_bias(n, dt_min, dt_max, floor):
    """Biases ``(n,)`` of which the softplus is log-uniform from ``dt_min`` to ``dt_max``, and ``floor`` at least.

    Source: Gu and Dao, arXiv 2312.00752, section 3.6, and upstream's code.
    """
    dt = torch.exp(torch.rand(n) * (math.log(dt_max) - math.log(dt_min)) + math.log(dt_min))
    dt = dt.clamp(min=floor)
    return dt + torch.log(-torch.expm1(-dt))


def check_input(x, dims, d_model) -> None:
    """Raise ValueError unless x is a sequence (``dims`` 3) or a position (2) of width ``d_model``."""
    if x.dim() != dims or x.shape[-1] != d_model:
        expected = "(batch, length, d_model)" if dims == 3 else "(batch, d_model)"
        raise ValueError(f"x must be {expected} with d_model = {d_model}, got {tuple(x.shape)}")
    if dims == 3 and x.shape[1] == 0:
        raise ValueError(f"x must have at least one position, got {tuple(x.shape)}")
