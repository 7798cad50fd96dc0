"""Every backend of the selective scan, against an oracle that shares no code with it, and against what must hold."""

import functools
import threading

import numpy as np
import oracle
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import run_python
from scan_cases import BATCH, BOUND, FORMS, NARROW, WIDE, arguments, assert_equal, error, gradients, scan
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.scan import associative, backends, reference, selective_scan

BACKENDS = backends("cpu")
REAL_AND_COMPLEX = [(name, False) for name in BACKENDS] + [("associative", True), ("reference", True), (None, True)]
every_backend = pytest.mark.parametrize("backend", BACKENDS)
both_sizes = pytest.mark.parametrize("sizes", [WIDE, NARROW], ids=["wide", "narrow"])


def case(length, delta=None, **options):
    """The arguments of a scan; with ``delta`` all step sizes are that."""
    given = arguments(length, **options)
    return given if delta is None else given | {"delta": torch.full_like(given["delta"], delta)}


def arrays(given):
    return {name: x.detach().to(torch.promote_types(x.dtype, torch.float64)).numpy() for name, x in given.items()}


@functools.cache  # every backend is held against it, and it is slow
def true_results(*options, delta_softplus=True, **named):
    """What the oracle makes of a case."""
    found = oracle.selective_scan(**arrays(case(*options, **named)), delta_softplus=delta_softplus)
    return tuple(map(torch.from_numpy, found))


def random_like(tensors):
    return [torch.randn(x.shape, generator=torch.Generator().manual_seed(1)) for x in tensors]


@functools.cache
def true_gradients(*options, delta_softplus=True, through_state=True, **named):
    """The gradients of the sum of the results, with the weights of ``random_like``, by the oracle."""
    weights = random_like(true_results(*options, delta_softplus=delta_softplus, **named))
    weights = [w.double().numpy() * (number == 0 or through_state) for number, w in enumerate(weights)]
    given = arrays(case(*options, **named))
    found = oracle.selective_scan_backward(*weights, **given, delta_softplus=delta_softplus)
    return {name: torch.from_numpy(x) for name, x in found.items()}


# --- equal to the oracle ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias", "initial_state"), ("D", "z", "initial_state")])
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("backend, complex_A", REAL_AND_COMPLEX)
def test_against_the_oracle(backend, complex_A, form, left_out):
    options = {"form": form, "complex_A": complex_A, "without": left_out}
    for found, true in zip(scan(case(9, **options), backend), true_results(9, **options), strict=True):
        assert error(found, true) < 1e-12


@every_backend
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("dim, d_state", [(40, 5), (4, 18), (32, 4), (1, 1)])
@pytest.mark.parametrize("form", FORMS)
def test_outputs_and_every_gradient_in_float32(backend, channels_last, dim, d_state, form):
    dim += form == "groups" and dim == 1
    options = {"form": form, "dtype": torch.float32, "dim": dim, "d_state": d_state}
    given, expected = case(35, channels_last=channels_last, **options), true_results(35, **options)
    for name, x, y in zip(("y", "last state"), scan(given, backend), expected, strict=True):
        assert x.dtype == torch.float32 and error(x, y) < BOUND, name
    assert_equal(gradients(given, backend, random_like(expected)), true_gradients(35, **options))


@every_backend
@pytest.mark.parametrize("left_out", ["D", "z", "delta_bias", "initial_state", None])
def test_gradients_without_an_option_and_without_softplus(backend, left_out):
    options = {"dtype": torch.float32, "delta": 0.7, "without": (left_out,), **WIDE}
    leaves = {name: x.requires_grad_() for name, x in case(20, **options).items()}
    y = selective_scan(**leaves, backend=backend)
    found = torch.autograd.grad((y * random_like([y])[0]).sum(), list(leaves.values()))
    expected = true_gradients(20, delta_softplus=False, through_state=False, **options)
    assert_equal(dict(zip(leaves, found, strict=True)), expected)


@every_backend
@pytest.mark.parametrize("length", [1, 2, 13, 15, 16, 17, 55, 56, 57, 195, 196, 197, 250])
@both_sizes
def test_lengths_around_the_blocks(backend, length, sizes):
    assert (reference.BLOCK, associative.BLOCK) == (56, 196), "the lengths above are chosen around these"
    options = {"batch": 1, **sizes}
    given, expected = case(length, **options), true_results(length, **options)
    for x, y in zip(scan(given, backend), expected, strict=True):
        assert error(x, y) < 1e-12
    assert_equal(gradients(given, backend, random_like(expected)), true_gradients(length, **options), 1e-11)


