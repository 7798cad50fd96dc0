"""Diagonal S4: the linear, time-invariant state space layer that Mamba came from.

Source: Gu, Gupta, Goel and Re, "On the Parameterization and Initialization of Diagonal State Space Models", arXiv
2206.11893: the model and its kernel in section 3, the initial A ("S4D-Lin") in section 4. Around it is what S4's
authors put there: a skip connection, GELU, and a linear layer with a gated linear unit.
"""

import math

import torch
from torch import nn

from helpers.layers.glu import GLU
from helpers.layers.precision import Float32Parameters


class S4D(Float32Parameters):
    """One S4D layer, ``(batch, length, d_model)`` to ``(batch, length, d_model)``, with the interface of ``Mamba``.

    Every channel has a state space model of its own, with fixed A, B, C and step size. The channels are mixed after
    it, position by position, by a :class:`GLU`.

    B is one: only the products of its entries with those of C matter (section 3), and C is learned. So the layer has
    ``d_model * (2 * d_state + 2)`` parameters in the models, and ``2 * d_model * (d_model + 1)`` in the GLU.

    Args:
        d_model: width of the sequence that comes in and goes out.
        d_state: order of each channel's model, even. The states are complex and come in conjugate pairs, of which one
            is kept: ``d_state / 2`` complex numbers.
        dt_min, dt_max: bounds between which the initial step sizes are drawn, log-uniformly.

    Raises:
        ValueError: if ``d_state`` is not a positive even number.
    """

    # Names of parameters that the optimizer treats differently; see helpers.train.make_optimizers.
    ssm_parameters = ("log_dt", "log_A_real", "A_imag", "C")
    no_weight_decay = ("log_dt", "log_A_real", "A_imag", "D")
    no_muon = ()
    float32_parameters = ("log_dt", "log_A_real", "A_imag", "C", "D")

    def __init__(self, d_model, d_state=64, dt_min=0.001, dt_max=0.1):
        super().__init__()
        if d_state < 2 or d_state % 2:
            raise ValueError(f"d_state must be even and at least 2, got {d_state}")
        half = d_state // 2
        self.log_dt = nn.Parameter(torch.empty(d_model).uniform_(math.log(dt_min), math.log(dt_max)))
        # S4D-Lin: A = -1/2 + i pi n. The real part is kept as a logarithm, so that it stays negative in training.
        self.log_A_real = nn.Parameter(torch.full((d_model, half), math.log(0.5)))
        self.A_imag = nn.Parameter(math.pi * torch.arange(half).repeat(d_model, 1))
        self.C = nn.Parameter(torch.randn(d_model, half, 2) / math.sqrt(2))  # real and imaginary part, variance 1
        self.D = nn.Parameter(torch.randn(d_model))
        self.glu = GLU(d_model)

    def discretize(self):
        """Zero-order hold, with B = 1. Return ``dt * A`` and ``B_bar``, both complex ``(d_model, d_state / 2)``.

        ``A_bar`` is the exponential of the first; its powers are taken before the exponential, which is more accurate.
        """
        A = torch.complex(-torch.exp(self.log_A_real), self.A_imag)
        dtA = torch.exp(self.log_dt).unsqueeze(-1) * A
        return dtA, torch.expm1(dtA) / A  # where the step is small, exp(dtA) - 1 would lose digits that expm1 keeps

    def kernel(self, length):
        """Return ``K``, real ``(d_model, length)``: ``K[:, t]`` is what an input of 1 does to the output t steps later.

        Section 3: the product of ``C * B_bar`` with the Vandermonde matrix of A_bar, and twice the real part. D is
        not in it. Power ``side * i + j`` is one number for i times one for j. So the matrix, with its ``d_state *
        length`` exponentials, is never made: a product of two small ones takes its place.
        """
        dtA, B_bar = self.discretize()
        side = math.isqrt(length - 1) + 1
        coarse = (self._C() * B_bar).unsqueeze(-1) * _powers(side * dtA, side)  # (d_model, d_state / 2, side)
        return 2 * (coarse.mT @ _powers(dtA, side)).real.flatten(1)[:, :length]

    def ssm(self, x, state=None, return_state=False):
        """The linear part alone: the state space models and their skip connection. Arguments as in ``forward``."""
        if x.dim() != 3 or x.shape[1] == 0 or x.shape[2] != len(self.D):
            raise ValueError(f"x must be (batch, length, d_model = {len(self.D)}), got {tuple(x.shape)}")
        length = x.shape[1]
        u = x.mT.to(self.D.dtype)  # (batch, d_model, length)
        y = causal_convolution(u, self.kernel(length)) + self.D.unsqueeze(-1) * u
        if state is None and not return_state:
            return y.mT.to(x.dtype)
        state = self.initial_state(len(x)) if state is None else self._checked(state, len(x))
        dtA, B_bar = self.discretize()
        powers = _powers(dtA, length + 1)  # (d_model, d_state / 2, length + 1)
        y = y + 2 * torch.einsum("hn,bhn,hnl->bhl", self._C(), state, powers[..., 1:]).real
        entered = B_bar * torch.einsum("bhl,hnl->bhn", u.to(state.dtype), powers[..., :-1].flip(-1))
        state = powers[..., -1] * state + entered
        return (y.mT.to(x.dtype), state) if return_state else y.mT.to(x.dtype)

    def forward(self, x, state=None, return_state=False):
        """Read a sequence at once.

        Args:
            x: ``(batch, length, d_model)``; position t of the result sees positions 0 to t. Computed in the precision
                of the parameters, float32 or float64.
            state: complex ``(batch, d_model, d_state / 2)``, what was read before. Default: nothing.
            return_state: return ``(y, state)``, to go on from there.

        Returns:
            ``(batch, length, d_model)``, and the state if it is asked for.

        Raises:
            ValueError: naming the argument, what it was and what it must be.
        """
        if return_state:
            y, state = self.ssm(x, state, return_state=True)
            return self.glu(y), state
        return self.glu(self.ssm(x, state))

    def initial_state(self, batch):
        """Return the state before the first position: complex zeros ``(batch, d_model, d_state / 2)``."""
        return torch.zeros(batch, *self.A_imag.shape, dtype=self.D.dtype.to_complex(), device=self.D.device)

    def step(self, x, state):
        """Read one position: ``x`` is ``(batch, d_model)``. Return ``(y, state)``, ``y`` of the shape of ``x``."""
        if x.dim() != 2 or x.shape[1] != len(self.D):
            raise ValueError(f"x must be (batch, d_model = {len(self.D)}), got {tuple(x.shape)}")
        dtA, B_bar = self.discretize()
        u = x.to(self.D.dtype)
        state = torch.exp(dtA) * self._checked(state, len(x)) + B_bar * u.unsqueeze(-1)
        y = 2 * (self._C() * state).sum(-1).real + self.D * u
        return self.glu(y.to(x.dtype)), state

    def _C(self):
        return torch.view_as_complex(self.C)

    def _checked(self, state, batch):
        shape = (batch, *self.A_imag.shape)
        if tuple(state.shape) != shape or not state.is_complex():
            raise ValueError(f"state must be complex {shape}, got {tuple(state.shape)}, {state.dtype}")
        return state


def _powers(dtA, length):
    """The Vandermonde matrix: the powers 0 to ``length - 1`` of ``exp(dtA)``, along a new last axis."""
    return torch.exp(dtA.unsqueeze(-1) * torch.arange(length, device=dtA.device))


def causal_convolution(u, K):
    """Convolve along the last axis through the FFT: ``y[..., t]`` is the sum of ``K[..., s] * u[..., t - s]``, s <= t.

    ``u`` is real ``(..., length)``, and so is the result; ``K`` is ``(length,)``, or anything that broadcasts. A
    discrete Fourier transform convolves in a circle; zeros after the sequence keep its end away from its beginning.
    """
    n = 2 * u.shape[-1]
    return torch.fft.irfft(torch.fft.rfft(u, n) * torch.fft.rfft(K, n), n)[..., : u.shape[-1]]
