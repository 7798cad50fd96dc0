"""Derivatives of every kind, of the scan, the convolution and a block: as the plain forms have them, or refused."""

import math

import pytest
import torch
from scan_cases import error
from torch.autograd import forward_ad
from torch.func import functional_call, grad, hessian, jacfwd, jacrev, jvp, vmap

from helpers.conv import causal_conv1d
from helpers.layers import Mamba, MambaRoPE
from helpers.scan import backends, selective_scan

pytestmark = pytest.mark.skipif("numba" not in backends("cpu"), reason="Numba does not work here")


def numbers(*shape):
    """Numbers that look random: a generator cannot be used under vmap."""
    return 2 * torch.sin(torch.arange(1.0, 1 + math.prod(shape), dtype=torch.float64).square()).reshape(shape)


def scan(u):
    B = numbers(1, 2, 5).expand(len(u), -1, -1)
    varying = {"delta": u.sin(), "B": B, "C": u[:, :2].cos(), "z": u.flip(2), "initial_state": u[:, :, :2]}
    fixed = {"A": -numbers(3, 2).exp(), "D": numbers(3), "delta_bias": numbers(3), "delta_softplus": True}
    y, state = selective_scan(u, **varying, **fixed, return_last_state=True)
    return y + state.sum()


def conv(x):
    return causal_conv1d(x, x[0, :, :4], x[0, :, 0], x[:, :, 2:5], activation="silu")


def block(kind):
    torch.manual_seed(0)
    layer = kind(4, d_state=2).double()
    return lambda x: layer(x.mT[..., :3].repeat(1, 1, 2)[..., :4])


FUNCTIONS = {"scan": scan, "conv": conv, "Mamba": block(Mamba), "MambaRoPE": block(MambaRoPE)}
every_function = pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)


@every_function
def test_tangents_are_those_of_finite_differences(function):
    x, v = numbers(2, 3, 5), numbers(5, 3, 2).permute(2, 1, 0)
    step = 1e-6
    expected = (function(x + step * v) - function(x - step * v)) / (2 * step)
    assert error(jvp(function, (x,), (v,))[1], expected) < 1e-7
    with forward_ad.dual_level():
        assert error(forward_ad.unpack_dual(function(forward_ad.make_dual(x, v))).tangent, expected) < 1e-7


@every_function
def test_transforms_agree_with_backpropagation(function):
    def loss(x):
        return function(x).square().sum()

    xs = numbers(4, 2, 3, 5)
    gradients = []
    for x in xs:
        leaf = x.clone().requires_grad_()
        gradients += torch.autograd.grad(loss(leaf), leaf)
    assert error(grad(loss)(xs[0]), gradients[0]) < 1e-12
    assert error(vmap(grad(loss))(xs), torch.stack(gradients)) < 1e-12, "a gradient for each example"
    assert error(vmap(function)(xs), torch.stack([function(x) for x in xs])) < 1e-12
    assert error(jacfwd(loss)(xs[0]), gradients[0]) < 1e-12 and error(jacrev(loss)(xs[0]), gradients[0]) < 1e-12


@every_function
def test_second_and_third_derivatives(function):
    x = numbers(2, 3, 5).requires_grad_()
    assert torch.autograd.gradgradcheck(function, x)


@every_function
def test_third_derivatives(function):
    x = numbers(1, 3, 5).requires_grad_()

    def slope_squared(f):
        return lambda x: grad(f)(x).square().sum()

    expected = grad(slope_squared(slope_squared(lambda x: function(x).square().sum())))(x.detach())
    y = function(x).square().sum()
    for _ in range(3):
        (found,) = torch.autograd.grad(y, x, create_graph=True)
        y = found.square().sum()
    assert error(found, expected) < 1e-9
    assert hessian(lambda x: function(x).sum())(x.detach()).isfinite().all()


@every_function
def test_many_gradients_at_once_are_refused_with_a_way_out(function):
    x = numbers(2, 3, 5).requires_grad_()
    y = function(x)
    with pytest.raises(RuntimeError, match=r"one gradient at a time.*torch\.func\.jacrev"):
        torch.autograd.grad(y, x, torch.ones(2, *y.shape, dtype=torch.float64), is_grads_batched=True)


def test_per_example_gradients_of_parameters():
    layer, xs = Mamba(8).double(), numbers(3, 6, 8)
    parameters = dict(layer.named_parameters())

    def loss(parameters, x):
        return functional_call(layer, parameters, (x[None],)).square().sum()

    found = vmap(grad(loss), in_dims=(None, 0))(parameters, xs)
    layer(xs[1:2]).square().sum().backward()
    for name, parameter in parameters.items():
        assert error(found[name][1], parameter.grad) < 1e-12, name


def test_what_is_asked_for_by_name_is_refused_by_name():
    x, weight = numbers(2, 3, 5), numbers(3, 4)
    with pytest.raises(ValueError, match=r"under torch\.func, .*: associative, reference; got 'numba'"):
        grad(lambda u: selective_scan(u, u, -u[0, :, :2], u[:, :2], u[:, :2], backend="numba").sum())(x)
    with pytest.raises(ValueError, match=r"under torch\.func, .*: reference; got 'numba'"):
        grad(lambda x: causal_conv1d(x, weight, activation="silu", backend="numba").sum())(x)


@pytest.mark.parametrize("strict", [False, True])
def test_an_exported_block_has_no_operator_of_ours(strict):
    layer, x = Mamba(8), torch.randn(2, 6, 8)
    exported = torch.export.export(layer, (x,), strict=strict)
    assert not [node for node in exported.graph.nodes if "one_pixel" in str(node.target)]
    assert error(exported.module()(x), layer(x)) < 1e-6
