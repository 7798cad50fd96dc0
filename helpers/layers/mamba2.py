"""The Mamba-2 block: one projection, a short convolution over x, B and C, the scan with one decay a head, a gated norm.

Source: Dao and Gu, "Transformers are SSMs", arXiv 2405.21060, section 7.1 and figure 6. Parameters have the names and
shapes of ``mamba_ssm.Mamba2``, so that a ``state_dict`` moves between the two unchanged.
"""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn

from helpers.layers.block import check_input, initial_step_bias
from helpers.layers.precision import Float32Parameters, precise
from helpers.layers.projection import project
from helpers.layers.short_conv import convolve, convolve_step, next_state
from helpers.ssd import ssd


class State(NamedTuple):
    """All that a block keeps of what it has read."""

    conv_state: torch.Tensor  # (batch, conv_dim, d_conv - 1), the last inputs of the convolution
    ssm_state: torch.Tensor  # (batch, heads, headdim, d_state), the state of the scan


class GatedRMSNorm(nn.Module):
    """``x * silu(z)`` divided by its root mean square in each group of channels (or x alone, gated after that).

    Args:
        d_model: channels.
        group_size: channels that are normalized together.
        norm_before_gate: gate what was normalized, in place of normalizing what was gated.
    """

    def __init__(self, d_model, group_size=None, norm_before_gate=False):
        super().__init__()
        self.group_size, self.norm_before_gate = group_size or d_model, norm_before_gate
        self.weight = nn.Parameter(torch.ones(d_model))

    def forward(self, x, z=None):
        """``(..., d_model)`` to the same; computed in float32 at least."""
        y, gate = precise(x), None if z is None else F.silu(precise(z))
        if gate is not None and not self.norm_before_gate:
            y = y * gate
        groups = y.unflatten(-1, (-1, self.group_size))
        y = F.rms_norm(groups, (self.group_size,), eps=1e-5).flatten(-2) * precise(self.weight)
        if gate is not None and self.norm_before_gate:
            y = y * gate
        return y.to(x.dtype)


