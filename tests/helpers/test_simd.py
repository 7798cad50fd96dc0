"""Sixteen lanes and some threads: what the fused CPU kernels are made of."""

import multiprocessing
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("numba")

from numba import njit

from helpers import simd
from helpers.simd import LANES, exp2, load, maximum, sigmoid, softplus, load_broadcast, store, sum_lanes


@njit
def exp2_of(x, out):
    for i in range(0, x.size, LANES):
        store(out, i, exp2(load(x, i)))


@njit
def softplus_of(x, out):
    for i in range(0, x.size, LANES):
        store(out, i, softplus(load(x, i)))


@njit
def sigmoid_of(x, out):
    for i in range(0, x.size, LANES):
        store(out, i, sigmoid(load(x, i)))


@njit
def copy_of(x, out):
    for i in range(0, x.size, LANES):
        store(out, i, load(x, i))


def test_bfloat16_is_read_exactly_and_rounded_to_nearest():
    every = torch.arange(2**16, dtype=torch.int32).to(torch.uint16).view(torch.bfloat16)
    found = torch.empty(2**16)
    copy_of(simd.array(every), simd.array(found))
    assert torch.equal(found.nan_to_num(7), every.float().nan_to_num(7))
    # Every bfloat16, its neighbours in float32, and the places half way to the next, where it goes to the even one.
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


def test_sums_over_lanes():
    @njit
    def sums(x, out):
        store(out, 0, sum_lanes(x, LANES))

    x = np.random.default_rng(0).normal(size=(LANES + 2, LANES))
    out = np.empty(LANES)
    sums(x, out)
    np.testing.assert_allclose(out, x[1:-1].sum(1), rtol=1e-12)


@njit(nogil=True)
def count(first, last, calls, who):
    for task in range(first, last):
        calls[task] += 1
        for _ in range(200_000):
            who[task] = who[task] * 0.999 + 1


def counted(tasks=64):
    calls, who = np.zeros(tasks), np.zeros(tasks)
    simd.run(count, tasks, calls, who)
    return calls


def test_every_task_is_done_once_whatever_the_number_of_threads():
    threads = torch.get_num_threads()
    try:
        for number in (1, 2, 3, 100):
            torch.set_num_threads(number)
            for tasks in (0, 1, 2, 63):
                assert (counted(tasks) == 1).all()
    finally:
        torch.set_num_threads(threads)


def test_an_error_in_a_thread_is_raised():
    def kernel(first, last):
        if threading.current_thread() is not threading.main_thread():
            raise ArithmeticError("in a helping thread")
        time.sleep(0.01)

    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with pytest.raises(ArithmeticError, match="in a helping thread"):
            simd.run(kernel, 64)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.skipif(
    not hasattr(multiprocessing, "get_context") or sys.platform == "win32", reason="Windows cannot fork"
)
def test_a_forked_process_gets_threads_of_its_own():
    counted()

    def child():
        torch.set_num_threads(2)
        simd._pause_torch = lambda: None  # torch's own threads do not survive a fork either, and it says so
        sys.exit(0 if (counted() == 1).all() else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch may use another OpenMP")
def test_torchs_idle_threads_are_sent_home():
    """Seen from outside: after the call, torch's thread is gone, and a parallel operation brings it back."""
    threads = torch.get_num_threads()

    def alive():
        return len(list(Path("/proc/self/task").iterdir()))

    try:
        torch.set_num_threads(4)
        torch.ones(1_000_000).exp()
        before = alive()
        simd._pause_torch()
        deadline = time.time() + 5
        while alive() > before - 3 and time.time() < deadline:
            time.sleep(0.01)
        assert alive() == before - 3
        torch.ones(1_000_000).exp()
        assert alive() == before
    finally:
        torch.set_num_threads(threads)
