"""The Mamba-3 block: trapezoidal steps, decay and rotation that depend on the input, and no convolution.

Source: Lahoti and others, "Mamba-3", arXiv 2603.15569. Parameters have the names and shapes of
``mamba_ssm.modules.mamba3.Mamba3``, so that a ``state_dict`` moves between the two unchanged.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from helpers import ssd
from helpers.layers.block import check_input, initial_step_bias
from helpers.layers.mamba2 import GatedRMSNorm
from helpers.layers.precision import Float32Parameters, precise
from helpers.layers.projection import project


class State(NamedTuple):
    """All that a block keeps of what it has read."""

    angle_state: torch.Tensor  # (batch, heads, angles), how far each pair has turned, in radians
    ssm_state: torch.Tensor  # (batch, heads, headdim, d_state), the state of the scan
    B_state: torch.Tensor  # (batch, rank, heads, d_state), B at the last position, turned
    x_state: torch.Tensor  # (batch, heads, headdim), x at the last position


class Mamba3(Float32Parameters):
    """One Mamba-3 block, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    At every position, in every head, with ``a = exp(A dt)`` and all of A, dt, lambda, the angles, B, C, x made from the
    input (section 3)::

        h = a * h + (1 - lambda) * dt * a * B_before x_before^T + lambda * dt * B x^T        (headdim, d_state)
        y = h C + D * x                                                                       (headdim,)

    That is the trapezoidal rule with a weight; with lambda = 1 it is Mamba-2's Euler step. B and C are normalized, get
    a bias that starts at one, and are turned by angles that add up over the sequence, as in rotary embeddings. ``h``
    turned back would be a complex state, which turns as it decays.

    With ``is_mimo`` a head has ``mimo_rank`` inputs and outputs, made from x by elementwise weights, on the same state.

    Args:
        d_model: width of the sequence that comes in and goes out.
        d_state: numbers that each channel remembers, even, and at least 4 (with ``rope_fraction=1``, 2).
        expand: the block works on ``d_inner = expand * d_model`` channels.
        headdim: channels of a head, all of which decay and turn alike.
        ngroups: 1, or one for each head: groups of heads with a B and a C of their own.
        rope_fraction: share of the numbers of B and C that turn, 0.5 or 1.
        dt_min, dt_max: bounds between which the initial step sizes are drawn, log-uniformly.
        dt_init_floor: smallest initial step size.
        A_floor: slowest decay rate.
        is_outproj_norm: normalize each head before the gate.
        is_mimo: several inputs and outputs a head.
        mimo_rank: how many.
        chunk_size: positions in a chunk, see :func:`helpers.ssd.scan`.

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    # Names of parameters that the optimizer treats differently; see helpers.train.make_optimizers.
    ssm_parameters = ("dt_bias", "B_bias", "C_bias")
    no_weight_decay = ("dt_bias", "B_bias", "C_bias", "D")
    no_muon = ()
    float32_parameters = ("dt_bias", "B_bias", "C_bias", "D")

    def __init__(
        self,
        d_model,
        d_state=128,
        expand=2,
        headdim=64,
        ngroups=1,
        rope_fraction=0.5,
        dt_min=0.001,
        dt_max=0.1,
        dt_init_floor=1e-4,
        A_floor=1e-4,
        is_outproj_norm=False,
        is_mimo=False,
        mimo_rank=4,
        chunk_size=28,
    ):
        super().__init__()
        d_inner = int(expand * d_model)
        if d_inner % headdim:
            raise ValueError(f"headdim must divide expand * d_model = {d_inner}, got {headdim}")
        heads = d_inner // headdim
        if heads % ngroups:
            raise ValueError(f"ngroups must divide the {heads} heads, got {ngroups}")
        if rope_fraction not in (0.5, 1.0):
            raise ValueError(f"rope_fraction must be 0.5 or 1, got {rope_fraction}")
        angles = int(d_state * rope_fraction) // 2
        if d_state < 2 or d_state % 2 or angles == 0:
            raise ValueError(f"d_state must be even and give at least one angle, got {d_state}")
        rank = mimo_rank if is_mimo else 1
        self.d_model, self.d_state, self.headdim, self.ngroups, self.rank = d_model, d_state, headdim, ngroups, rank
        self.A_floor, self.chunk_size, self.is_mimo = A_floor, chunk_size, is_mimo
        # In upstream's order, so that one seed gives both the same weights.
        states = rank * ngroups * d_state
        self.angles = angles
        # Of what the first projection makes: z, x, B, C, and what is narrow: dt, A, lambda and the angles.
        self.sizes = [d_inner, d_inner, states, states, 3 * heads + angles]
        self.in_proj = nn.Linear(d_model, sum(self.sizes), bias=False)
        self.dt_bias = nn.Parameter(initial_step_bias(heads, dt_min, dt_max, dt_init_floor))
        self.B_bias = nn.Parameter(torch.ones(heads, rank, d_state))
        self.C_bias = nn.Parameter(torch.ones(heads, rank, d_state))
        self.B_norm = GatedRMSNorm(d_state)
        self.C_norm = GatedRMSNorm(d_state)
        if is_mimo:
            self.mimo_x = nn.Parameter(torch.ones(heads, rank, headdim) / rank)
            self.mimo_z = nn.Parameter(torch.ones(heads, rank, headdim))
            self.mimo_o = nn.Parameter(torch.ones(heads, rank, headdim) / rank)
        self.D = nn.Parameter(torch.ones(heads))
        self.norm = GatedRMSNorm(d_inner, headdim, norm_before_gate=True) if is_outproj_norm else None
        self.out_proj = nn.Linear(d_inner, d_model, bias=False)

    def initial_state(self, batch: int) -> State:
        """The state before anything was read: zeros."""
        heads, zeros = len(self.D), self.D.new_zeros
        return State(
            zeros(batch, heads, self.angles),
            zeros(batch, heads, self.headdim, self.d_state),
            zeros(batch, self.rank, heads, self.d_state),
            zeros(batch, heads, self.headdim),
        )

    def forward(self, x, state=None, return_state=False):
        """Read a sequence; position t of the result depends on positions 0 to t, and on the state before them.

        Args:
            x: ``(batch, length, d_model)``.
            state: of an earlier call, or None for the initial state.
            return_state: return also the state after the last position.

        Returns:
            ``(batch, length, d_model)``, or that and a :class:`State`.
        """
        check_input(x, 3, self.d_model)
        state = self.initial_state(len(x)) if state is None else state
        z, u, B, C, dt, log_decay, weight, turns = self._select(x)
        angles = self._add(state.angle_state, turns)
        # What a position reads of its own; turned alike, C and B have the product that they have anyway.
        own = (C.unsqueeze(3) * B.unsqueeze(2)).sum(-1).movedim(-1, 2)  # (batch, length, heads, rank, rank)
        turn = self._turn(angles)
        B, C, inputs = self._turned(B, turn), self._turned(C, turn), self._inputs(u)
        # What one position writes enters the state twice: at once, by lambda dt, and at the next step, by that step's
        # (1 - lambda) dt; from there on it decays with everything else. So later positions find the sum of the two.
        # Only the position itself, which reads before it writes, finds the first alone.
        at_once, next_time = weight * dt, (1 - weight) * dt
        both = at_once + F.pad(next_time[:, 1:], (0, 0, 0, 1))
        last_written = self._inputs(state.x_state).permute(0, 2, 3, 1) @ state.B_state.transpose(1, 2)
        y, ssm_state = ssd.scan(
            inputs.flatten(1, 2),
            both,
            log_decay,
            B.flatten(1, 2),
            C.flatten(1, 2),
            state.ssm_state + next_time[:, 0, :, None, None] * last_written,
            at_once[..., None, None] * own + self.D[:, None, None] * torch.eye(self.rank, device=x.device),
            strict=True,
            chunk_size=self.chunk_size,
        )
        y = self.out_proj(self._finish(y.unflatten(1, (-1, self.rank)), z).to(x.dtype))
        return (y, State(angles[:, -1], ssm_state, B[:, -1], u[:, -1])) if return_state else y

    def step(self, x, state: State):
        """Read one position, ``(batch, d_model)``: returns ``(y, state)``, y in the shape of x.

        The same as ``forward`` over a sequence of length 1, as one would write it down.
        """
        check_input(x, 2, self.d_model)
        z, u, B, C, dt, log_decay, weight, turns = self._select(x)
        angles = self._add(state.angle_state, turns.unsqueeze(1)).squeeze(1)
        turn = self._turn(angles)
        B, C = self._turned(B, turn), self._turned(C, turn)
        earlier, now = (  # (batch, heads, headdim, d_state)
            torch.einsum("brhp,brhn->bhpn", self._inputs(inputs), form)
            for inputs, form in ((state.x_state, state.B_state), (u, B))
        )
        a, dt, weight = (factor[..., None, None] for factor in (log_decay.exp(), dt, weight))
        ssm_state = a * state.ssm_state + (1 - weight) * dt * a * earlier + weight * dt * now
        y = torch.einsum("bhpn,brhn->brhp", ssm_state, C) + self.D.unsqueeze(-1) * self._inputs(u)
        return self.out_proj(self._finish(y, z).to(x.dtype)), State(angles, ssm_state, B, u)

    def _select(self, x):
        """What the block makes of its input, ``(..., d_model)``, in float32 at least:

        z ``(..., d_inner)``; u, its own input, ``(..., heads, headdim)``; B and C, not yet turned, ``(..., rank, heads,
        d_state)``; dt, the logarithm of the decay and lambda, ``(..., heads)``; by how much each pair is turned here,
        ``(..., heads, angles)``.
        """
        z, u, B, C, narrow = (precise(part) for part in project(self.in_proj, x, self.sizes))
        heads, each = len(self.D), len(self.D) // self.ngroups
        dt, A, weight, angles = narrow.split([heads, heads, heads, self.angles], -1)
        B, C = (
            norm(form.unflatten(-1, (self.rank, self.ngroups, self.d_state))).repeat_interleave(each, -2)
            + bias.transpose(0, 1)
            for norm, form, bias in ((self.B_norm, B, self.B_bias), (self.C_norm, C, self.C_bias))
        )
        dt = F.softplus(dt + self.dt_bias)
        A = -F.softplus(A).clamp(min=self.A_floor)
        turns = dt.unsqueeze(-1) * (math.pi * torch.tanh(angles)).unsqueeze(-2)
        return z, u.unflatten(-1, (-1, self.headdim)), B, C, dt, A * dt, torch.sigmoid(weight), turns

    @staticmethod
    def _add(before, turns):
        """The angles at every position, ``(batch, length, heads, angles)``, from 0 to 2 pi.

        In float64, where there is one: a sum of many angles keeps its digits there, and what is kept of it is small.
        """
        dtype = torch.float32 if turns.device.type == "mps" else torch.float64
        return (before.unsqueeze(1) + turns.cumsum(1, dtype=dtype)).remainder(2 * math.pi).to(turns.dtype)

    def _turn(self, angles):
        """``exp(i angle)`` for every pair, complex ``(..., 1, heads, d_state / 2)``; past the angles, 1."""
        angles = F.pad(angles, (0, self.d_state // 2 - self.angles)).unsqueeze(-3)
        return torch.polar(torch.ones_like(angles), angles)

    def _turned(self, form, turn):
        """B or C, ``(..., rank, heads, d_state)``, with each pair of its numbers turned as a complex number.

        A pair is number 2i and number 2i + 1; with ``is_mimo``, as upstream has it, number i and i + d_state / 2.
        """
        if self.is_mimo:
            return torch.view_as_real(torch.complex(*form.chunk(2, -1)) * turn).mT.flatten(-2)
        return torch.view_as_real(torch.view_as_complex(form.unflatten(-1, (-1, 2))) * turn).flatten(-2)

    def _inputs(self, u):
        """What is written into the state, ``(..., rank, heads, headdim)``."""
        return u.unsqueeze(-3) * self.mimo_x.transpose(0, 1) if self.is_mimo else u.unsqueeze(-3)

    def _finish(self, y, z):
        """Norm, gate, and one output in place of ``rank``: ``(..., rank, heads, headdim)`` to ``(..., d_inner)``."""
        z = z.unflatten(-1, (-1, self.headdim)).unsqueeze(-3)
        if self.is_mimo:
            z = z * self.mimo_z.transpose(0, 1)
        if self.norm is None:
            y = y * F.silu(z)
        else:
            y = self.norm(y.flatten(-2), z.flatten(-2)).view_as(y)
        if self.is_mimo:
            y = y * self.mimo_o.transpose(0, 1)
        return y.sum(-3).flatten(-2)
