"""The short convolution and its SiLU, in one pass, equal what PyTorch computes in two."""

import pytest
import torch
import torch.nn.functional as F
from repository import run_python
from scan_cases import assert_equal, error, with_gradients

from helpers import conv
from helpers.conv import causal_conv1d

SHAPES = [(2, 20, 9, 4), (1, 16, 1, 4), (3, 5, 50, 2), (2, 33, 2, 4), (2, 3, 17, 1), (1, 32, 16, 7)]
BACKENDS = conv._backends("cpu")  # those of a GPU have tests of their own
needs_numba = pytest.mark.skipif("numba" not in BACKENDS, reason="Numba cannot be used here")
every_backend = pytest.mark.parametrize("backend", BACKENDS)


def fused(x, weight, bias=None, initial_states=None, backend=None):
    return causal_conv1d(x, weight, bias, initial_states, "silu", backend=backend)


def plain(x, weight, bias=None, initial_states=None):
    x = F.pad(x, (weight.shape[1] - 1, 0)) if initial_states is None else torch.cat([initial_states, x], -1)
    return F.conv1d(x, weight.unsqueeze(1), bias, groups=len(weight))


def inputs(batch, dim, length, width, dtype=torch.float32, without=()):
    random = torch.Generator().manual_seed(0)
    shapes = {
        "x": (batch, dim, length),
        "weight": (dim, width),
        "bias": (dim,),
        "initial_states": (batch, dim, width - 1),
    }
    given = {name: torch.randn(shape, generator=random, dtype=dtype) for name, shape in shapes.items()}
    return {name: x for name, x in given.items() if name not in without}


@every_backend
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("left_out", [(), ("bias",), ("initial_states",), ("bias", "initial_states")])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_pytorch(shape, left_out, activation, backend):
    given = inputs(*shape, without=left_out)
    if activation is None and backend == "numba":
        backend = None  # it always has its SiLU, and so another is chosen
    found = with_gradients(lambda **x: causal_conv1d(**x, activation=activation, backend=backend), given)
    exact = {name: x.double() for name, x in given.items()}
    assert_equal(found, with_gradients(lambda **x: F.silu(plain(**x)) if activation else plain(**x), exact), 2e-6)


@every_backend
@pytest.mark.parametrize("batch, dim, length, width", SHAPES)
def test_gradcheck(batch, dim, length, width, backend):
    given = inputs(batch, min(dim, 3), min(length, 10), width, torch.float64)
    assert torch.autograd.gradcheck(lambda *x: fused(*x, backend=backend), [x.requires_grad_() for x in given.values()])


@every_backend
def test_a_sequence_in_two_parts(backend):
    given = inputs(2, 20, 30, 4)
    x = given.pop("x")
    between = torch.cat([given["initial_states"], x[..., :11]], -1)[..., -3:]
    first = fused(x[..., :11], **given, backend=backend)
    second = fused(x[..., 11:], **{**given, "initial_states": between}, backend=backend)
    assert error(torch.cat([first, second], -1), fused(x, **given, backend=backend)) < 1e-6


@every_backend
def test_sees_nothing_of_the_future_and_four_positions_of_the_past(backend):
    given = inputs(1, 16, 40, 4)
    changed = {**given, "x": given["x"].clone()}
    changed["x"][..., 20] += 1
    moved = fused(**changed, backend=backend) != fused(**given, backend=backend)
    assert moved.any(1)[0].nonzero().flatten().tolist() == [20, 21, 22, 23]


def test_any_strides():
    given = inputs(2, 20, 30, 4)
    views = {name: x.transpose(0, -1).contiguous().transpose(0, -1) for name, x in given.items()}
    assert_equal(with_gradients(fused, views), with_gradients(fused, given), 1e-30)


@every_backend
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype, backend):
    given = inputs(2, 20, 30, 4)
    given = {name: x.to(dtype) for name, x in given.items()}
    found, expected = fused(**given, backend=backend), F.silu(plain(**{name: x.float() for name, x in given.items()}))
    assert found.dtype == dtype and error(found, expected) < torch.finfo(dtype).eps


def test_the_number_of_threads_changes_nothing(set_threads):
    given, results = inputs(5, 40, 100, 4), []
    for number in (1, 2, 5):
        set_threads(number)
        results.append(with_gradients(fused, given))
    assert all(torch.equal(x, other[name]) for other in results[1:] for name, x in results[0].items())


