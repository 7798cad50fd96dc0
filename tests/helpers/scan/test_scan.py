"""Every backend of the selective scan, against an oracle that shares no code with it, and against what must hold."""

import os
import subprocess
import sys
import threading
import time

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from helpers.scan import associative, backends, reference, selective_scan

BACKENDS = backends("cpu")
BATCH, DIM, D_STATE = 2, 4, 3
needs_numba = pytest.mark.skipif("numba" not in BACKENDS, reason="Numba does not work here")
BOUND = 2e-5  # float32, the largest error over the largest number of a tensor
WIDE = dict(dim=40, d_state=5)  # here the fused kernels compute channels side by side, and fill up the last vectors
NARROW = dict(dim=4, d_state=18)  # and here states


def arguments(
    length=9, form="varying", complex_A=False, dtype=torch.float64, seed=0, *, batch=BATCH, dim=DIM, d_state=D_STATE
):
    """All arguments of a scan, by name."""
    g = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=dtype):
        return torch.randn(*shape, generator=g, dtype=dtype)

    A = -torch.rand(dim, d_state, generator=g, dtype=dtype) - 0.1
    if complex_A:
        A = torch.complex(A, normal(dim, d_state))
    entries = length * (2 if complex_A else 1)
    shape = {"fixed": (dim, d_state), "varying": (batch, d_state, entries), "groups": (batch, 2, d_state, entries)}[
        form
    ]
    kind = A.dtype if form == "fixed" else dtype
    return {
        "u": normal(batch, dim, length),
        "delta": normal(batch, dim, length),
        "A": A,
        "B": normal(*shape, dtype=kind),
        "C": normal(*shape, dtype=kind),
        "D": normal(dim),
        "z": normal(batch, dim, length),
        "delta_bias": normal(dim),
        "initial_state": normal(batch, dim, d_state, dtype=A.dtype),
    }


def error(x, y):
    return ((x - y).abs().max() / y.abs().max()).item()


def arrays(given):
    return {name: x.detach().double().numpy() for name, x in given.items()}


def scan(given, backend, **options):
    return selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend, **options)


