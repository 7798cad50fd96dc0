"""How memory and a GPU's time are measured, what a longer call would cost, and how such numbers are written."""

import contextlib
import ctypes
import math
import re
import warnings
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from helpers.cuda_graph import WARM_UP, Recording

REPLAYS = 20  # of a CUDA graph, over which its time is averaged


class NotRun(Exception):
    """Why a contender is not timed, as the table says it."""


def peak_bytes(function, device) -> int | None:
    """The most memory that a call holds beyond what was in use before it, its results included.

    On a GPU torch keeps the account. On a CPU the system does, which sees what every library takes: the high-water mark
    of resident memory, which Linux can reset. Elsewhere ``None``.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    with contextlib.suppress(AttributeError, TypeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process keeps would be used again, unseen
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark is now what is resident now
        before = _high_water_mark()
    except OSError:
        return None
    function()
    return _high_water_mark() - before


def _high_water_mark():
    return 1024 * int(re.search(r"VmHWM:\s*(\d+) kB", Path("/proc/self/status").read_text())[1])


def kernel_seconds(function, device) -> float | None:
    """Seconds that a GPU works on a call, without the time that Python takes to start its kernels: they are replayed.

    ``None`` on a CPU, and where they cannot be recorded as a CUDA graph. What a call reads may still be in the GPU's
    cache from the call before.
    """
    if torch.device(device).type != "cuda":
        return None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the one that it cannot be recorded
        repeat = Recording()
        for _ in range(WARM_UP + 1):
            repeat(function)
    if repeat.graph is None:
        return None
    began, ended = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    began.record()
    for _ in range(REPLAYS):
        repeat(function)
    ended.record()
    ended.synchronize()
    return began.elapsed_time(ended) / 1e3 / REPLAYS


def bytes_moved(function) -> int:
    """Bytes that a call reads and writes: inputs and results of all torch operations but views, which move nothing."""

    class Count(TorchDispatchMode):
        moved = 0

        def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
            result = operation(*args, **(kwargs or {}))
            if not operation.is_view:
                tensors = (x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor))
                self.moved += sum(min(x.nbytes, x.untyped_storage().nbytes()) for x in tensors)
            return result

    with Count() as count:
        function()
    return count.moved


def saved_bytes(function) -> int:
    """Bytes that a call keeps for its backward pass, its inputs among them."""
    sizes = {}

    def note(x):
        sizes[x.untyped_storage().data_ptr()] = x.untyped_storage().nbytes()
        return x

    with torch.autograd.graph.saved_tensors_hooks(note, lambda x: x):
        result = function()  # alive until all is counted: no address is used twice
    del result
    return sum(sizes.values())


def run_in_process(function, *arguments):
    """Call a function in a fresh process, whose memory is not mixed with ours; it may be killed, and we go on.

    Where the system can fork, the process is a copy of one that has only imported torch, which saves seconds.

    Raises:
        NotRun: if the process is killed.
    """
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["torch"])
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise NotRun("failed: the process was killed, as happens where no memory is left") from error


def forecast(costs, length: int) -> float:
    """The cost at ``length``, where ``costs`` are ``(length, cost)`` at one or two shorter lengths.

    The cost of a position is taken to be a line in length: constant where the total is linear, rising where it is
    quadratic, never falling.
    """
    (x, low), (y, high) = ((at, cost / at) for at, cost in (costs[0], costs[-1]))
    rise = max(0.0, high - low) / (y - x) if y > x else 0.0
    return length * (high + rise * (length - y))


def format_number(value: float, digits: int = 3) -> str:
    """A positive number to ``digits`` digits, without an exponent."""
    return f"{value:,.{max(0, digits - 1 - math.floor(math.log10(value)))}f}" if value > 0 else "0"


def format_duration(seconds: float) -> str:
    """Seconds, to two digits, in the unit that fits: ``30 s``, ``2.0 min``."""
    return _in_units(seconds, {"h": 3600, "min": 60, "s": 1, "ms": 1e-3})


def format_bytes(size: float) -> str:
    """Bytes, to two digits, in the unit that fits: ``64 MB``."""
    return _in_units(size, {"GB": 1e9, "MB": 1e6, "kB": 1e3})


def _in_units(value, units):
    unit = next((unit for unit, size in units.items() if value >= size), list(units)[-1])
    return f"{format_number(value / units[unit], 2)} {unit}"
