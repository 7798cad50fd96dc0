"""A Mamba block whose B and C are rotated by their position, as Transformers rotate queries and keys.

Source: Su and others, "RoFormer: Enhanced Transformer with Rotary Position Embedding", arXiv 2104.09864, section 3.2;
Lahoti and others, "Mamba-3", arXiv 2603.15569, where the angles depend on the input.
"""

import math

import torch
from torch import nn

from helpers.layers.mamba import Mamba


class MambaRoPE(Mamba):
    """A Mamba block with rotary position embedding on B and C, and with a bias for each of them.

    Transformers turn keys and queries (Su and others, "RoFormer", arXiv 2104.09864, section 3.2); here B and C play
    their parts. The numbers of B, and of C, form pairs, and each pair is turned by an angle that grows with the
    position, by a fixed amount of its own. The two numbers of a pair in the state decay alike. So what is read at one
    position of what was written at another depends on how far apart they are, and not on where they are; without
    memory, nothing is changed. That is a complex state, as in S4D, which is turned and shrinks at every step.

    Before the turn a learned bias is added to B and to C, ones at first: a part of what is written and read does not
    depend on the input. Scan and all other parameters are Mamba's. Mamba-3 (Lahoti and others, arXiv 2603.15569) has
    the same three; there the angles depend on the input.

    Args:
        d_model: width of the sequence that comes in and goes out.
        d_state: numbers that each channel remembers, even. Number n and number ``n + d_state / 2`` are a pair.
        periods: positions in which the fastest and the slowest pair turn once; the others lie between, geometrically.
        **options: of :class:`Mamba`.
    """

    ssm_parameters = (*Mamba.ssm_parameters, "B_bias", "C_bias")

    def __init__(self, d_model, d_state=16, periods=(4, 784), **options):
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state must be even and at least 2, got {d_state}")
        super().__init__(d_model, d_state, **options)
        pairs = d_state // 2
        self.A_log = nn.Parameter(self.A_log[:, :pairs].detach().clone())  # one for both numbers of a pair
        self.periods = periods
        self.B_bias = nn.Parameter(torch.ones(d_state))
        self.C_bias = nn.Parameter(torch.ones(d_state))

    @property
    def angles(self) -> torch.Tensor:
        """By how much each pair is turned at every position, in radians: float64 ``(d_state / 2,)``, on the CPU."""
        return self._angles(torch.device("cpu"))

    def _angles(self, device):
        # Made anew for every call: a buffer would be cut by bfloat16() and lost by to_empty(). In float64 a difference
        # of positions does not depend on where they are until far beyond 10^8.
        exponents = [math.log10(period) for period in self.periods]
        return 2 * math.pi / torch.logspace(*exponents, self.d_state // 2, dtype=torch.float64, device=device)

    def _A(self):
        return super()._A().repeat(1, 2)

    def _select(self, u, position):
        dt, B, C = super()._select(u, position)
        B, C = B + self.B_bias.to(B.dtype), C + self.C_bias.to(C.dtype)
        device = torch.device("cpu") if u.device.type == "mps" else u.device  # Apple's GPUs have no float64
        if u.dim() == 3:
            position = position + torch.arange(u.shape[1], dtype=torch.float64, device=device)[:, None]
        angles = position * self._angles(device)  # (length, d_state / 2), or (d_state / 2,) of a single position
        cos, sin = (x.to(B.device, B.dtype) for x in (angles.cos(), angles.sin()))

        def turn(pairs):
            a, b = pairs.chunk(2, -1)
            return torch.cat([a * cos - b * sin, a * sin + b * cos], -1)

        return dt, turn(B), turn(C)
