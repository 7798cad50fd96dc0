"""Threads for our CPU kernels, which must share a machine with torch's own.

Three things slow a training step down on a CPU, and none of them is arithmetic: idle OpenMP threads that spin, threads
that wait for one another, and memory that the system has to clear. Nothing here happens at import; the first kernel
that runs sets up what it needs.
"""

import contextlib
import ctypes
import functools
import os
from concurrent.futures import ThreadPoolExecutor

import torch


def parallel_for(kernel, tasks: int, *arguments) -> None:
    """Call ``kernel(first, last, *arguments)`` until ``range(tasks)`` is done, on as many threads as torch uses.

    A task must be the same work, writing to the same places, whichever thread does it: then the number of threads
    cannot change the result. The kernel must release the GIL (``nogil=True``). An error in any thread is raised here.

    After each of its own parallel operations torch keeps its threads spinning for some milliseconds, in case another
    one follows, unless it was told to let them sleep (:mod:`helpers`). They would compete with ours: two threads would
    be no faster than one. So they are sent home first; starting them again costs torch some 60 microseconds.
    """
    keep_freed_memory()
    threads = min(torch.get_num_threads(), tasks)
    if threads <= 1:
        kernel(0, tasks, *arguments)
        return
    if os.environ.get("OMP_WAIT_POLICY", "").upper() != "PASSIVE":
        pause_torch_threads()
    size = max(1, tasks // (8 * threads))  # several chunks for each thread: one that is held up does not hold up all
    firsts = iter(range(0, tasks, size))

    def work():
        for first in firsts:
            kernel(first, min(first + size, tasks), *arguments)

    pool = _pool(os.getpid())
    helping = [pool.submit(work) for _ in range(threads - 1)]
    work()
    for other in helping:
        if not other.cancel():
            other.result()


@functools.lru_cache(maxsize=1)
def _pool(process):
    """One pool for each process: a forked child has none of its parent's threads."""
    return ThreadPoolExecutor(max(64, os.cpu_count() or 1), thread_name_prefix="one_pixel")


def pause_torch_threads() -> None:
    """Send torch's idle OpenMP threads home, where its OpenMP can be asked to; elsewhere do nothing."""
    _find_pause()()


@functools.cache
def _find_pause():
    with contextlib.suppress(OSError, TypeError, AttributeError):
        pause = ctypes.CDLL(None).omp_pause_resource_all
        return lambda: pause(1)  # omp_pause_soft: settings survive
    return lambda: None


@functools.cache
def keep_freed_memory() -> None:
    """Ask the C library, once, to keep freed memory for the next request, where it is glibc's and can be asked.

    By default glibc returns every large buffer to the system as soon as it is freed. The next one of the same size is
    then made of new pages, each of which the system clears when it is first touched: a third of a training step.
    """
    with contextlib.suppress(OSError, TypeError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(-1, 1 << 30)  # M_TRIM_THRESHOLD: bytes of free memory at the end of the heap that are kept
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD: the size from which a buffer is mapped on its own
