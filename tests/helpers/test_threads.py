"""Threads for the CPU kernels: every task once, errors that arrive, and torch's own threads out of the way."""

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

from helpers import threads


@njit(nogil=True)
def count(first, last, calls, work):
    for task in range(first, last):
        calls[task] += 1
        for _ in range(200_000):
            work[task] = work[task] * 0.999 + 1


def counted(tasks=64):
    calls, work = np.zeros(tasks), np.zeros(tasks)
    threads.parallel_for(count, tasks, calls, work)
    return calls


@pytest.mark.parametrize("number", [1, 2, 3, 100])
def test_every_task_is_done_once_whatever_the_number_of_threads(set_threads, number):
    set_threads(number)
    for tasks in (0, 1, 2, 63):
        assert (counted(tasks) == 1).all()


@pytest.mark.parametrize("number", [1, 2])
def test_it_runs_on_as_many_threads_as_torch_uses_and_no_more(set_threads, number):
    seen = set()

    def kernel(first, last):
        seen.add(threading.get_ident())
        time.sleep(0.001)

    set_threads(number)
    threads.parallel_for(kernel, 64)
    assert len(seen) == number and threading.get_ident() in seen


def test_an_error_in_a_thread_is_raised(set_threads):
    started = threading.Event()

    def kernel(first, last):
        if threading.current_thread() is not threading.main_thread():
            started.set()
            raise ArithmeticError("in a helping thread")
        started.wait(10)

    set_threads(2)
    with pytest.raises(ArithmeticError, match="in a helping thread"):
        threads.parallel_for(kernel, 64)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot fork")
def test_a_forked_process_gets_threads_of_its_own(set_threads):
    set_threads(2)
    counted()

    def child():
        threads.pause_torch_threads = lambda: None  # torch's own threads do not survive a fork either, and it says so
        sys.exit(0 if (counted() == 1).all() else 1)

    process = multiprocessing.get_context("fork").Process(target=child)
    process.start()
    process.join(60)
    assert process.exitcode == 0


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere torch may use another OpenMP")
def test_torchs_idle_threads_are_sent_home(set_threads):
    """Seen from outside: after the call, torch's threads are gone, and a parallel operation brings them back."""

    def alive():
        return len(list(Path("/proc/self/task").iterdir()))

    set_threads(4)
    torch.ones(1_000_000).exp()
    before = alive()
    threads.pause_torch_threads()
    deadline = time.monotonic() + 30
    while alive() > before - 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert alive() == before - 3
    torch.ones(1_000_000).exp()
    assert alive() == before


def test_freed_memory_is_kept_where_the_c_library_can_be_asked(monkeypatch):
    asked = []

    class Library:
        def mallopt(self, *given):
            asked.append(given)

    monkeypatch.setattr(threads.ctypes, "CDLL", lambda name: Library())
    threads.keep_freed_memory.__wrapped__()
    assert asked == [(-1, 1 << 30), (-3, 1 << 30)], "M_TRIM_THRESHOLD and M_MMAP_THRESHOLD of glibc"


@pytest.mark.parametrize("library", [OSError, object], ids=["no library", "no such function"])
def test_elsewhere_nothing_is_asked(monkeypatch, library):
    def load(name):
        if library is OSError:
            raise OSError
        return library()

    monkeypatch.setattr(threads.ctypes, "CDLL", load)
    threads.keep_freed_memory.__wrapped__()
    threads._find_pause.__wrapped__()()
