"""The diagonal state space layer, against the continuous system solved with matrix exponentials, and its properties."""

import math

import numpy as np
import pytest
import torch
from scan_cases import error
from torch.func import functional_call

from helpers.layers.s4d import S4D, causal_convolution

BOUND = {torch.float32: 1e-5, torch.float64: 1e-12}


def layer(d_model=5, d_state=8, dtype=torch.float64, seed=0):
    """A layer whose parameters have all left their initial values, and differ from channel to channel."""
    torch.manual_seed(seed)
    made = S4D(d_model, d_state, dt_min=0.01, dt_max=0.3).to(dtype)
    with torch.no_grad():
        for parameter in made.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return made


def data(batch, length, d_model=5, dtype=torch.float64, seed=1):
    return torch.randn(batch, length, d_model, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def some_state(made, batch, seed=2):
    return torch.randn(batch, *made.A_imag.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.complex128)


def oracle(made, x, state):
    """Real and dense, in float64, one position at a time; only the parameters are taken from the layer.

    A complex number of the state, real part r and imaginary part i, is two real ones under the matrix
    ``[[Re A, -Im A], [Im A, Re A]]``. Over a step in which the input does not change, ``(h, u)`` obeys a linear
    equation with the matrix ``[[A, B], [0, 0]]``, so its exponential holds A_bar and B_bar.
    """
    p = {name: value.detach().double().numpy() for name, value in made.named_parameters()}
    x, state = x.double().numpy(), state.to(torch.complex128).numpy()
    batch, length, d_model = x.shape
    half = p["A_imag"].shape[1]
    y = np.zeros(x.shape)
    last = np.zeros(state.shape, dtype=complex)
    for c in range(d_model):
        system = np.zeros((2 * half + 1, 2 * half + 1))
        for n in range(half):
            decay, turn = -math.exp(p["log_A_real"][c, n]), p["A_imag"][c, n]
            system[2 * n : 2 * n + 2, 2 * n : 2 * n + 2] = [[decay, -turn], [turn, decay]]
            system[2 * n, -1] = 1
        solved = torch.linalg.matrix_exp(torch.from_numpy(math.exp(p["log_dt"][c]) * system)).numpy()
        A_bar, B_bar = solved[:-1, :-1], solved[:-1, -1]
        C = np.stack([2 * p["C"][c, :, 0], -2 * p["C"][c, :, 1]], axis=1).reshape(-1)
        for b in range(batch):
            h = np.stack([state[b, c].real, state[b, c].imag], axis=1).reshape(-1)
            for t in range(length):
                h = A_bar @ h + B_bar * x[b, t, c]
                y[b, t, c] = C @ h + p["D"][c] * x[b, t, c]
            last[b, c] = h[0::2] + 1j * h[1::2]
    normal = np.vectorize(lambda v: 0.5 * (1 + math.erf(v / math.sqrt(2))))
    mixed = (y * normal(y)) @ p["glu.1.weight"].T + p["glu.1.bias"]
    value, gate = mixed[..., :d_model], mixed[..., d_model:]
    return torch.from_numpy(y), torch.from_numpy(value / (1 + np.exp(-gate))), torch.from_numpy(last)


@pytest.mark.parametrize("dtype", BOUND)
@pytest.mark.parametrize("length", [1, 2, 37])
def test_equals_the_matrix_exponential(length, dtype):
    made, x = layer(dtype=dtype), data(3, length, dtype=dtype)
    state = some_state(made, 3).to(dtype.to_complex())
    linear, expected, last = oracle(made, x, state)
    assert error(made.ssm(x, state), linear) < BOUND[dtype]
    y, after = made(x, state, return_state=True)
    assert y.dtype == dtype and after.dtype == dtype.to_complex()
    assert error(y, expected) < BOUND[dtype]
    assert error(after, last) < BOUND[dtype]


def test_linear_and_time_invariant():
    made, x, other = layer(), data(2, 40), data(2, 40, seed=3)
    state, another = some_state(made, 2), some_state(made, 2, seed=4)
    joint = made.ssm(2 * x - 3 * other, 2 * state - 3 * another)
    assert error(joint, 2 * made.ssm(x, state) - 3 * made.ssm(other, another)) < 1e-12
    later = torch.cat([torch.zeros(2, 7, 5, dtype=x.dtype), x], dim=1)
    assert error(made.ssm(later)[:, 7:], made.ssm(x)) < 1e-12


def test_kernel_is_the_impulse_response():
    made = layer()
    impulse = torch.zeros(1, 30, 5, dtype=torch.float64)
    impulse[:, 0] = 1
    response = oracle(made, impulse, made.initial_state(1))[0][0].T.clone()
    response[:, 0] -= made.D.detach()
    assert error(made.kernel(30), response) < 1e-12


def test_causal_convolution_equals_numpy():
    u, K = data(1, 23, 2)[0].T, data(1, 23, 2, seed=5)[0].T
    expected = [np.convolve(one, other)[:23] for one, other in zip(u.numpy(), K.numpy(), strict=True)]
    assert error(causal_convolution(u, K), torch.tensor(np.array(expected))) < 1e-13


def test_one_kernel_for_all_channels_and_the_state_before_the_first_position():
    u, K = data(1, 23, 2).mT, data(1, 23, 1)[0, :, 0]
    assert torch.equal(causal_convolution(u, K), causal_convolution(u, K.expand(1, 2, 23)))
    state = layer().initial_state(3)
    assert state.shape == (3, 5, 4) and state.dtype == torch.complex128 and not state.any()


def test_gradients():
    made, x = layer(d_model=2, d_state=4), data(2, 5, 2).requires_grad_()
    names, values = zip(*made.named_parameters(), strict=True)

    def run(x, state, *values):
        return functional_call(made, dict(zip(names, values, strict=True)), (x, state, True))

    assert torch.autograd.gradcheck(run, (x, some_state(made, 2).requires_grad_(), *values))


def test_long_sequences_and_extreme_steps_stay_finite():
    made = layer(d_model=2, dtype=torch.float32)
    for log_dt in (-20.0, 0.0, 10.0):
        torch.nn.init.constant_(made.log_dt, log_dt)
        made.zero_grad()
        y, state = made(data(1, 50_000, 2, torch.float32), return_state=True)
        (y.mean() + state.abs().mean()).backward()
        assert y.isfinite().all() and state.isfinite().all()
        assert all(parameter.grad.isfinite().all() for parameter in made.parameters())


def test_small_steps_keep_their_digits():
    """In float32, ``exp(dt * A) - 1`` is wrong in the third digit here."""
    made = S4D(4, dt_min=1e-6, dt_max=1e-5)
    B_bar = made.discretize()[1]
    assert error(B_bar, made.double().discretize()[1]) < 1e-6


def test_initial_values():
    torch.manual_seed(0)
    made = S4D(1000, d_state=6)
    A = torch.complex(-torch.exp(made.log_A_real), made.A_imag)[17].detach()
    torch.testing.assert_close(A, torch.tensor([-0.5, -0.5 + math.pi * 1j, -0.5 + 2 * math.pi * 1j]))
    dt = made.log_dt.detach().exp()
    assert 0.001 <= dt.min() < 0.0011 and 0.09 < dt.max() <= 0.1
    assert 0.4 < (dt < 0.01).float().mean() < 0.6  # half of them below the geometric mean: log-uniform
    assert 0.9 < torch.view_as_complex(made.C.detach()).abs().square().mean() < 1.1
    assert sum(p.numel() for p in made.parameters()) == 1000 * (2 * 6 + 2) + 2 * 1000 * 1001


def test_half_precision_comes_and_goes():
    made, x = layer(dtype=torch.float32), data(2, 20, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = made(x.bfloat16(), return_state=True)
    assert y.dtype == torch.bfloat16 and state.dtype == torch.complex64
    assert error(y.float(), made(x)) < 0.05


@pytest.mark.parametrize("d_state", [0, 1, 7, -2])
def test_odd_states_are_refused(d_state):
    with pytest.raises(ValueError, match=f"d_state must be even and at least 2, got {d_state}"):
        S4D(4, d_state)


@pytest.mark.parametrize(
    "wrong, message",
    [
        (lambda made: made(torch.zeros(2, 3)), r"x must be \(batch, length, d_model = 5\), got \(2, 3\)"),
        (lambda made: made(torch.zeros(2, 5, 3)), r"x must be .*got \(2, 5, 3\)"),
        (lambda made: made(torch.zeros(2, 0, 5)), r"x must be .*got \(2, 0, 5\)"),
        (lambda made: made.step(torch.zeros(2, 1, 5), made.initial_state(2)), r"x must be \(batch, d_model = 5\), got"),
        (lambda made: made(torch.zeros(2, 3, 5), made.initial_state(1)), r"state must be complex \(2, 5, 4\), got \(1"),
        (lambda made: made.step(torch.zeros(2, 5), torch.zeros(2, 5, 4)), r"state must be complex .*torch.float32"),
    ],
)
def test_wrong_arguments_are_named(wrong, message):
    with pytest.raises(ValueError, match=message):
        wrong(layer(dtype=torch.float32))