class Mamba2(Float32Parameters):
    """One Mamba-2 block, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    ``forward`` reads a whole sequence at once, ``step`` one position; both can start from a state that either of them
    returned. ``A_log``, ``D`` and ``dt_bias`` stay in float32 when the block is cast.

    Args:
        d_model: width of the sequence that comes in and goes out.
        d_state: numbers that each channel remembers.
        d_conv: taps of the causal convolution.
        conv_init: bound of the uniform distribution that the convolution's weights start from. Default: PyTorch's.
        expand: the block works on ``d_inner = expand * d_model`` channels.
        headdim: channels of a head, all of which decay alike.
        d_ssm: channels that go through the scan; the others form a gated linear unit next to it. Default: all.
        ngroups: groups of heads with a B and a C of their own.
        A_init_range: bounds between which the initial decay rates are drawn, uniformly.
        D_has_hdim: a skip weight for each channel, in place of one for each head.
        rmsnorm: normalize the gated output (section 7.1). Otherwise it is only gated.
        norm_before_gate: see :class:`GatedRMSNorm`.
        dt_min, dt_max: bounds between which the initial step sizes are drawn, log-uniformly.
        dt_init_floor: smallest initial step size.
        dt_limit: bounds to which every step size is clamped.
        bias, conv_bias: biases of the two projections, and of the convolution.
        chunk_size: positions in a chunk, see :func:`helpers.ssd.ssd`. (28 is fast on a CPU; upstream's
            default, 256, is for a GPU.)

    Raises:
        ValueError: if the sizes do not fit together.
    """

    # Names of parameters that the optimizer treats differently; see helpers.train.make_optimizers.
    ssm_parameters = ("A_log", "dt_bias")
    no_weight_decay = ("A_log", "D", "dt_bias")
    no_muon = ()
    float32_parameters = ("A_log", "D", "dt_bias")

    def __init__(
        self,
        d_model,
        d_state=128,
        d_conv=4,
        conv_init=None,
        expand=2,
        headdim=64,
        d_ssm=None,
        ngroups=1,
        A_init_range=(1, 16),
        D_has_hdim=False,
        rmsnorm=True,
        norm_before_gate=False,
        dt_min=0.001,
        dt_max=0.1,
        dt_init_floor=1e-4,
        dt_limit=(0.0, math.inf),
        bias=False,
        conv_bias=True,
        chunk_size=28,
    ):
        super().__init__()
        d_inner = int(expand * d_model)
        d_ssm = d_inner if d_ssm is None else d_ssm
        if not 0 < d_ssm <= d_inner or d_ssm % headdim:
            raise ValueError(
                f"d_ssm must be a multiple of headdim = {headdim}, at most expand * d_model = {d_inner}, got {d_ssm}"
            )
        heads = d_ssm // headdim
        if heads % ngroups:
            raise ValueError(f"ngroups must divide the {heads} heads, got {ngroups}")
        self.d_model, self.d_inner, self.d_ssm, self.d_state, self.d_conv = d_model, d_inner, d_ssm, d_state, d_conv
        self.headdim, self.ngroups, self.dt_limit, self.chunk_size = headdim, ngroups, tuple(dt_limit), chunk_size
        # In upstream's order, so that one seed gives both the same weights.
        rest = d_inner - d_ssm
        conv_dim = d_ssm + 2 * ngroups * d_state
        self.sizes = [rest, rest, d_ssm, conv_dim, heads]  # of what the first projection makes
        self.in_proj = nn.Linear(d_model, sum(self.sizes), bias=bias)
        self.conv1d = nn.Conv1d(conv_dim, conv_dim, d_conv, groups=conv_dim, padding=d_conv - 1, bias=conv_bias)
        if conv_init is not None:
            nn.init.uniform_(self.conv1d.weight, -conv_init, conv_init)
        self.dt_bias = nn.Parameter(initial_step_bias(heads, dt_min, dt_max, dt_init_floor))
        self.A_log = nn.Parameter(torch.log(torch.empty(heads).uniform_(*A_init_range)))
        self.D = nn.Parameter(torch.ones(d_ssm if D_has_hdim else heads))
        self.norm = GatedRMSNorm(d_ssm, d_ssm // ngroups, norm_before_gate) if rmsnorm else None
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)

    def initial_state(self, batch: int) -> State:
        """The state before anything was read: zeros."""
        conv_state = self.D.new_zeros(batch, self.sizes[3], self.d_conv - 1)
        return State(conv_state, self.D.new_zeros(batch, len(self.A_log), self.headdim, self.d_state))

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
        if state is None and return_state:
            state = self.initial_state(len(x))
        conv_state, ssm_state = state or (None, None)
        z0, x0, z, xBC, dt = project(self.in_proj, x, self.sizes)
        u, B, C = self._heads(convolve(self.conv1d, xBC.mT, conv_state).mT)
        y, ssm_state = ssd(
            u,
            dt,
            -torch.exp(precise(self.A_log)),
            B,
            C,
            self._D(),
            z=self._in_heads(z) if self.norm is None else None,
            dt_bias=self.dt_bias,
            dt_softplus=True,
            dt_limit=self.dt_limit,
            chunk_size=self.chunk_size,
            initial_state=ssm_state,
            return_last_state=True,
        )
        y = self._finish(y.flatten(-2), z, z0, x0)
        return (y, State(next_state(conv_state, xBC.mT), ssm_state)) if return_state else y

    def step(self, x, state: State):
        """Read one position, ``(batch, d_model)``: returns ``(y, state)``, y in the shape of x.

        The same as ``forward`` over a sequence of length 1, as one would write it down.
        """
        check_input(x, 2, self.d_model)
        conv_state, ssm_state = state
        z0, x0, z, xBC, dt = project(self.in_proj, x, self.sizes)
        xBC, conv_state = convolve_step(self.conv1d, xBC, conv_state)
        u, B, C = (precise(part) for part in self._heads(xBC))
        each = len(self.A_log) // self.ngroups
        B, C = (form.repeat_interleave(each, dim=-2).unsqueeze(-2) for form in (B, C))  # (batch, heads, 1, d_state)
        dt = F.softplus(precise(dt) + precise(self.dt_bias)).clamp(*self.dt_limit)[..., None, None]
        decay = torch.exp(-dt.squeeze(-1).squeeze(-1) * torch.exp(precise(self.A_log)))[..., None, None]
        ssm_state = decay * ssm_state + dt * u.unsqueeze(-1) * B
        D = self._D()
        y = (ssm_state * C).sum(-1) + precise(D if D.dim() == 2 else D.unsqueeze(-1)) * u
        if self.norm is None:
            y = y * F.silu(precise(self._in_heads(z)))
        return self._finish(y.flatten(-2).to(x.dtype), z, z0, x0), State(conv_state, ssm_state)

    def _heads(self, xBC):
        """x in heads, B and C in groups, each with its channels last."""
        states = self.ngroups * self.d_state
        x, B, C = xBC.split([self.d_ssm, states, states], -1)
        return self._in_heads(x), *(form.unflatten(-1, (self.ngroups, self.d_state)) for form in (B, C))

    def _in_heads(self, x):
        return x.unflatten(-1, (-1, self.headdim))

    def _D(self):
        return self.D if len(self.D) == len(self.A_log) else self._in_heads(self.D)

    def _finish(self, y, z, z0, x0):
        if self.norm is not None:
            y = self.norm(y, z)
        if self.d_ssm < self.d_inner:
            y = torch.cat([F.silu(z0) * x0, y.to(x0.dtype)], -1)
        return self.out_proj(y)