def gradients(given, backend, weights, **options):
    """The gradients of a weighted sum of outputs and last state, by the name of the argument."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    total = sum((x * w).sum() for x, w in zip(scan(leaves, backend, **options), weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


# --- equal to the oracle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("complex_A", [False, True])
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias", "initial_state"), ("D", "z", "initial_state")])
def test_against_the_oracle(backend, complex_A, form, left_out):
    given = {name: x for name, x in arguments(form=form, complex_A=complex_A).items() if name not in left_out}
    if complex_A and backend == "numba":
        with pytest.raises(ValueError, match=r"A must be real for backend 'numba', got torch\.complex128"):
            scan(given, backend)
        backend = None  # and so another is chosen
    expected = oracle.selective_scan(**{k: v.numpy() for k, v in given.items()}, delta_softplus=True)
    for found, true in zip(scan(given, backend), expected, strict=True):
        assert error(found, torch.from_numpy(true)) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("sizes", [WIDE, NARROW, dict(dim=32, d_state=4), dict(dim=1, d_state=1)])
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
def test_outputs_and_every_gradient_in_float32(backend, layout, sizes, form):
    if form == "groups" and sizes["dim"] == 1:
        sizes = dict(dim=2, d_state=1)
    given = arguments(length=35, form=form, dtype=torch.float32, **sizes)
    if layout == "channels last":
        for name in ("u", "delta", "z", *("BC" if form == "varying" else "")):
            given[name] = given[name].mT.contiguous().mT
    expected = oracle.selective_scan(**arrays(given), delta_softplus=True)
    found = scan(given, backend)
    for name, x, y in zip(("y", "last state"), found, expected, strict=True):
        assert x.dtype == torch.float32 and error(x.double(), torch.from_numpy(y)) < BOUND, name
    weights = [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in found]
    expected = oracle.selective_scan_backward(
        *(w.double().numpy() for w in weights), **arrays(given), delta_softplus=True
    )
    for name, x in gradients(given, backend, weights).items():
        assert error(x.double(), torch.from_numpy(expected[name])) < BOUND, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("left_out", ["D", "z", "delta_bias", "initial_state", None])
def test_gradients_without_an_option_and_without_softplus(backend, left_out):
    given = arguments(length=20, dtype=torch.float32, **WIDE)
    given["delta"], given["delta_bias"] = given["delta"].abs(), given["delta_bias"].abs()
    given.pop(left_out, None)
    leaves = {name: x.requires_grad_() for name, x in given.items()}
    y = selective_scan(**leaves, backend=backend)
    found = dict(zip(leaves, torch.autograd.grad(y.sum(), list(leaves.values())), strict=True))
    zeros = np.zeros((BATCH, WIDE["dim"], WIDE["d_state"]))
    expected = oracle.selective_scan_backward(np.ones(y.shape), zeros, **arrays(given))
    assert found.keys() == expected.keys()
    for name, x in found.items():
        assert error(x.double(), torch.from_numpy(expected[name])) < BOUND, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("length", [1, 2, 13, 15, 16, 17, 55, 56, 57, 195, 196, 197, 250])
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_lengths_around_the_blocks(backend, length, sizes):
    assert (reference.BLOCK, associative.BLOCK) == (56, 196), "the lengths above are chosen around these"
    given = arguments(length=length, batch=1, **sizes)
    expected = oracle.selective_scan(**arrays(given), delta_softplus=True)
    for x, y in zip(scan(given, backend), expected, strict=True):
        assert error(x, torch.from_numpy(y)) < 1e-12
    weights = [torch.from_numpy(np.ones_like(x)) for x in expected]
    expected = gradients(given, "reference", weights)
    for name, x in gradients(given, backend, weights).items():
        assert error(x, expected[name]) < 1e-11, name


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
@pytest.mark.parametrize("complex_A", [False, True])
def test_gradcheck(backend, form, complex_A):
    if complex_A and backend == "numba":
        backend = None
    given = {name: x.requires_grad_() for name, x in arguments(length=5, form=form, complex_A=complex_A).items()}

    def function(*values):
        return scan(dict(zip(given, values, strict=True)), backend)

    assert torch.autograd.gradcheck(function, tuple(given.values()))


def test_B_and_C_in_different_forms():
    given = arguments(length=20, **WIDE)
    given["C"] = arguments(length=20, form="groups", seed=1, **WIDE)["C"]
    expected = oracle.selective_scan(**arrays(given), delta_softplus=True)[0]
    for backend in BACKENDS:
        assert error(scan(given, backend)[0], torch.from_numpy(expected)) < 1e-12


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(backend, dtype):
    given = {k: v.to(dtype) for k, v in arguments(length=30, **WIDE).items()}
    y, last = scan(given, backend)
    exact, last_exact = scan({k: v.double() for k, v in given.items()}, "reference")
    assert y.dtype == dtype and error(y.double(), exact) < torch.finfo(dtype).eps
    assert last.dtype == torch.float32 and error(last.double(), last_exact) < BOUND


@needs_numba
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_bfloat16_is_read_and_written_as_it_is(sizes):
    """Sequences in bfloat16, the rest in float32: only what is rounded at the end may differ, by half a unit."""
    given = arguments(length=37, dtype=torch.float32, **sizes)
    sequences = ("u", "delta", "z")
    given |= {name: given[name].bfloat16() for name in sequences}
    exact = {name: x.double() for name, x in given.items()}
    weights = torch.randn(BATCH, sizes["dim"], 37).bfloat16(), torch.randn(BATCH, sizes["dim"], sizes["d_state"])
    (y, last), (y_exact, last_exact) = scan(given, "numba"), scan(exact, "reference")
    assert y.dtype == torch.bfloat16 and error(y.double(), y_exact) < 2**-8
    assert last.dtype == torch.float32 and error(last.double(), last_exact) < BOUND
    found = gradients(given, "numba", weights)
    for name, expected in gradients(exact, "reference", [w.double() for w in weights]).items():
        assert found[name].dtype == given[name].dtype
        assert error(found[name].double(), expected) < (2**-8 if name in sequences else BOUND), name


# --- properties that it must have ------------------------------------------------------------------------------------

some = dict(
    backend=st.sampled_from(BACKENDS),
    length=st.integers(2, 70),
    dim=st.sampled_from([1, 2, 7, 16, 33]),
    d_state=st.integers(1, 17),
    seed=st.integers(0, 1000),
)
examples = settings(max_examples=40, deadline=None, derandomize=True)


@examples
@given(**some, at=st.floats(0, 1))
def test_causality(backend, length, dim, d_state, seed, at):
    given, at = arguments(length, seed=seed, dim=dim, d_state=d_state), int(at * (length - 1))
    before = scan(given, backend)[0]
    for name in ("u", "delta", "B", "C", "z"):
        given[name] = given[name].clone()
        given[name][..., at:] += 1
    after = scan(given, backend)[0]
    assert torch.equal(before[..., :at], after[..., :at])
    assert (before[..., at:] != after[..., at:]).any()


@examples
@given(**some, factor=st.floats(-3, 3))
def test_linear_in_u_and_initial_state(backend, length, dim, d_state, seed, factor):
    one, other = (arguments(length, seed=s, dim=dim, d_state=d_state) for s in (seed, seed + 1))
    mixed = {**one, **{k: one[k] + factor * other[k] for k in ("u", "initial_state")}}
    other = {**one, "u": other["u"], "initial_state": other["initial_state"]}
    for x, y, both in zip(scan(one, backend), scan(other, backend), scan(mixed, backend), strict=True):
        torch.testing.assert_close(x + factor * y, both, rtol=1e-9, atol=1e-9)


@examples
@given(**some, at=st.floats(0, 1))
def test_prefix_and_continuation_are_the_whole(backend, length, dim, d_state, seed, at):
    given, cut = arguments(length, seed=seed, dim=dim, d_state=d_state), 1 + int(at * (length - 2))
    whole, last = scan(given, backend)
    state, parts = given["initial_state"], []
    for part in (slice(0, cut), slice(cut, length)):
        piece = {k: v[..., part] if k in ("u", "delta", "B", "C", "z") else v for k, v in given.items()}
        y, state = scan({**piece, "initial_state": state}, backend)
        parts.append(y)
    torch.testing.assert_close(torch.cat(parts, -1), whole, rtol=1e-11, atol=1e-11)
    torch.testing.assert_close(state, last, rtol=1e-11, atol=1e-11)


@examples
@given(**some)
def test_time_invariant_is_a_convolution(backend, length, dim, d_state, seed):
    given = arguments(length, "fixed", seed=seed, dim=dim, d_state=d_state)
    u, A, B, C = (given[name].numpy() for name in "uABC")
    step = 0.3
    kernel = np.einsum("dn,dn,dnt->dt", C, step * B, np.exp(step * A)[..., None] ** np.arange(length))
    expected = [[np.convolve(row, kernel[d])[:length] for d, row in enumerate(rows)] for rows in u]
    delta = torch.full_like(given["delta"], step)
    y = selective_scan(given["u"], delta, given["A"], given["B"], given["C"], backend=backend)
    np.testing.assert_allclose(y.numpy(), np.array(expected), rtol=1e-9, atol=1e-9)


@examples
@given(**some)
def test_channels_and_sequences_in_another_order(backend, length, dim, d_state, seed):
    given = arguments(length, seed=seed, batch=3, dim=dim, d_state=d_state)
    g = torch.Generator().manual_seed(seed)
    batch, channels = torch.randperm(3, generator=g), torch.randperm(dim, generator=g)
    moved = {
        k: x[batch] if k in "BC" else x[batch][:, channels] if x.dim() == 3 else x[channels] for k, x in given.items()
    }
    for x, y in zip(scan(given, backend), scan(moved, backend), strict=True):
        torch.testing.assert_close(x[batch][:, channels], y, rtol=1e-11, atol=1e-11)


# --- extremes --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
@pytest.mark.parametrize("step, bound", [(0.0, 1e-6), (1e-8, 1e-6), (50.0, 1e-5), (1e4, 1e-6)])
def test_extreme_steps_are_finite_and_right(backend, sizes, step, bound):
    given = arguments(length=60, dtype=torch.float32, **sizes)
    del given["delta_bias"]
    given["delta"] = torch.full_like(given["delta"], step)
    expected, last = oracle.selective_scan(**arrays(given))
    y, state = selective_scan(**given, return_last_state=True, backend=backend)
    assert y.isfinite().all() and error(y.double(), torch.from_numpy(expected)) < bound
    assert state.isfinite().all() and error(state.double(), torch.from_numpy(last)) < bound
    given["u"].requires_grad_()
    (grad,) = torch.autograd.grad(selective_scan(**given, backend=backend).sum(), given["u"])
    dlast = np.zeros_like(last)
    true = oracle.selective_scan_backward(np.ones_like(expected), dlast, **arrays(given))["u"]
    assert error(grad.double(), torch.from_numpy(true)) < bound


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("before_softplus, bound", [(-200.0, 1e-5), (-18.0, 1e-5), (0.0, 1e-5), (200.0, 1e-5)])
def test_softplus_of_anything(backend, before_softplus, bound):
    given = arguments(length=20, dtype=torch.float32, **WIDE)
    given["delta"] = torch.full_like(given["delta"], before_softplus)
    y = scan(given, backend)[0]
    expected = oracle.selective_scan(**arrays(given), delta_softplus=True)[0]
    assert y.isfinite().all() and error(y.double(), torch.from_numpy(expected)) < bound


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("A, bound", [(0.0, 1e-4), (-1e-8, 1e-4), (-1e-3, 1e-4)])
def test_a_long_sequence_with_a_long_memory(backend, A, bound):
    """16,384 positions, and next to nothing is forgotten: rounding errors add up, so the bound is wider."""
    length = 16_384
    u, delta = (torch.rand(1, 17, length, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    B = C = torch.ones(1, 2, length)
    A = torch.full((17, 2), A)
    y, last = selective_scan(u, delta, A, B, C, return_last_state=True, backend=backend)
    exact = [x.double() for x in (u, delta, A, B, C)]
    expected, state = selective_scan(*exact, return_last_state=True, backend="reference")
    assert error(y.double(), expected) < bound and error(last.double(), state) < bound


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_not_a_number_is_not_hidden(backend):
    given = arguments(length=20, **WIDE)
    for name in ("u", "delta", "A", "B", "C", "z"):
        spoiled = {**given, name: given[name].clone()}
        spoiled[name].view(-1)[0] = float("nan")
        assert not scan(spoiled, backend)[0][0, 0].isfinite().all(), name


# --- the ways in which it is called ----------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_empty_batch(backend, sizes):
    given = arguments(batch=0, **sizes)
    y, last = scan(given, backend)
    assert y.shape == given["u"].shape and last.shape == given["initial_state"].shape
    found = gradients(given, backend, (torch.ones_like(y), torch.ones_like(last)))
    assert all(x.shape == given[name].shape and not x.any() for name, x in found.items())


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_any_strides(backend, sizes):
    given = arguments(length=20, **sizes)
    expected = scan(given, backend)
    weights = [torch.ones_like(x) for x in expected]
    grads = gradients(given, backend, weights)

    def strewn(x):  # every other number of a larger tensor, the axes the other way round
        wide = torch.zeros([2 * n for n in reversed(x.shape)], dtype=x.dtype)
        view = wide.permute(*reversed(range(x.dim())))[(slice(None, None, 2),) * x.dim()]
        return view.copy_(x)

    moved = {name: strewn(x) for name, x in given.items()}
    for x, y in zip(scan(moved, backend), expected, strict=True):
        assert error(x, y) < 1e-14
    for name, x in gradients(moved, backend, weights).items():
        assert error(x, grads[name]) < 1e-14
    same = arguments(length=20, **sizes)
    same["u"] = same["u"][:1, :1].expand(BATCH, sizes["dim"], 20)  # one row in memory
    torch.testing.assert_close(scan(same, backend)[0], scan({**same, "u": same["u"].clone()}, backend)[0])


@pytest.mark.parametrize("backend", BACKENDS)
def test_twice_in_one_graph_and_again(backend):
    given = {name: x.requires_grad_() for name, x in arguments(length=20, **WIDE).items()}
    y = selective_scan(**given, backend=backend)
    y = selective_scan(**{**given, "u": y}, backend=backend)
    once = torch.autograd.grad(y.sum(), given["A"], retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(y.sum(), given["A"])[0])
    exact = selective_scan(**given, backend="reference")
    exact = selective_scan(**{**given, "u": exact}, backend="reference")
    assert error(once, torch.autograd.grad(exact.sum(), given["A"])[0]) < 1e-11


@pytest.mark.parametrize("backend", BACKENDS)
def test_inference_mode_no_grad_and_autocast(backend):
    given = arguments(length=20, dtype=torch.float32, **WIDE)
    expected = scan(given, backend)[0]
    with torch.inference_mode():
        assert torch.equal(scan(given, backend)[0], expected)
    leaves = {name: x.requires_grad_() for name, x in given.items()}
    with torch.no_grad():
        assert not scan(leaves, backend)[0].requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        y = scan(leaves, backend)[0]
        assert y.dtype == torch.float32 and error(y, expected) < 1e-6
        y.sum().backward()
    grad = gradients(given, backend, (torch.ones_like(y), torch.zeros(BATCH, 40, 5)))["A"]
    assert error(leaves["A"].grad, grad) < 1e-6


@pytest.mark.parametrize("backend", BACKENDS)
def test_only_the_gradients_that_are_asked_for(backend):
    given = arguments(length=20, **WIDE)
    expected = gradients(given, backend, (torch.ones(BATCH, 40, 20), torch.zeros(BATCH, 40, 5)))
    for name in given:
        leaves = {k: x.detach().requires_grad_(k == name) for k, x in given.items()}
        selective_scan(**leaves, delta_softplus=True, backend=backend).sum().backward()
        assert error(leaves[name].grad, expected[name]) < 1e-14
    leaves = {k: x.detach().requires_grad_() for k, x in given.items()}
    scan(leaves, backend)[1].sum().backward()  # from the last state alone
    expected = gradients(given, backend, (torch.zeros(BATCH, 40, 20), torch.ones(BATCH, 40, 5)))
    assert error(leaves["u"].grad, expected["u"]) < 1e-14


@pytest.mark.parametrize("backend", BACKENDS)
def test_calls_from_two_threads_at_once(backend):
    jobs = [arguments(length=200, seed=seed, **WIDE) for seed in range(2)]
    weights = torch.ones(BATCH, 40, 200), torch.ones(BATCH, 40, 5)
    expected = [gradients(given, backend, weights) for given in jobs]
    found, start = [[] for _ in jobs], threading.Barrier(len(jobs))

    def work(i):
        start.wait()
        found[i] = [gradients(jobs[i], backend, weights) for _ in range(10)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for i in range(len(jobs)):
        assert len(found[i]) == 10
        assert all(error(one[name], expected[i][name]) < 1e-12 for one in found[i] for name in one)


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
    assert seconds(2048) / seconds(256) < 20


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("u", torch.zeros(4, 9), r"u must be \(batch, dim, length\), real and floating, got \(4, 9\)"),
        ("u", torch.zeros(2, 4, 9, dtype=torch.int64), r"u must be .* floating, got \(2, 4, 9\), torch.int64"),
        ("u", torch.zeros(2, 4, 0), r"u must have at least one position, got \(2, 4, 0\)"),
        ("delta", torch.zeros(2, 4, 8), r"delta must be \(2, 4, 9\), got \(2, 4, 8\)"),
        ("A", torch.zeros(3, 3), r"A must be \(dim, d_state\) = \(4, d_state\), got \(3, 3\)"),
        ("B", torch.zeros(2, 9, 3), r"B must be .* \(batch, d_state, length\) = \(2, 3, 9\).* got \(2, 9, 3\)"),
        ("B", torch.zeros(2, 3, 9, dtype=torch.complex64), "B must be real and floating, got torch.complex64"),
        ("C", torch.zeros(2, 3, 3, 9), r"C must be .* groups dividing 4; got \(2, 3, 3, 9\)"),
        ("D", torch.zeros(5), r"D must be \(4,\), got \(5,\)"),
        ("D", torch.zeros(4, dtype=torch.int32), "D must be real and floating, got torch.int32"),
        ("D", torch.zeros(4, device="meta"), "D must be on cpu, where u is, got meta"),
        ("z", torch.zeros(2, 4, 1), r"z must be \(2, 4, 9\), got \(2, 4, 1\)"),
        ("delta_bias", torch.zeros(4, 1), r"delta_bias must be \(4,\), got \(4, 1\)"),
        ("initial_state", torch.zeros(2, 4), r"initial_state must be \(2, 4, 3\), got \(2, 4\)"),
        ("backend", "fast", r"backend must be None or one of mamba_ssm, triton, numba, .*, got 'fast'"),
        ("backend", "triton", r"backend must be one that runs on cpu: numba, associative, reference; got 'triton'"),
    ],
)
def test_errors_name_the_argument(name, value, said):
    with pytest.raises(ValueError, match=said):
        selective_scan(**{**arguments(), name: value})


# --- the fused kernel on the CPU -------------------------------------------------------------------------------------


def kernel_arguments(dtype=torch.float32, **sizes):
    """The arguments of the operator, B and C in groups, and without a copy in memory: channels last."""
    given = arguments(length=37, dtype=dtype, **sizes)
    for name in ("u", "delta", "z", "B", "C"):
        given[name] = given[name].mT.contiguous().mT
    given["B"], given["C"] = given["B"].unsqueeze(1), given["C"].unsqueeze(1)
    return given


@needs_numba
@pytest.mark.parametrize("sizes", [WIDE, NARROW, dict(dim=128, d_state=16)])
def test_no_bit_depends_on_the_number_of_threads(sizes):
    given = arguments(length=300, dtype=torch.float32, batch=3, **sizes)
    found, threads = [], torch.get_num_threads()
    try:
        for number in (1, 2, 5, 2):
            torch.set_num_threads(number)
            results = scan(given, "numba")
            found.append([*results, *gradients(given, "numba", [torch.ones_like(x) for x in results]).values()])
    finally:
        torch.set_num_threads(threads)
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))


@needs_numba
def test_channels_last_is_not_copied():
    from helpers.scan.numba_kernel import _Layout

    given = kernel_arguments(dim=32, d_state=16)
    layout = _Layout(given["u"], given["A"], given["B"], given["C"])
    u, delta, _, B, C, _, z, _ = layout.inputs(*(given[k] for k in ("u", "delta", *"ABCDz", "delta_bias")))
    for name, array in dict(u=u, delta=delta, B=B, C=C, z=z).items():
        assert array.ctypes.data == given[name].data_ptr(), name
    y = selective_scan(given["u"], given["delta"], given["A"], given["B"], given["C"], backend="numba")
    assert y.mT.is_contiguous()


@needs_numba
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_of_the_states_only_one_in_sixteen_is_kept(sizes):
    from helpers.scan import numba_kernel

    given = {k: x.requires_grad_() for k, x in kernel_arguments(**sizes).items()}
    *_, copies = numba_kernel._scan(*given.values(), True, True)
    steps = -(-37 // numba_kernel.BLOCK)
    assert numba_kernel.BLOCK == 16 and copies.shape[1] == steps
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        numba_kernel.scan(*given.values(), True)
    assert {x.data_ptr() for x in kept} > {x.data_ptr() for x in given.values() if x is not given["initial_state"]}
    assert sum(x.numel() for x in kept) <= sum(x.numel() for x in given.values()) + copies.numel()
    with torch.no_grad():
        assert numba_kernel._scan(*given.values(), True, False)[2].numel() == 0


@needs_numba
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
@pytest.mark.parametrize("layout", ["channels first", "channels last"])
@pytest.mark.parametrize("sequences", [torch.float64, torch.bfloat16])
def test_it_is_a_proper_operator(sizes, layout, sequences):
    from helpers.scan import numba_kernel

    given = kernel_arguments(torch.float32 if sequences == torch.bfloat16 else torch.float64, **sizes)
    given |= {name: given[name].to(sequences) for name in ("u", "delta", "z")}
    if layout == "channels first":
        given = {name: x.contiguous() for name, x in given.items()}
    for options in ((), ("D", "z", "delta_bias", "initial_state")):
        values = [None if k in options else x.detach().requires_grad_() for k, x in given.items()]
        torch.library.opcheck(numba_kernel._scan, (*values, True, True))


@needs_numba
@pytest.mark.parametrize("sizes", [WIDE, NARROW])
def test_compiles_as_one_graph(sizes):
    given = arguments(length=20, dtype=torch.float32, **sizes)
    weights = [torch.ones(BATCH, sizes["dim"], n) for n in (20, sizes["d_state"])]

    def loss(*values):
        return sum(
            (x * w).sum() for x, w in zip(scan(dict(zip(given, values, strict=True)), None), weights, strict=True)
        )

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = [x.requires_grad_() for x in given.values()]
    found = torch.autograd.grad(compiled(*leaves), leaves)
    for x, y in zip(found, torch.autograd.grad(loss(*leaves), leaves), strict=True):
        assert error(x, y) < 1e-6


@needs_numba
def test_differentiating_twice_is_refused():
    given = {name: x.requires_grad_() for name, x in arguments(**WIDE).items()}
    (grad,) = torch.autograd.grad(selective_scan(**given, backend="numba").sum(), given["u"], create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative .*fused_cpu_backward.*reference"):
        grad.sum().backward()


BROKEN = """
import sys, warnings
{breaks}
import torch
from helpers.scan import backends, selective_scan
with warnings.catch_warnings(record=True) as said:
    warnings.simplefilter("always")
    u = torch.rand(1, 2, 3)
    for _ in range(2):
        y = selective_scan(u, u, -u[0, :, :1], u[:, :1], u[:, :1])
