"""Every backend of the selective scan, against an oracle that shares no code with it, and against upstream."""

import importlib.util
import subprocess
import sys
import time

import oracle
import pytest
import torch

from helpers.scan import associative, backends, reference, selective_scan

BACKENDS = backends("cpu")
BATCH, DIM, D_STATE = 2, 4, 3


def arguments(length=9, form="varying", complex_A=False, dtype=torch.float64, seed=0):
    """All arguments of a scan, by name."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=dtype):
        return torch.randn(*shape, generator=g, dtype=dtype)

    A = -torch.rand(DIM, D_STATE, generator=g, dtype=dtype) - 0.1
    if complex_A:
        A = torch.complex(A, normal(DIM, D_STATE))
    entries = length * (2 if complex_A else 1)
    shape = {"fixed": (DIM, D_STATE), "varying": (BATCH, D_STATE, entries), "groups": (BATCH, 2, D_STATE, entries)}[
        form
    ]
    kind = A.dtype if form == "fixed" else dtype
    return {
        "u": normal(BATCH, DIM, length),
        "delta": normal(BATCH, DIM, length),
        "A": A,
        "B": normal(*shape, dtype=kind),
        "C": normal(*shape, dtype=kind),
        "D": normal(DIM),
        "z": normal(BATCH, DIM, length),
        "delta_bias": normal(DIM),
        "initial_state": normal(BATCH, DIM, D_STATE, dtype=A.dtype),
    }


def error(x, y):
    return ((x - y).abs().max() / y.abs().max()).item()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias", "initial_state"), ("D", "z", "initial_state")])
def test_against_the_oracle(backend, complex_A, form, left_out):
    given = {name: x for name, x in arguments(form=form, complex_A=complex_A).items() if name not in left_out}
    expected = oracle.selective_scan(**{k: v.numpy() for k, v in given.items()}, delta_softplus=True)
    y, last = selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend)
    assert error(y, torch.from_numpy(expected[0])) < 1e-12
    assert error(last, torch.from_numpy(expected[1])) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_softplus_and_in_float32(backend):
    given = arguments(dtype=torch.float32)
    given["delta"] = given["delta"].abs()
    given["delta_bias"] = given["delta_bias"].abs()
    expected = oracle.selective_scan(**{k: v.double().numpy() for k, v in given.items()})
    y, last = selective_scan(**given, return_last_state=True, backend=backend)
    assert y.dtype == last.dtype == torch.float32
    assert error(y.double(), torch.from_numpy(expected[0])) < 2e-6
    assert error(last.double(), torch.from_numpy(expected[1])) < 2e-6


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 13, 55, 56, 57, 195, 196, 197, 250])
def test_lengths_around_the_blocks(backend, length):
    assert (reference.BLOCK, associative.BLOCK) == (56, 196), "the lengths above are chosen around these"
    given = arguments(length=length)
    expected, last = oracle.selective_scan(**{k: v.numpy() for k, v in given.items()}, delta_softplus=True)
    y, state = selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend)
    assert error(y, torch.from_numpy(expected)) < 1e-12 and error(state, torch.from_numpy(last)) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
def test_gradients(backend, form):
    given = {name: x.requires_grad_() for name, x in arguments(length=5, form=form).items()}

    def scan(*values):
        return selective_scan(
            **dict(zip(given, values, strict=True)), delta_softplus=True, return_last_state=True, backend=backend
        )

    assert torch.autograd.gradcheck(scan, tuple(given.values()))


@pytest.mark.parametrize("backend", BACKENDS)
def test_prefix_and_continuation_are_the_whole(backend):
    given = arguments(length=100)
    whole, last = selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend)
    state, parts = given.pop("initial_state"), []
    for part in (slice(0, 41), slice(41, 100)):
        cut = {k: v[..., part] if v.dim() == 3 else v for k, v in given.items()}
        y, state = selective_scan(
            **cut, delta_softplus=True, return_last_state=True, initial_state=state, backend=backend
        )
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, -1), whole)
    torch.testing.assert_close(state, last)


@pytest.mark.parametrize("backend", BACKENDS)
def test_causality(backend):
    given = arguments(length=70)
    before = selective_scan(**given, delta_softplus=True, backend=backend)
    given["u"][..., 50] += 1
    after = selective_scan(**given, delta_softplus=True, backend=backend)
    assert torch.equal(before[..., :50], after[..., :50])
    assert (before[..., 50:] != after[..., 50:]).any(-1).all()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("step", [0.0, 1e-8, 50.0, 1e4])
def test_extreme_steps_are_finite_and_right(backend, step):
    given = arguments(length=200)
    del given["delta_bias"]
    given["delta"] = torch.full_like(given["delta"], step)
    expected, _ = oracle.selective_scan(**{k: v.numpy() for k, v in given.items()})
    y = selective_scan(**given, backend=backend)
    assert y.isfinite().all() and error(y, torch.from_numpy(expected)) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(backend, dtype):
    given = {k: v.to(dtype) for k, v in arguments(length=30).items()}
    exact = {k: v.double() for k, v in given.items()}
    y = selective_scan(**given, delta_softplus=True, backend=backend)
    expected = selective_scan(**exact, delta_softplus=True, backend=backend)
    assert y.dtype == dtype and error(y.double(), expected) < torch.finfo(dtype).eps


@pytest.mark.parametrize("backend", BACKENDS)
def test_backward_is_linear_in_length(backend):
    def seconds(length):
        u, delta, B, C = (torch.rand(4, n, length, requires_grad=True) for n in (32, 32, 16, 16))
        A = -torch.rand(32, 16, requires_grad=True)
        best = float("inf")
        for _ in range(3):
            y = selective_scan(u, delta, A, B, C, backend=backend)
            began = time.perf_counter()
            y.sum().backward()
            best = min(best, time.perf_counter() - began)
        return best

    # Eight times the length is 8 times the work if it is linear, and 64 times if it is quadratic.
    assert seconds(1024) / seconds(128) < 20


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("u", torch.zeros(4, 9), r"u must be \(batch, dim, length\), got \(4, 9\)"),
        ("delta", torch.zeros(2, 4, 8), r"delta must be \(2, 4, 9\), got \(2, 4, 8\)"),
        ("A", torch.zeros(3, 3), r"A must be \(dim, d_state\) = \(4, d_state\), got \(3, 3\)"),
        ("B", torch.zeros(2, 9, 3), r"B must be .* \(batch, d_state, length\) = \(2, 3, 9\).* got \(2, 9, 3\)"),
        ("C", torch.zeros(2, 3, 3, 9), r"C must be .* groups dividing 4; got \(2, 3, 3, 9\)"),
        ("D", torch.zeros(5), r"D must be \(4,\), got \(5,\)"),
        ("z", torch.zeros(2, 4, 1), r"z must be \(2, 4, 9\), got \(2, 4, 1\)"),
        ("delta_bias", torch.zeros(4, 1), r"delta_bias must be \(4,\), got \(4, 1\)"),
        ("initial_state", torch.zeros(2, 4), r"initial_state must be \(2, 4, 3\), got \(2, 4\)"),
        ("backend", "fast", r"backend must be None or one of associative, reference, got 'fast'"),
    ],
)
def test_errors_name_the_argument(name, value, said):
    with pytest.raises(ValueError, match=said):
        selective_scan(**{**arguments(), name: value})


UPSTREAM = """
import sys, types
sys.modules["selective_scan_cuda"] = types.ModuleType("selective_scan_cuda")  # the CUDA kernel, not called here
import torch
from mamba_ssm.modules import mamba_simple
from mamba_ssm.ops.selective_scan_interface import selective_scan_ref
from helpers.mamba import Mamba
from helpers.scan import selective_scan
sys.path.insert(0, "tests")
from test_scan import arguments, error