@pytest.mark.parametrize("backend, complex_A", [pair for pair in REAL_AND_COMPLEX if pair[0]])
@pytest.mark.parametrize("form", FORMS)
def test_gradcheck(backend, form, complex_A):
    given = arguments(4, form, complex_A, dim=2, d_state=2)
    leaves = tuple(x.requires_grad_() for x in given.values())
    assert torch.autograd.gradcheck(lambda *x: scan(dict(zip(given, x, strict=True)), backend), leaves)


@every_backend
def test_B_and_C_in_different_forms(backend):
    given = arguments(20, **WIDE) | {"C": arguments(20, "groups", seed=1, **WIDE)["C"]}
    expected, _ = oracle.selective_scan(**arrays(given), delta_softplus=True)
    assert error(scan(given, backend)[0], torch.from_numpy(expected)) < 1e-12


@every_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(backend, dtype):
    given = {name: x.to(dtype) for name, x in arguments(30, **WIDE).items()}
    y, last = scan(given, backend)
    exact, last_exact = scan({name: x.double() for name, x in given.items()}, "reference")
    assert y.dtype == dtype and error(y, exact) < torch.finfo(dtype).eps
    assert last.dtype == torch.float32 and error(last, last_exact) < BOUND


@every_backend
def test_sums_of_gradients_are_not_formed_in_half_precision(backend):
    """100,000 and -99,000 are too large for float16. Their sums, over sequences for B and channels for C, are not."""
    ones = torch.ones(2, 4, 1)
    B, C = torch.ones(4, 1).half().requires_grad_(), torch.ones(2, 1, 1).half().requires_grad_()
    y = selective_scan(ones, ones, -ones[0], B, C, backend=backend)
    slopes = torch.tensor([[1e5, -9.9e4] * 2, [-9.9e4, 1e5] * 2])[..., None]
    dB, dC = torch.autograd.grad(y, (B, C), slopes)
    assert torch.equal(dB, torch.full_like(dB, 1000)) and torch.equal(dC, torch.full_like(dC, 2000))


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


@every_backend
@both_sizes
@pytest.mark.parametrize("step, bound", [(0.0, 1e-6), (1e-8, 1e-6), (50.0, 1e-5), (1e4, 1e-6)])
def test_extreme_steps_are_finite_and_right(backend, sizes, step, bound):
    options = {"dtype": torch.float32, "delta": step, "without": ("delta_bias",), **sizes}
    given, expected = case(60, **options), true_results(60, delta_softplus=False, **options)
    u = given["u"].requires_grad_()
    results = selective_scan(**given, return_last_state=True, backend=backend)
    for x, y in zip(results, expected, strict=True):
        assert x.isfinite().all() and error(x, y) < bound
    (found,) = torch.autograd.grad((results[0] * random_like(expected)[0]).sum(), u)
    true = true_gradients(60, delta_softplus=False, through_state=False, **options)
    assert error(found, true["u"]) < bound


@every_backend
@pytest.mark.parametrize("before_softplus", [-200.0, -18.0, 0.0, 200.0])
def test_softplus_of_anything(backend, before_softplus):
    options = {"dtype": torch.float32, "delta": before_softplus, **WIDE}
    y = scan(case(20, **options), backend)[0]
    assert y.isfinite().all() and error(y, true_results(20, **options)[0]) < 1e-5


@every_backend
@pytest.mark.parametrize("A", [0.0, -1e-8, -1e-3])
def test_a_long_sequence_with_a_long_memory(backend, A):
    """16,384 positions, and next to nothing is forgotten: rounding errors add up, so the bound is wider."""
    length = 16_384
    u, delta = (torch.rand(1, 17, length, generator=torch.Generator().manual_seed(i)) for i in (0, 1))
    given = [u, delta, torch.full((17, 2), A), torch.ones(1, 2, length), torch.ones(1, 2, length)]
    found = selective_scan(*given, return_last_state=True, backend=backend)
    # For A so small, the product of all decays is the exponential of one sum, and so the states are in closed form.
    u, delta = u.double(), delta.double()
    passed = delta.cumsum(-1)
    states = torch.exp(A * passed) * torch.cumsum(torch.exp(-A * passed) * delta * u, -1)
    for x, y in zip(found, (2 * states, states[..., -1:].expand(-1, -1, 2)), strict=True):
        assert error(x, y) < 1e-4


@every_backend
@pytest.mark.parametrize("name", ["u", "delta", "A", "B", "C", "z"])
def test_what_is_not_a_number_is_not_hidden(backend, name):
    given = arguments(20, **WIDE)
    given[name].view(-1)[0] = float("nan")
    assert not scan(given, backend)[0][0, 0].isfinite().all()


# --- the ways in which it is called ----------------------------------------------------------------------------------


@every_backend
@both_sizes
def test_empty_batch(backend, sizes):
    given = arguments(batch=0, **sizes)
    y, last = scan(given, backend)
    assert y.shape == given["u"].shape and last.shape == given["initial_state"].shape
    found = gradients(given, backend, (torch.ones_like(y), torch.ones_like(last)))
    assert all(x.shape == given[name].shape and not x.any() for name, x in found.items())


