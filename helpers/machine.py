"""What a page runs on: the device, the processor, the versions, and what this hardware is fast at."""

import importlib.metadata
import os
import platform
from pathlib import Path

import torch

from helpers.timing import time_once


def device() -> torch.device:
    """The device everything runs on: the GPU where there is one that torch can use, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def describe() -> str:
    """One line that says on what a page was run: Python, torch, device, processor, threads."""
    where = torch.cuda.get_device_name() if device().type == "cuda" else f"{platform.machine()} CPU"
    return (
        f"Python {platform.python_version()}, torch {torch.__version__}, {where},"
        f" {torch.get_num_threads()} of {os.cpu_count()} threads"
    )


def processor() -> str:
    """The processor's name, or its architecture where the system does not tell."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(": ")[2] for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def versions(packages) -> list[str]:
    """What is installed of ``packages``, and what is not."""
    found = []
    for package in packages:
        try:
            found.append(f"{package} {importlib.metadata.version(package)}")
        except importlib.metadata.PackageNotFoundError:
            found.append(f"no {package}")
    return found


def faster_in_bfloat16(device: torch.device) -> bool:
    """Whether this hardware multiplies matrices of a block's size at least 1.3 times as fast in bfloat16, measured."""
    if device.type == "cuda" and torch.cuda.get_device_capability(device) < (8, 0):
        return False  # it can, but in software
    took = {}
    for dtype in (torch.float32, torch.bfloat16):
        x, w = (torch.ones(shape, dtype=dtype, device=device) for shape in ((8192, 64), (64, 256)))
        took[dtype] = min(time_once(lambda x=x, w=w: x @ w) for _ in range(10))
    return took[torch.float32] > 1.3 * took[torch.bfloat16]
