"""The convolution fused on the GPU: its numbers, and that it is an operator of torch.

As with the scan, every test runs in Triton's interpreter, in a process of its own, and where there is a GPU on that.
"""

import os

import pytest
import torch
import torch.nn.functional as F
from scan_cases import assert_equal, error, with_gradients

pytest.importorskip("triton", reason="Triton is not installed: it is for Linux")

from helpers.conv import reference, triton_kernel

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
OPTIONAL = ("bias", "initial_states")


@pytest.fixture(
    autouse=True,
    params=[
        pytest.param("interpreted", marks=pytest.mark.own_process(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")),
        *([pytest.param("on the GPU", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []),
    ],
)
def where(request):
    """Once in the interpreter and once on the GPU."""


def slow(*cases):
    return [pytest.param(*case, marks=pytest.mark.slow) for case in cases]


def inputs(batch, dim, length, width, channels_last=False, without=()):
    random = torch.Generator().manual_seed(0)
    shapes = {
        "x": (batch, dim, length),
        "weight": (dim, width),
        "bias": (dim,),
        "initial_states": (batch, dim, width - 1),
    }
    given = {name: torch.randn(shape, generator=random).to(DEVICE) for name, shape in shapes.items()}
    if channels_last:
        given["x"] = given["x"].mT.contiguous().mT
    return {name: x for name, x in given.items() if name not in without}


def fused(x, weight, bias=None, initial_states=None, activation="silu"):
    return triton_kernel.causal_conv1d(x, weight, bias, initial_states, activation)


def plain(x, weight, bias=None, initial_states=None, activation="silu"):
    return reference.causal_conv1d(x, weight, bias, initial_states, activation)


def check(given, activation="silu", bound=2e-6):
    exact = {name: x.double() for name, x in given.items()}
    found = with_gradients(lambda **x: fused(**x, activation=activation), given)
    assert_equal(found, with_gradients(lambda **x: plain(**x, activation=activation), exact), bound)


@pytest.mark.parametrize(
    "shape, channels_last",
    [
        ((2, 5, 20, 4), True),  # two programs along the length, the second not full
        *slow(
            ((2, 5, 20, 4), False),
            ((1, 3, 1, 4), True),  # shorter than its window
            ((2, 3, 17, 1), False),
            ((1, 2, 16, 3), True),
            ((1, 2, 20, 5), False),  # a loop over single taps
            ((1, 2, 20, 12), True),  # over three times four; the initial states need a program of their own
            ((1, 2, 3, 32), True),
            ((3, 50, 5, 2), True),  # two programs for 150 sequences
            ((0, 3, 5, 4), True),
        ),
    ],
)
def test_equals_pytorch(shape, channels_last):
    check(inputs(*shape, channels_last))


@pytest.mark.parametrize("shape", [(16, 128, 784, 4), (16, 128, 784, 32), (256, 2, 784, 4), (3, 200, 1000, 3)])
@pytest.mark.parametrize("channels_last", [False, True])
def test_shapes_of_real_layers(shape, channels_last):
    if DEVICE == "cpu":
        pytest.skip("there is no GPU here, and the interpreter would take hours")
    check(inputs(*shape, channels_last), bound=2e-5)


@pytest.mark.slow
@pytest.mark.parametrize("width", [4, 8])
@pytest.mark.parametrize("activation", ["silu", None])
@pytest.mark.parametrize("without", [(), ("bias",), ("initial_states",), OPTIONAL], ids="-".join)
def test_options(without, activation, width):
    check(inputs(1, 3, 9, width, without=without), activation)


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_only_storage(dtype):
    given = inputs(2, 3, 9, 4, True)
    given["x"] = given["x"].to(dtype)
    found, exact = with_gradients(fused, given), with_gradients(plain, {name: x.double() for name, x in given.items()})
    assert found["y"].dtype == found["dx"].dtype == dtype and found["dweight"].dtype == torch.float32
    assert_equal(found, exact, torch.finfo(dtype).eps)


def test_a_view_is_read_as_it_lies_and_its_layout_kept():
    given = inputs(1, 4, 5, 3, without=("initial_states",))
    x = torch.randn(1, 5, 8, generator=torch.Generator().manual_seed(2)).to(DEVICE).mT  # as a projection leaves it
    given["x"], expected = x[:, 4:], {**given, "x": x[:, 4:].contiguous()}
    found = with_gradients(fused, given)
    assert_equal(found, with_gradients(fused, expected), 1e-30)
    assert found["y"].stride(1) == 1 and found["dx"].stride(1) == 1


@pytest.mark.slow
def test_the_same_every_time():
    runs = [with_gradients(fused, inputs(2, 3, 40, 4)) for _ in range(2)]
    assert all(torch.equal(x, runs[1][name]) for name, x in runs[0].items())


@pytest.mark.slow
@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "minimal"])
def test_second_derivatives_are_those_of_the_plain_form(without):
    given, found = inputs(1, 2, 6, 3, without=without), []
    for function in (fused, plain):
        leaves = {name: x.clone().requires_grad_() for name, x in given.items()}
        slopes = torch.autograd.grad(function(**leaves).square().sum(), list(leaves.values()), create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), list(leaves.values())))
    assert all(error(x, y) < 1e-5 for x, y in zip(*found, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("channels_last", [False, True])
@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "minimal"])
def test_operators(channels_last, without):
    given = inputs(1, 3, 6, 4, channels_last)
    tensors = [None if name in without else x for name, x in given.items()]
    torch.library.opcheck(triton_kernel._conv, (*(x if x is None else x.requires_grad_() for x in tensors), True))
    tensors = [x if x is None else x.detach() for x in tensors]
    torch.library.opcheck(triton_kernel._conv_backward, (torch.ones_like(tensors[0]), *tensors, True))


@pytest.mark.slow
def test_compiles_without_a_break():
    given = inputs(2, 3, 9, 4, True)
    compiled = torch.compile(fused, fullgraph=True, backend="aot_eager")
    assert_equal(with_gradients(compiled, given), with_gradients(fused, given), 1e-6)


@pytest.mark.slow
def test_sees_nothing_of_the_future():
    given = inputs(1, 2, 40, 4)
    changed = {**given, "x": given["x"].clone()}
    changed["x"][..., 20] += 1
    moved = fused(**changed) != fused(**given)
    assert moved.any(1)[0].nonzero().flatten().tolist() == [20, 21, 22, 23]
    assert error(fused(**given), F.silu(plain(**given, activation=None))) < 1e-6
