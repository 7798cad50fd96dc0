"""How long things take: one call, or several that take turns, so that a machine that slows down slows all of them."""

import statistics
import time

import torch
from tqdm import tqdm


def time_once(function) -> float:
    """Seconds that one call takes, until its results are there."""
    began = time.perf_counter()
    function()
    if torch.cuda.is_available():
        torch.cuda.synchronize()  # a GPU is still at work when the call returns
    return time.perf_counter() - began


def time_interleaved(functions: dict, repeats: int, label: str | None = None, at_least: float = 0.0) -> dict:
    """Time functions in turn: ``{name: seconds in each round}``.

    Args:
        functions: ``{name: function}``. Each is called once unmeasured, then all in turn, ``repeats`` times.
        repeats: rounds. More of them, up to 30, where a round takes less than ``at_least / repeats`` seconds.
        label: of a progress bar; None for no bar.
        at_least: seconds that all rounds together should take.
    """
    times = {name: [] for name in functions}
    with tqdm(total=(repeats + 1) * len(functions), desc=label, leave=False, disable=label is None) as bar:
        first = 0.0
        for function in functions.values():
            first += time_once(function)
            bar.update()
        repeats = max(repeats, min(30, int(at_least / max(first, 1e-9))))  # a coarse clock may say 0
        bar.total = (repeats + 1) * len(functions)
        for _ in range(repeats):
            for name, function in functions.items():
                times[name].append(time_once(function))
                bar.update()
    return times


def median_seconds(functions: dict, repeats: int = 3) -> dict:
    """Time functions in turn: ``{name: median seconds}``. See :func:`time_interleaved`."""
    return {name: statistics.median(times) for name, times in time_interleaved(functions, repeats).items()}


def median_ratio(times, base) -> float:
    """How many times as long as ``base``: the median over the rounds, in each of which both met the same machine."""
    return statistics.median(a / b for a, b in zip(times, base, strict=True))