for form in ("fixed", "varying", "groups"):
    for complex_A in (False, True):
        given = arguments(length=30, form=form, complex_A=complex_A, dtype=torch.float32)
        del given["initial_state"]
        theirs = selective_scan_ref(**given, delta_softplus=True, return_last_state=True)
        ours = selective_scan(**given, delta_softplus=True, return_last_state=True)
        for x, y in zip(ours, theirs):
            assert error(x, y) < 2e-6, (form, complex_A)

mamba_simple.selective_scan_fn = selective_scan_ref
for options in ({}, {"d_state": 4, "expand": 1, "d_conv": 3}, {"dt_rank": 3, "bias": True, "conv_bias": False}):
    torch.manual_seed(0)
    theirs = mamba_simple.Mamba(16, use_fast_path=False, **options)
    torch.manual_seed(0)
    ours = Mamba(16, **options)
    drawn = ours.state_dict()
    assert list(drawn) == list(theirs.state_dict()), options
    assert all(drawn[k].shape == v.shape for k, v in theirs.state_dict().items())
    marks = lambda m: {k for k, p in m.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marks(ours) == marks(theirs)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 20, 16)
    y, expected = ours(x), theirs(x)
    assert error(y, expected) < 1e-5
    weight = torch.randn_like(y)
    ours_grad = torch.autograd.grad((y * weight).sum(), list(ours.parameters()))
    names = [name for name, _ in ours.named_parameters()]
    theirs_grad = torch.autograd.grad((expected * weight).sum(), [theirs.get_parameter(name) for name in names])
    for name, x, y in zip(names, ours_grad, theirs_grad):
        assert error(x, y) < 1e-5, name
print("equal")
"""


@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed: make mamba-ssm")
def test_scan_and_block_equal_those_of_the_real_mamba_ssm():
    run = subprocess.run([sys.executable, "-c", UPSTREAM], capture_output=True, text=True)
    assert run.stdout.endswith("equal\n"), run.stderr