@every_backend
@both_sizes
def test_any_strides(backend, sizes):
    given = arguments(20, **sizes)
    expected = scan(given, backend)
    weights = [torch.ones_like(x) for x in expected]

    def strewn(x):  # every other number of a larger tensor, the axes the other way round
        wide = torch.zeros([2 * n for n in reversed(x.shape)], dtype=x.dtype)
        view = wide.permute(*reversed(range(x.dim())))[(slice(None, None, 2),) * x.dim()]
        return view.copy_(x)

    moved = {name: strewn(x) for name, x in given.items()}
    for x, y in zip(scan(moved, backend), expected, strict=True):
        assert error(x, y) < 1e-14
    assert_equal(gradients(moved, backend, weights), gradients(given, backend, weights), 1e-14)
    given["u"] = given["u"][:1, :1].expand_as(given["u"])  # one row in memory
    torch.testing.assert_close(scan(given, backend)[0], scan({**given, "u": given["u"].clone()}, backend)[0])


@every_backend
def test_twice_in_one_graph_and_again(backend):
    given = {name: x.requires_grad_() for name, x in arguments(20, **WIDE).items()}

    def twice(backend):
        return selective_scan(**{**given, "u": selective_scan(**given, backend=backend)}, backend=backend).sum()

    y = twice(backend)
    once = torch.autograd.grad(y, given["A"], retain_graph=True)[0]
    assert torch.equal(once, torch.autograd.grad(y, given["A"])[0])
    assert error(once, torch.autograd.grad(twice("reference"), given["A"])[0]) < 1e-11


@every_backend
def test_inference_mode_no_grad_and_autocast(backend):
    given = arguments(20, dtype=torch.float32, **WIDE)
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
    weights = torch.ones_like(y), torch.zeros(BATCH, 40, 5)
    assert error(leaves["A"].grad, gradients(given, backend, weights)["A"]) < 1e-6


@every_backend
def test_only_the_gradients_that_are_asked_for(backend):
    given = arguments(20, **WIDE)
    of_y = gradients(given, backend, (torch.ones(BATCH, 40, 20), torch.zeros(BATCH, 40, 5)))
    for name in given:
        leaves = {k: x.detach().requires_grad_(k == name) for k, x in given.items()}
        selective_scan(**leaves, delta_softplus=True, backend=backend).sum().backward()
        assert error(leaves[name].grad, of_y[name]) < 1e-14
    leaves = {k: x.detach().requires_grad_() for k, x in given.items()}
    scan(leaves, backend)[1].sum().backward()  # from the last state alone
    of_state = gradients(given, backend, (torch.zeros(BATCH, 40, 20), torch.ones(BATCH, 40, 5)))
    assert error(leaves["u"].grad, of_state["u"]) < 1e-14


@every_backend
def test_calls_from_two_threads_at_once(backend):
    jobs = [arguments(200, seed=seed, **WIDE) for seed in range(2)]
    weights = torch.ones(BATCH, 40, 200), torch.ones(BATCH, 40, 5)
    expected = [gradients(given, backend, weights) for given in jobs]
    found, start = [[] for _ in jobs], threading.Barrier(len(jobs))

    def work(i):
        start.wait()
        found[i] += [gradients(jobs[i], backend, weights) for _ in range(5)]

    threads = [threading.Thread(target=work, args=(i,)) for i in range(len(jobs))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    for results, right in zip(found, expected, strict=True):
        assert len(results) == 5
        for one in results:
            assert_equal(one, right, 1e-12)


class CountNumbers(TorchDispatchMode):
    """How many numbers all operations of torch have written."""

    total = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        results = function(*args, **(kwargs or {}))
        self.total += sum(x.numel() for x in tree_leaves(results) if isinstance(x, torch.Tensor))
        return results


@every_backend
def test_backward_is_linear_in_length(backend):
    """The gradient of an index is a tensor of zeros as large as all positions: with one for each it is quadratic."""

    def numbers(length):
        given = arguments(length, dtype=torch.float32, batch=1, dim=32, d_state=16)
        y = scan({name: x.requires_grad_() for name, x in given.items()}, backend)[0].sum()
        with CountNumbers() as count:
            y.backward()
        return count.total

    assert numbers(8 * 196) < 20 * numbers(196), "8 times if it is linear, 64 times if it is quadratic"


# --- which backend is taken, and what is refused ---------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, value, said",
    [
        ("u", torch.zeros(4, 9), r"u must be \(batch, dim, length\), real and floating, got \(4, 9\)"),
        ("u", torch.zeros(2, 4, 9, dtype=torch.int64), r"u must be .* floating, got \(2, 4, 9\), torch.int64"),
        ("u", torch.zeros(2, 4, 0), r"u must have at least one channel and one position, got \(2, 4, 0\)"),
        ("u", torch.zeros(2, 0, 9), r"u must have at least one channel and one position, got \(2, 0, 9\)"),
        ("delta", torch.zeros(2, 4, 8), r"delta must be \(2, 4, 9\), got \(2, 4, 8\)"),
        ("A", torch.zeros(3, 3), r"A must be \(dim, d_state\) = \(4, at least 1\), got \(3, 3\)"),
        ("A", torch.zeros(4, 0), r"A must be \(dim, d_state\) = \(4, at least 1\), got \(4, 0\)"),
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
        ("backend", "triton", r"backend must be one that runs on cpu: .*associative, reference; got 'triton'"),
    ],
)
def test_errors_name_the_argument(name, value, said):
    with pytest.raises(ValueError, match=said):
        selective_scan(**{**arguments(), name: value})


