"""What this machine is: Python, torch, GPU. Asked in another process, because importing torch may hang or crash."""

import json
import os
import platform
import sys
from typing import NamedTuple

from colab.steps import Deadline, python, run

PATIENCE = 90  # seconds: importing torch from a cold disk was seen to take one minute


class Machine(NamedTuple):
    """What decides which kernel fits."""

    python: str  # "3.13.1"
    torch: str  # "2.11.0+cu128"
    cuda: str | None  # of torch, "12.8"; None for a build without it
    abi: bool  # whether torch has the C++11 ABI
    processor: str  # "x86_64"
    system: str  # "Linux"
    gpu: str | None  # its name
    capability: tuple[int, int] | None  # its compute capability
    memory: float | None  # its memory in GB
    device: str  # "cuda" or "cpu"
    backends: tuple[str, ...]  # of helpers.scan on that device, upstream's left out: it is not imported here

    def dtypes(self) -> list[str]:
        """What a kernel has to be right in. GPUs before Ampere have no bfloat16, whatever torch says."""
        old = self.capability is not None and self.capability < (8, 0)
        return ["float32"] if old else ["float32", "bfloat16"]

    def __str__(self):
        """Two lines: the runtime, and the GPU."""
        release = os.environ.get("COLAB_RELEASE_TAG")
        where = ("Colab " + release if release else "Colab") if on_colab() else self.system
        gpu = "none"
        if self.gpu:
            gpu = f"{self.gpu}, compute capability {self.capability[0]}.{self.capability[1]}, {self.memory:.0f} GB"
            if "bfloat16" not in self.dtypes():
                gpu += "; float32 only, it has no bfloat16"
        return f"Runtime:     {where}, Python {self.python}, torch {self.torch}\nGPU:         {gpu}"


def on_colab() -> bool:
    return "google.colab" in sys.modules or "COLAB_RELEASE_TAG" in os.environ


def probe(deadline: Deadline) -> Machine:
    """Ask this machine.

    Raises:
        colab.steps.Failed: if torch cannot be imported, or not in time.
    """
    found = json.loads(run(python("-m", "colab.machine"), deadline, PATIENCE, SCAN_WITHOUT="mamba_ssm"))
    return Machine(**{key: tuple(value) if isinstance(value, list) else value for key, value in found.items()})


def describe() -> Machine:
    """This machine, seen from the process that asks."""
    import torch

    from helpers import machine
    from helpers.scan import backends

    device = machine.device().type
    properties = torch.cuda.get_device_properties(0) if device == "cuda" else None
    return Machine(
        python=platform.python_version(),
        torch=torch.__version__,
        cuda=torch.version.cuda,
        abi=torch.compiled_with_cxx11_abi(),
        processor=platform.machine(),
        system=platform.system(),
        gpu=properties and torch.cuda.get_device_name(0),
        capability=properties and torch.cuda.get_device_capability(0),
        memory=properties and properties.total_memory / 1e9,
        device=device,
        backends=tuple(backends(device)),
    )


if __name__ == "__main__":
    print(json.dumps(describe()._asdict()))
