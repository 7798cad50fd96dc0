"""What each thing costs, measured, and on what."""

import os
import platform
import statistics
import time

import torch


def device() -> torch.device:
    """The device everything runs on: the GPU where there is one that torch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def machine() -> str:
    """One line that says on what the page was run: Python, torch, device, processor, threads."""
    where = torch.cuda.get_device_name() if device().type == "cuda" else f"{platform.machine()} CPU"
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, {where},"
        f" {torch.get_num_threads()} of {os.cpu_count()} threads"
    )


def seconds(functions: dict, repeats: int = 3) -> dict:
    """Time functions beside one another: ``{name: median seconds}``.

    Each is called once unmeasured, then all in turn, ``repeats`` times, so that a machine which slows down slows all
    of them.
    """

    def once(function):
        began = time.perf_counter()
        function()
        if torch.cuda.is_available():
            torch.cuda.synchronize()  # a GPU is still at work when the call returns
        return time.perf_counter() - began

    for function in functions.values():
        once(function)
    rounds = [{name: once(function) for name, function in functions.items()} for _ in range(repeats)]
    return {name: statistics.median(round[name] for round in rounds) for name in functions}
