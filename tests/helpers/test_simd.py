"""Sixteen lanes: what the fused CPU kernels are made of."""

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from numba import njit

from helpers import simd
from helpers.simd import LANES, exp2, load, load_broadcast, maximum, sigmoid, softplus, store, sum_lanes


def elementwise(function):
    """A compiled loop that puts ``function`` of an array into another."""

    @njit
    def loop(x, out):
        for i in range(0, x.size, LANES):
            store(out, i, function(load(x, i)))

    return loop


exp2_of, softplus_of, sigmoid_of, copy_of = map(elementwise, (exp2, softplus, sigmoid, njit(lambda x: x)))


def test_bfloat16_is_read_exactly_and_rounded_to_nearest():
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    found = torch.empty(2**16)
    copy_of(simd.array(every), simd.array(found))
    assert torch.equal(found.nan_to_num(7), every.float().nan_to_num(7))
    # Every bfloat16, its neighbors in float32, and the places half way to the next, where it goes to the even one.
    near = torch.cat(
        [(found.view(torch.int32) + off).view(torch.float32) for off in (0, -1, 1, 0x7FFF, 0x8000, 0x8001)]
    )
    rounded = torch.empty(len(near), dtype=torch.bfloat16)
    copy_of(simd.array(near), simd.array(rounded))
    assert torch.equal(rounded.nan_to_num(7), near.bfloat16().nan_to_num(7))
    assert torch.equal(rounded.isnan(), near.isnan())
    assert torch.equal(simd.tensor(simd.array(rounded)).view(torch.int16), rounded.view(torch.int16))


def largest_relative_error(function, exact, low, high, real):
    x = np.linspace(low, high, 1_000_000 // LANES * LANES).astype(real)
    found = np.empty_like(x)
    function(x, found)
    true = exact(x.astype(np.longdouble))
    return float(np.max(np.abs(found - true) / true))


@pytest.mark.parametrize(
    "real, low, high, ulps",
    [(np.float32, -126, 127.9, 2.5), (np.float64, -1022, 1023.9, 8)],
)
def test_exp2(real, low, high, ulps):
    assert largest_relative_error(exp2_of, np.exp2, low, high, real) < ulps * np.finfo(real).eps


@pytest.mark.parametrize("real, bound", [(np.float32, 5e-6), (np.float64, 1e-14)])
def test_softplus_and_sigmoid(real, bound):
    """Their relative error grows with -x, as that of exp(x * log2(e)) does."""
    assert largest_relative_error(softplus_of, lambda x: np.logaddexp(0, x), -80, 80, real) < bound
    assert largest_relative_error(sigmoid_of, lambda x: 1 / (1 + np.exp(-x)), -80, 80, real) < bound


@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_far_away_and_not_a_number(real):
    x = np.array([0, -2000, 2000, np.nan, np.inf, -np.inf, 1, -1] * 2, dtype=real)
    out = np.empty_like(x)
    exp2_of(x, out)
    np.testing.assert_array_equal(out[[0, 1, 2, 4, 5]], [1, 0, np.inf, np.inf, 0])  # exactly
    assert not np.isfinite(out[3])
    softplus_of(x, out)
    np.testing.assert_allclose(
        out[:8], [np.log(2), 0, 2000, np.nan, np.inf, 0, np.log1p(np.e), np.log1p(1 / np.e)], 3e-7
    )
    sigmoid_of(x, out)
    np.testing.assert_allclose(out[[0, 1, 2, 4, 5]], [0.5, 0, 1, 1, 0])


def test_arithmetic_on_lanes():
    @njit
    def compute(x, y, out):
        a, b = load(x, 0), load(y, 0)
        results = (a + b, a - b, a * b, a / b, maximum(a, b), a * x.dtype.type(2), load_broadcast(y, 3) - a)
        for i in range(len(results)):
            store(out, i * LANES, results[i])

    x, y = np.random.default_rng(0).normal(size=(2, LANES)).astype(np.float32)
    out = np.empty((7, LANES), np.float32)
    compute(x, y, out)
    expected = [x + y, x - y, x * y, x / y, np.maximum(x, y), 2 * x, y[3] - x]
    np.testing.assert_allclose(out, expected, rtol=1e-6)


def test_maximum_keeps_what_is_not_a_number_in_its_first_argument():
    @njit
    def compute(x, y, out):
        store(out, 0, maximum(load(x, 0), load(y, 0)))

    x, y = np.full(LANES, np.nan), np.arange(LANES, dtype=float)
    out = np.empty(LANES)
    compute(x, y, out)
    assert np.isnan(out).all()


def test_sums_over_lanes():
    @njit
    def sums(x, out):
        store(out, 0, sum_lanes(x, LANES))

    x = np.random.default_rng(0).normal(size=(LANES + 2, LANES))
    out = np.empty(LANES)
    sums(x, out)
    np.testing.assert_allclose(out, x[1:-1].sum(1), rtol=1e-12)
