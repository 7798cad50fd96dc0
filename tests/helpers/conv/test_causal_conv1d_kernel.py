"""What upstream's convolution is asked, and what it is not; its numbers where it is installed."""

import importlib.util
import re
import sys
from types import ModuleType, SimpleNamespace

import pytest
import torch
from scan_cases import assert_equal, with_gradients

from helpers import conv
from helpers.conv import causal_conv1d_kernel as kernel


def zeros(*shape, channels_last=False, dtype=torch.float32):
    x = torch.zeros(*shape, dtype=dtype)
    return x.mT.contiguous().mT if channels_last else x


@pytest.mark.parametrize(
    "x, width, states, why",
    [
        (zeros(2, 16, 9), 4, False, None),
        (zeros(2, 5, 9), 2, False, None),
        (zeros(2, 16, 9, channels_last=True), 3, True, None),
        (zeros(2, 16, 9, dtype=torch.float64), 4, False, "x must be float32, float16 or bfloat16 .*float64"),
        (zeros(2, 16, 9), 1, False, r"weight must be \(dim, 2 to 4\) for .* got \(16, 1\)"),
        (zeros(2, 16, 9), 5, False, r"weight must be \(dim, 2 to 4\) for .* got \(16, 5\)"),
        (
            zeros(2, 12, 9, channels_last=True),
            4,
            False,
            r"multiples of 8 .* got \(2, 12, 9\) with strides \(108, 1, 12\)",
        ),
        (zeros(2, 20, 9, channels_last=True)[:, :8], 4, False, r"multiples of 8 .* strides \(180, 1, 20\)"),
        (zeros(2, 16, 9), 4, True, r"channels last .* with initial_states, got strides \(144, 9, 1\)"),
    ],
)
def test_what_it_cannot_do_is_said(x, width, states, why):
    found = kernel.refusal(x, torch.zeros(x.shape[1], width), torch.zeros(1) if states else None)
    assert found is None if why is None else re.search(why, found), found


def test_upstream_gets_what_it_demands(monkeypatch):
    asked, package = {}, ModuleType("causal_conv1d")

    def causal_conv1d_fn(x, weight, bias=None, *, initial_states=None, activation=None):
        asked.update(x=x, initial_states=initial_states, activation=activation)
        return x

    package.causal_conv1d_fn = causal_conv1d_fn
    monkeypatch.setitem(sys.modules, "causal_conv1d", package)
    buffer = torch.arange(2 * 9 * 16 + 1.0)
    x = buffer[1:].view(2, 9, 16).mT.to(torch.float32)  # 4 bytes behind where it may be read
    states = torch.randn(2, 16, 3)
    kernel.causal_conv1d(x, torch.zeros(16, 4), None, states, "silu")
    assert torch.equal(asked["x"], x) and asked["x"].data_ptr() % 16 == 0 and asked["x"].stride() == x.stride()
    assert torch.equal(asked["initial_states"], states) and asked["initial_states"].stride(1) == 1
    kernel.causal_conv1d(x.bfloat16(), torch.zeros(16, 4), None, states, None)
    assert asked["initial_states"].dtype == torch.bfloat16 and asked["activation"] is None


def test_a_broken_package_is_a_warning(monkeypatch):
    class Loader(kernel.ExtensionFileLoader):
        def __init__(self):
            pass

    monkeypatch.setattr(importlib.util, "find_spec", lambda name: SimpleNamespace(loader=Loader()))
    monkeypatch.setattr(importlib, "import_module", lambda name: exec("raise ImportError('undefined symbol')"))
    kernel._imports.cache_clear()
    with pytest.warns(UserWarning, match="causal-conv1d is installed but does not import .*undefined symbol"):
        assert not kernel.available("cuda")
    kernel._imports.cache_clear()
    assert not kernel.available("cpu")


@pytest.mark.gpu
@pytest.mark.parametrize("states", [False, True])
@pytest.mark.parametrize("channels_last", [False, True])
def test_equals_ours(channels_last, states):
    if "causal_conv1d" not in conv._backends("cuda"):
        pytest.skip("causal-conv1d is not installed here")
    random = torch.Generator().manual_seed(0)
    shapes = {"x": (3, 64, 100), "weight": (64, 4), "bias": (64,), "initial_states": (3, 64, 3)}
    given = {name: torch.randn(shape, generator=random).cuda() for name, shape in shapes.items()}
    if not states or not channels_last:
        del given["initial_states"]
    if channels_last:
        given["x"] = given["x"].mT.contiguous().mT
    exact = {name: x.double() for name, x in given.items()}
    found = with_gradients(lambda **x: conv.causal_conv1d(**x, activation="silu", backend="causal_conv1d"), given)
    assert_equal(found, with_gradients(lambda **x: conv.causal_conv1d(**x, activation="silu"), exact), 2e-5)
