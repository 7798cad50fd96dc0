"""How memory is measured, what a call would cost at a greater length, and how such numbers are written."""

import contextlib
import ctypes
import math
import os
import sys
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import get_all_start_methods, get_context
from pathlib import Path

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class NotRun(Exception):
    """Why a contender is not timed, as the table says it."""


def peak_bytes(function, device) -> int | None:
    """The most memory that a call holds beyond what was in use before it, its results included.

    On a GPU by torch's own account. On a CPU by the system's, which sees what every library takes: the high-water mark
    of resident memory, which Linux can set back. Elsewhere ``None``.
    """
    if torch.device(device).type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        return torch.cuda.max_memory_allocated() - before
    if sys.platform != "linux":
        return None
    with contextlib.suppress(AttributeError):  # only glibc has it
        ctypes.CDLL(None).malloc_trim(0)  # freed memory that the process keeps would be used again, unseen
    try:
        Path("/proc/self/clear_refs").write_text("5")  # the mark is now what is resident now
        before = _high_water_mark()
    except OSError:  # a kernel that does not offer it
        return None
    function()
    return _high_water_mark() - before


def _high_water_mark():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM"))


def bytes_moved(function) -> int:
    """Bytes that a call reads and writes: the inputs and results of every operation that it is made of.

    An operation is what torch sees as one, a fused kernel as well as an addition. Views move nothing.
    """

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
    """Call a function in a fresh process: its memory is not mixed with ours, and we survive if it is killed.

    Where the system can, the process is a copy of one that has only imported torch, which saves seconds.

    Raises:
        NotRun: if the process is killed, as it is where no memory is left.
    """
    context = get_context("forkserver" if "forkserver" in get_all_start_methods() else "spawn")
    if context.get_start_method() == "forkserver":
        context.set_forkserver_preload(["torch"])
    with ProcessPoolExecutor(1, context) as pool:
        try:
            return pool.submit(function, *arguments).result()
        except BrokenProcessPool as error:
            raise NotRun("failed: the process was killed, as happens where no memory is left") from error


def forecast(points, length: float) -> float:
    """The cost at ``length`` by the line through the last two of ``points``, pairs ``(length, cost)``.

    At a constant number of positions what is linear in length costs the same at every length, and what is quadratic
    rises along a line. The cost is never taken to fall.
    """
    (x, low), (y, high) = points[-2] if len(points) > 1 else points[-1], points[-1]
    return high + (max(0.0, high - low) * (length - y) / (y - x) if y > x else 0.0)


def half_of_memory() -> float:
    """Half of the machine's memory in bytes, or 4 GB where the system does not tell."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2
    except (AttributeError, OSError, ValueError):
        return 4e9


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
