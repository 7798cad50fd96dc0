"""The Mamba block: two projections, a short convolution, the selective scan and a gate.

Source: Gu and Dao, arXiv 2312.00752, section 3.4 and figure 3. Parameters have the names and shapes of
``mamba_ssm.Mamba``, so that a ``state_dict`` moves between the two unchanged.
"""

import math

import torch
import torch.nn.functional as F
from torch import nn

from helpers.scan import selective_scan


class Mamba(nn.Module):
    """One Mamba block, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    Args:
        d_model: width of the sequence that comes in and goes out.
        d_state: numbers that each channel remembers (N in the paper).
        d_conv: taps of the causal convolution.
        expand: the block works on ``d_inner = expand * d_model`` channels (E in the paper).
        dt_rank: rank of the map that makes the step size, or ``"auto"`` for ``ceil(d_model / 16)``.
        dt_min, dt_max: bounds between which the initial step sizes are drawn, log-uniformly (section 3.6).
        dt_init: how the step size's weights start: ``"random"`` (uniform) or ``"constant"``.
        dt_scale: scale of those weights.
        dt_init_floor: smallest initial step size.
        conv_bias, bias: biases of the convolution, and of the two outer projections.
    """

    def __init__(
        self,
        d_model,
        d_state=16,
        d_conv=4,
        expand=2,
        dt_rank="auto",
        dt_min=0.001,
        dt_max=0.1,
        dt_init="random",
        dt_scale=1.0,
        dt_init_floor=1e-4,
        conv_bias=True,
        bias=False,
    ):
        super().__init__()
        d_inner = int(expand * d_model)
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        self.d_state = d_state
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=bias)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1, bias=conv_bias)
        self.x_proj = nn.Linear(d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, d_inner)
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)

        spread = self.dt_rank**-0.5 * dt_scale
        if dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -spread, spread)
        elif dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, spread)
        else:
            raise ValueError(f"dt_init must be 'random' or 'constant', got {dt_init!r}")
        dt = torch.exp(torch.empty(d_inner).uniform_(math.log(dt_min), math.log(dt_max))).clamp(min=dt_init_floor)
        with torch.no_grad():
            self.dt_proj.bias.copy_(dt + torch.log(-torch.expm1(-dt)))  # softplus of this is dt

        # S4D-real: A = -1, -2, ..., -d_state in every channel. Kept as a logarithm, A stays negative in training.
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.A_log._no_weight_decay = True
        self.D._no_weight_decay = True

    def forward(self, x):
        """``x``: ``(batch, length, d_model)``, and so is the result; position t sees positions 0 to t."""
        length = x.shape[1]
        x, z = self.in_proj(x).mT.chunk(2, dim=1)  # each (batch, d_inner, length)
        x = F.silu(self.conv1d(x)[..., :length])  # what the padding adds at the end would see the future
        dt, B, C = self.x_proj(x.mT).split([self.dt_rank, self.d_state, self.d_state], dim=-1)
        y = selective_scan(
            x,
            (dt @ self.dt_proj.weight.T).mT,
            -torch.exp(self.A_log.float()),
            B.mT,
            C.mT,
            self.D.float(),
            z=z,
            delta_bias=self.dt_proj.bias.float(),
            delta_softplus=True,
        )
        return self.out_proj(y.mT)
