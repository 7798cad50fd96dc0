"""The Mamba block: two projections, a short convolution, the selective scan and a gate.

Source: Gu and Dao, arXiv 2312.00752, section 3.4 and figure 3. Parameters have the names and shapes of
``mamba_ssm.Mamba``, so that a ``state_dict`` moves between the two unchanged.
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
from helpers.layers.untouched import is_untouched
from helpers.scan import selective_scan


class State(NamedTuple):
    """All that a block keeps of what it has read."""

    conv_state: torch.Tensor  # (batch, d_inner, d_conv - 1), the last inputs of the convolution
    ssm_state: torch.Tensor  # (batch, d_inner, d_state), the state of the scan
    position: int = 0  # how many positions it has read


class Mamba(Float32Parameters):
    """One Mamba block, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    ``forward`` reads a whole sequence at once, ``step`` one position; both can start from a state that either of them
    returned. The fast kernels read the weights of the projections and of the convolution; a module that was replaced,
    or has hooks, is called instead. ``A_log`` and ``D`` stay in float32 when the block is cast.

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

    Raises:
        ValueError: naming the argument, what it was and what it must be.
    """

    # Names of parameters that the optimizer treats differently; see helpers.train.make_optimizers.
    ssm_parameters = ("A_log", "x_proj.weight", "dt_proj.weight", "dt_proj.bias")  # what the recurrence is made of
    no_weight_decay = ("A_log", "D")
    no_muon = ("dt_proj.weight",)  # measured: with Muon it learns worse than without
    float32_parameters = ("A_log", "D")

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
        self.d_model, self.d_inner, self.d_state, self.d_conv = d_model, d_inner, d_state, d_conv
        self.dt_rank = math.ceil(d_model / 16) if dt_rank == "auto" else dt_rank
        # In upstream's order, so that one seed gives both the same weights.
        self.in_proj = nn.Linear(d_model, 2 * d_inner, bias=bias)
        self.conv1d = nn.Conv1d(d_inner, d_inner, d_conv, groups=d_inner, padding=d_conv - 1, bias=conv_bias)
        self.x_proj = nn.Linear(d_inner, self.dt_rank + 2 * d_state, bias=False)
        self.dt_proj = nn.Linear(self.dt_rank, d_inner)
        scale = self.dt_rank**-0.5 * dt_scale
        if dt_init == "random":
            nn.init.uniform_(self.dt_proj.weight, -scale, scale)
        elif dt_init == "constant":
            nn.init.constant_(self.dt_proj.weight, scale)
        else:
            raise ValueError(f"dt_init must be 'random' or 'constant', got {dt_init!r}")
        with torch.no_grad():
            self.dt_proj.bias.copy_(initial_step_bias(d_inner, dt_min, dt_max, dt_init_floor))

        # S4D-real: A = -1, -2, ..., -d_state in every channel. Kept as a logarithm, A stays negative in training.
        self.A_log = nn.Parameter(torch.log(torch.arange(1.0, d_state + 1)).repeat(d_inner, 1))
        self.D = nn.Parameter(torch.ones(d_inner))
        self.out_proj = nn.Linear(d_inner, d_model, bias=bias)

    def initial_state(self, batch: int) -> State:
        """The state before anything was read: zeros."""
        d_inner = len(self.D)
        conv_state = self.D.new_zeros(batch, d_inner, self.d_conv - 1)
        return State(conv_state, self.D.new_zeros(batch, d_inner, self.d_state))

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
        conv_state, ssm_state, position = state or (None, None, 0)
        x, z = self._project(x)
        u = convolve(self.conv1d, x.mT, conv_state)  # (batch, d_inner, length)
        dt, B, C = self._select(u.mT, position)
        delta, delta_bias = self._raw_step_sizes(dt)
        y = selective_scan(
            u,
            delta.mT,
            self._A(),
            B.mT,
            C.mT,
            precise(self.D),
            z=z.mT,
            delta_bias=delta_bias,
            delta_softplus=True,
            return_last_state=return_state,
            initial_state=ssm_state,
        )
        if not return_state:
            return self.out_proj(y.mT)
        y, ssm_state = y
        return self.out_proj(y.mT), State(next_state(conv_state, x.mT), ssm_state, position + x.shape[1])

    def step(self, x, state: State):
        """Read one position, ``(batch, d_model)``: returns ``(y, state)``, y in the shape of x.

        The same as ``forward`` over a sequence of length 1, as one would write it down: nothing here is fused.
        """
        check_input(x, 2, self.d_model)
        conv_state, ssm_state, position = state
        x, z = self._project(x)  # (batch, d_inner)
        u, conv_state = convolve_step(self.conv1d, x, conv_state)
        dt, B, C = self._select(u, position)
        delta = self._step_sizes(dt).unsqueeze(-1)
        drive = delta * u.unsqueeze(-1) * B.unsqueeze(1)
        ssm_state = torch.exp(delta * self._A()) * ssm_state + drive  # (batch, d_inner, d_state)
        y = (ssm_state * C.unsqueeze(1)).sum(-1) + precise(self.D) * u
        y = (y * F.silu(precise(z))).to(x.dtype)
        return self.out_proj(y), State(conv_state, ssm_state, position + 1)

    def step_sizes(self, x):
        """The step sizes that the block chooses at every position of a sequence: ``(batch, length, d_inner)``, float32.

        Args:
            x: ``(batch, length, d_model)``, read from the initial state.
        """
        check_input(x, 3, self.d_model)
        x, _ = self._project(x)
        dt, _, _ = self._select(convolve(self.conv1d, x.mT).mT, 0)
        return self._step_sizes(dt)

    def _A(self):
        return -torch.exp(precise(self.A_log))

    def _project(self, x):
        """What is convolved, and the gate."""
        return project(self.in_proj, x, [self.d_inner, self.d_inner])

    def _select(self, u, position):
        """The step size before its last map, B and C, all of them made from the input: the selection.

        ``position`` is that of the first input. Here it does not matter.
        """
        # In one product, unlike the input's: it has so few columns that reading u three times would take longer.
        return self.x_proj(u).split([self.dt_rank, self.d_state, self.d_state], -1)

    def _step_sizes(self, dt):
        delta, bias = self._raw_step_sizes(dt)
        return F.softplus(precise(delta) if bias is None else precise(delta) + bias)

    def _raw_step_sizes(self, dt):
        """The last map of the step sizes, and the bias that is still to be added, before softplus.

        The matrix is made contiguous: its gradient is then a product of a few long rows, for which MKL has a fast way,
        and not of many short ones, for which it takes ten times as long.
        """
        if not is_untouched(self.dt_proj, nn.Linear):
            return self.dt_proj(dt), None
        return dt @ self.dt_proj.weight.T.contiguous(), precise(self.dt_proj.bias)


class Memoryless(Mamba):
    """A Mamba block whose state forgets everything at every step, ``exp(delta A) = 0``, and cannot learn otherwise.

    What it still sees of the past is what its convolution sees: the last ``d_conv`` positions.
    """

    def __init__(self, d_model, **options):
        super().__init__(d_model, **options)
        self.A_log.requires_grad_(False).fill_(30.0)  # A = -exp(30)