@needs_numba
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("left_out", [(), ("bias", "initial_states")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_an_operator_of_torch(left_out, transposed, dtype):
    from helpers.conv.numba_kernel import _conv

    given = [None if name in left_out else x for name, x in inputs(2, 20, 9, 4).items()]
    given[0] = (given[0].mT.contiguous().mT if transposed else given[0]).to(dtype)
    torch.library.opcheck(_conv, [x if x is None else x.requires_grad_() for x in given])


@needs_numba
def test_compiles_without_a_break():
    given = inputs(2, 20, 9, 4)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    assert_equal(with_gradients(compiled, given), with_gradients(fused, given), 1e-6)


@needs_numba
def test_without_its_kernel_pytorch_takes_over(monkeypatch):
    given = inputs(2, 20, 9, 4)
    expected = fused(**given)
    monkeypatch.setattr(conv, "numba_works", lambda: False)
    assert error(fused(**given), expected) < 1e-6
    with pytest.raises(ValueError, match="backend must be one that runs on cpu: reference; got 'numba'"):
        fused(**given, backend="numba")


@pytest.mark.parametrize(
    "runs, change, chosen",
    [
        (("triton", "causal_conv1d"), {}, "triton"),
        (("causal_conv1d",), {}, "causal_conv1d"),
        (("causal_conv1d",), {"weight": torch.zeros(20, 5)}, "reference"),  # it is for widths up to 4
        (("triton",), {"x": torch.zeros(2, 20, 9, dtype=torch.float64)}, "reference"),
        (("triton",), {"activation": None}, "triton"),
        ((), {}, "reference"),
    ],
)
def test_the_first_backend_that_can_is_chosen(monkeypatch, runs, change, chosen):
    """As on a GPU: no kernel is there, and who is asked says so."""
    pytest.importorskip("triton", reason="Triton is not installed: it is for Linux")
    from helpers.conv import causal_conv1d_kernel, reference, triton_kernel

    asked = []
    modules = {"triton": triton_kernel, "causal_conv1d": causal_conv1d_kernel, "reference": reference}
    for name, module in modules.items():
        monkeypatch.setattr(module, "causal_conv1d", lambda x, *rest, name=name: asked.append(name) or x)
    monkeypatch.setattr(conv, "_runs", lambda name, device_type: name in runs)
    given = {**inputs(2, 20, 9, 4, without=("initial_states",)), "activation": "silu", **change}
    causal_conv1d(**given)
    assert asked == [chosen]


@needs_numba
@pytest.mark.slow
def test_asks_for_its_own_kernel_and_not_for_the_scans():
    code = """if True:
        import torch
        from helpers import conv, scan
        from helpers.conv import numba_kernel
        calls, original = [], numba_kernel.causal_conv1d
        numba_kernel.causal_conv1d = lambda *given: calls.append(given) or original(*given)
        x = torch.ones(1, 16, 5)
        conv.causal_conv1d(x, x[0, :, :4], activation="silu")
        print(scan.backends("cpu"), len(calls))
    """
    run = run_python("-W", "error", "-c", code, SCAN_WITHOUT="numba")
    assert run.stdout == "['associative', 'reference'] 2\n", run.stderr  # the first call is the one that tries it out


@pytest.mark.parametrize(
    "change, said",
    [
        ({"x": torch.zeros(2, 20)}, r"x must be \(batch, dim, length\), real and floating, got \(2, 20\)"),
        ({"x": torch.zeros(2, 20, 9, dtype=torch.int64)}, "x must be .* got .*int64"),
        ({"x": torch.zeros(2, 20, 0)}, r"x must have at least one channel and one position, got \(2, 20, 0\)"),
        ({"x": torch.zeros(2, 0, 9)}, r"x must have at least one channel and one position, got \(2, 0, 9\)"),
        ({"weight": torch.zeros(20, 1, 4)}, r"weight must be \(dim, width\) = \(20, .*\), got \(20, 1, 4\)"),
        ({"weight": torch.zeros(20, 0)}, r"weight must be .* at least 1.* got \(20, 0\)"),
        ({"bias": torch.zeros(21)}, r"bias must be \(20,\), got \(21,\)"),
        ({"initial_states": torch.zeros(2, 20, 4)}, r"initial_states must be \(2, 20, 3\), got \(2, 20, 4\)"),
        ({"bias": torch.zeros(20, device="meta")}, "bias must be on cpu, where x is, got meta"),
        ({"activation": "relu"}, "activation must be None or 'silu', got 'relu'"),
        ({"backend": "cuda"}, "backend must be None or one of triton, causal_conv1d, numba, reference, got 'cuda'"),
        ({"backend": "triton"}, "backend must be one that runs on cpu: .*reference; got 'triton'"),
        pytest.param(
            {"backend": "numba"}, "activation must be 'silu' for backend 'numba', got None", marks=needs_numba
        ),
    ],
)
def test_errors_name_the_argument(change, said):
    with pytest.raises(ValueError, match=said):
        causal_conv1d(**{**inputs(2, 20, 9, 4), **change})


@needs_numba
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_channels_last_is_not_copied(monkeypatch, dtype):
    from helpers.conv import numba_kernel

    x, read = torch.randn(2, 9, 32).to(dtype).mT, []
    original = numba_kernel.parallel_for
    monkeypatch.setattr(numba_kernel, "parallel_for", lambda *given: read.append(given[2]) or original(*given))
    causal_conv1d(x, torch.randn(32, 4), activation="silu", backend="numba")
    assert read[0].ctypes.data == x.data_ptr()