assert backends("cpu") == ["associative", "reference"], backends("cpu")
said = [str(x.message) for x in said]
assert len(said) == 1 and "The fused CPU scan cannot be used here" in said[0], said
print(said[0])
"""


@pytest.mark.parametrize(
    "breaks, said",
    [
        ("sys.modules['numba'] = None", "ModuleNotFoundError: import of numba halted"),
        (
            "import numba.core.codegen as c\ndef fail(*_): raise OSError('LLVM will not')\n"
            "c.JITCPUCodegen._create_empty_module = fail\n"
            "import numba.core.caching as k\nk.FunctionCache.load_overload = lambda *_: None",
            "OSError: LLVM will not",
        ),
    ],
)
def test_without_numba_the_next_backend_takes_over_with_one_warning(breaks, said):
    run = subprocess.run([sys.executable, "-c", BROKEN.format(breaks=breaks)], capture_output=True, text=True)
    assert said in run.stdout, run.stderr


@needs_numba
def test_the_first_call_takes_seconds_and_says_nothing(tmp_path):
    code = """if True:
        import torch
        from helpers.scan import selective_scan
        u = torch.rand(2, 32, 40, requires_grad=True)
        selective_scan(u, u, -u[0, :, :16], u[:, :16], u[:, :16]).sum().backward()
    """
    for most in (60, 20):  # compiled anew, and taken from the cache
        began = time.perf_counter()
        run = subprocess.run(
            [sys.executable, "-W", "error", "-c", code],
            env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)},
            capture_output=True,
            text=True,
        )
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        assert time.perf_counter() - began < most
    assert list(tmp_path.rglob("*.nbi"))
