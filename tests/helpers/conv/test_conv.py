"""The short convolution and its SiLU, in one pass, equal what PyTorch computes in two."""

import pytest
import torch
import torch.nn.functional as F
from test_scan import error

from helpers.conv import causal_conv1d
from helpers.scan import backends

SHAPES = [(2, 20, 9, 4), (1, 16, 1, 4), (3, 5, 50, 2), (2, 33, 2, 4), (2, 3, 17, 1), (1, 32, 16, 7)]


def plain(x, weight, bias=None, window=None):
    x = F.pad(x, (weight.shape[1] - 1, 0)) if window is None else torch.cat([window, x], -1)
    return F.silu(F.conv1d(x, weight.unsqueeze(1), bias, groups=len(weight)))


def inputs(batch, dim, length, taps, dtype=torch.float32):
    random = torch.Generator().manual_seed(0)
    shapes = {
        "x": (batch, dim, length),
        "weight": (dim, taps),
        "bias": (dim,),
        "window": (batch, dim, taps - 1),
    }
    return {name: torch.randn(shape, generator=random, dtype=dtype) for name, shape in shapes.items()}


def with_gradients(function, given):
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    y = function(**leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return [y, *torch.autograd.grad((y * weight).sum(), list(leaves.values()))]


@pytest.mark.parametrize("left_out", [(), ("bias",), ("window",), ("bias", "window")])
@pytest.mark.parametrize("shape", SHAPES)
def test_equals_pytorch(shape, left_out):
    given = {name: x for name, x in inputs(*shape).items() if name not in left_out}
    exact = with_gradients(plain, {name: x.double() for name, x in given.items()})
    for found, expected in zip(with_gradients(causal_conv1d, given), exact, strict=True):
        assert found.shape == expected.shape
        assert not found.numel() or error(found.double(), expected) < 2e-6


@pytest.mark.parametrize("shape", SHAPES)
def test_gradcheck(shape):
    batch, dim, length, taps = shape
    given = inputs(batch, min(dim, 3), min(length, 20), taps, torch.float64)
    assert torch.autograd.gradcheck(causal_conv1d, [x.requires_grad_() for x in given.values()])


def test_a_sequence_in_two_parts():
    given = inputs(2, 20, 30, 4)
    x = given.pop("x")
    window = torch.cat([given["window"], x[..., :11]], -1)[..., -3:]
    parts = [causal_conv1d(x[..., :11], **given), causal_conv1d(x[..., 11:], **{**given, "window": window})]
    assert torch.equal(torch.cat(parts, -1), causal_conv1d(x, **given))


def test_sees_nothing_of_the_future_and_four_positions_of_the_past():
    given = inputs(1, 16, 40, 4)
    changed = {**given, "x": given["x"].clone()}
    changed["x"][..., 20] += 1
    moved = (causal_conv1d(**changed) != causal_conv1d(**given)).any(1)[0].nonzero().flatten().tolist()
    assert moved == [20, 21, 22, 23]


def test_any_strides():
    given = inputs(2, 20, 30, 4)
    views = {name: x.transpose(0, -1).contiguous().transpose(0, -1) for name, x in given.items()}
    for found, expected in zip(with_gradients(causal_conv1d, views), with_gradients(causal_conv1d, given), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    given = {name: x.to(dtype) for name, x in inputs(2, 20, 30, 4).items()}
    found, expected = causal_conv1d(**given), plain(**{name: x.float() for name, x in given.items()})
    assert found.dtype == dtype and error(found.float(), expected) < torch.finfo(dtype).eps


def test_the_number_of_threads_changes_nothing():
    given = inputs(5, 40, 100, 4)
    before = torch.get_num_threads()
    results = []
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            results.append(with_gradients(causal_conv1d, given))
    finally:
        torch.set_num_threads(before)
    assert all(torch.equal(x, y) for other in results[1:] for x, y in zip(results[0], other, strict=True))


needs_numba = pytest.mark.skipif("numba" not in backends("cpu"), reason="Numba cannot be used here")


@needs_numba
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("left_out", [(), ("bias", "window")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_is_an_operator_of_torch(left_out, transposed, dtype):
    from helpers.conv.numba_kernel import _conv

    given = [None if name in left_out else x for name, x in inputs(2, 20, 9, 4).items()]
    given[0] = (given[0].mT.contiguous().mT if transposed else given[0]).to(dtype)
    torch.library.opcheck(_conv, [x if x is None else x.requires_grad_() for x in given])


@needs_numba
def test_compiles_without_a_break():
    given = inputs(2, 20, 9, 4)
    compiled = torch.compile(causal_conv1d, fullgraph=True)
    for found, expected in zip(with_gradients(compiled, given), with_gradients(causal_conv1d, given), strict=True):
        assert error(found, expected) < 1e-6


@needs_numba
def test_a_second_derivative_is_refused():
    x, weight = (inputs(1, 16, 5, 4)[name].requires_grad_() for name in ("x", "weight"))
    (grad,) = torch.autograd.grad(causal_conv1d(x, weight).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"no second derivative .*conv_silu_backward.*conv1d instead"):
        grad.sum().backward()


@needs_numba
def test_without_numba_pytorch_takes_over(monkeypatch):
    from helpers import conv, numba_kernel

    given = inputs(2, 20, 9, 4)
    fused = causal_conv1d(**given)
    monkeypatch.setattr(conv, "backends", lambda device: ["reference"])
    monkeypatch.setattr(numba_kernel, "causal_conv1d", None)
    assert error(causal_conv1d(**given), fused) < 1e-6


@pytest.mark.parametrize(
    "change, said",
    [
        ({"x": torch.zeros(2, 20)}, r"x must be \(batch, dim, length\), real and floating, got \(2, 20\)"),
        ({"x": torch.zeros(2, 20, 9, dtype=torch.int64)}, "x must be .* got .*int64"),
        ({"weight": torch.zeros(20, 1, 4)}, r"weight must be \(dim, taps\) = \(20, .*\), got \(20, 1, 4\)"),
        ({"weight": torch.zeros(20, 0)}, r"weight must be .* at least 1.* got \(20, 0\)"),
        ({"bias": torch.zeros(21)}, r"bias must be \(20,\), got \(21,\)"),
        ({"window": torch.zeros(2, 20, 4)}, r"window must be \(2, 20, 3\), got \(2, 20, 4\)"),
        ({"bias": torch.zeros(20, device="meta")}, "bias must be on cpu, where x is, got meta"),
    ],
)
def test_errors_name_the_argument(change, said):
    with pytest.raises(ValueError, match=said):
        causal_conv1d(**{**inputs(2, 20, 9, 4), **change})