@pytest.fixture
def all_run(monkeypatch):
    """``helpers.scan`` where every backend says that it runs, and what is left out is read anew."""
    from helpers import scan, triton_math

    monkeypatch.setattr(scan.mamba_ssm_kernel, "available", lambda device: True)
    monkeypatch.setattr(triton_math, "available", lambda device: True)
    monkeypatch.setattr(scan, "_numba_works", lambda: True)
    scan._without.cache_clear()
    scan._runs.cache_clear()
    yield scan
    scan._without.cache_clear()
    scan._runs.cache_clear()


@pytest.mark.parametrize("name", ["mamba_ssm", "triton", "numba"])
def test_what_is_left_out_is_not_chosen(all_run, monkeypatch, name):
    monkeypatch.setenv("SCAN_WITHOUT", f"{name}, ")
    assert {*all_run.backends("cuda"), *all_run.backends("cpu")} == set(all_run.BACKENDS) - {name}


def test_what_is_left_out_is_read_once(all_run, monkeypatch):
    monkeypatch.setenv("SCAN_WITHOUT", "triton")
    before = all_run.backends("cuda")
    monkeypatch.setenv("SCAN_WITHOUT", "mamba_ssm")
    assert all_run.backends("cuda") == before == ["mamba_ssm", "associative", "reference"]


class Chosen(Exception):
    """A backend was asked."""


@pytest.mark.parametrize(
    "dtype, without, options, expected",
    [
        (torch.float32, ["initial_state"], {}, "mamba_ssm"),
        (torch.float32, ["initial_state"], {"return_last_state": True}, "triton"),  # which has its gradient
        (torch.float32, [], {}, "triton"),
        (torch.bfloat16, [], {}, "triton"),
        (torch.float64, [], {}, "numba"),
        (torch.complex64, [], {}, "associative"),
    ],
)
def test_the_first_backend_is_chosen_that_can_run(all_run, monkeypatch, dtype, without, options, expected):
    from helpers.scan import numba_kernel, triton_kernel

    def chosen(name):
        def scan(*_, **__):
            raise Chosen(name)

        return scan

    modules = {"mamba_ssm": all_run.mamba_ssm_kernel, "triton": triton_kernel, "numba": numba_kernel}
    for name, module in modules.items():
        monkeypatch.setattr(module, "scan", chosen(name))
    monkeypatch.setitem(all_run._PLAIN, "associative", chosen("associative"))
    monkeypatch.setattr(all_run, "_backends", lambda device_type: all_run.BACKENDS)
    complex_A = dtype.is_complex
    given = arguments(complex_A=complex_A, dtype=torch.float32 if complex_A else dtype, without=without)
    with pytest.raises(Chosen, match=f"^{expected}$"):
        selective_scan(**given, **options)


@pytest.mark.parametrize("name", ["tritn", "associative", "reference"])
def test_a_misspelt_backend_is_refused_and_so_are_the_last_two(all_run, monkeypatch, name):
    monkeypatch.setenv("SCAN_WITHOUT", name)
    with pytest.raises(ValueError, match=f"SCAN_WITHOUT must name some of mamba_ssm, triton, numba, got {name!r}"):
        all_run.backends("cpu")


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
BREAKS_LLVM = """
import numba.core.codegen, numba.core.caching
def fail(*_): raise OSError("LLVM will not")
numba.core.codegen.JITCPUCodegen._create_empty_module = fail
numba.core.caching.FunctionCache.load_overload = lambda *_: None
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "breaks, said",
    [
        ("sys.modules['numba'] = None", "ModuleNotFoundError: import of numba halted"),
        (BREAKS_LLVM, "OSError: LLVM will not"),
    ],
    ids=["not installed", "does not compile"],
)
def test_without_numba_the_next_backend_takes_over_with_one_warning(breaks, said):
    run = run_python("-c", BROKEN.format(breaks=breaks))
    assert said in run.stdout, run.stderr
