"""What a maintainer needs to know of a machine, to paste into an issue: ``python -m colab.report``.

Versions, the scan kernel and how it was proven, the error and the time of every backend that runs, and the accuracy of
the published classifier on the test digits next to the one in its record. It works on a CPU as well. ``python -m
helpers.benchmark`` measures more.
"""

import argparse
import contextlib
import io
import json
import sys

import torch
from torch.utils.data import DataLoader, TensorDataset

from colab import install, machine, setup, verify, wheels
from colab.steps import Deadline, Failed
from helpers import machine as this_machine
from helpers import mnist, models, timing, train
from helpers.benchmark import contenders, measure
from helpers.benchmark.report import table

PACKAGES = ("torchvision", "numpy", "numba", "triton", "mamba-ssm", "lightning-fabric", "transformers", "einops")
PATIENCE = 120  # seconds for the proof of one backend
BATCH, LENGTH = 16, 784
CHECKPOINT = "smnist"


def versions() -> str:
    found = [
        f"CUDA {torch.version.cuda}",
        *this_machine.versions(PACKAGES),
        f"wheels known in {wheels.table()['checked']}",
    ]
    return f"{this_machine.describe()}; {this_machine.processor()}; {', '.join(found)}."


def chosen() -> str:
    """What the set-up says, unchanged. It decides which kernel the rest of the report runs on."""
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        setup.main([])
    return said.getvalue().strip()


def proofs(here: machine.Machine) -> tuple[str, list[str]]:
    """A table of errors, and the names of the backends that are right."""
    rows, right = [], []
    for name in [*(["mamba_ssm"] if here.gpu and install.present() else []), *here.backends]:
        try:
            errors = verify.verify(name, here.device, here.dtypes(), Deadline(PATIENCE))
            rows.append((name, *(f"{errors[dtype]:.0e}" for dtype in here.dtypes()), ""))
            right.append(name)
        except Failed as failure:
            rows.append((name, *("-" for _ in here.dtypes()), str(failure)))
    return table(["differs by", *here.dtypes(), "note"], rows), right


def timings(names: list[str], device: torch.device, batch: int = BATCH, length: int = LENGTH) -> str:
    """A table of the times of a scan and, on a GPU, of the memory that it takes besides its inputs."""
    times, calls = [], {}
    for backward in (False, True):
        same = {"batch": batch, "device": device, "backward": backward}
        calls = {name: contenders.call(length, name=name, **same) for name in names}
        times.append(timing.median_seconds(calls, repeats=20 if device.type == "cuda" else 3))
    header = [f"batch {batch}, length {length}", "forward, ms", "and backward, ms"]
    rows = [(name, *(measure.format_number(1e3 * passed[name]) for passed in times)) for name in names]
    if device.type == "cuda":
        header.append("memory")
        rows = [(*row, measure.format_bytes(measure.peak_bytes(calls[row[0]], device))) for row in rows]
    return table(header, rows)


def accuracy(device: torch.device, images: int | None = None) -> str:
    """The accuracy of the published classifier on the test digits, or the first of them, and that in its record."""
    record = json.loads((models.CHECKPOINTS / f"{CHECKPOINT}.json").read_text(encoding="utf-8"))
    tested = TensorDataset(*(tensor[:images] for tensor in mnist.sequences(mnist.load(train=False))))
    model, found = models.load_checkpoint(CHECKPOINT).to(device), []
    took = timing.time_once(lambda: found.append(train.evaluate(model, DataLoader(tested, 100))))
    return (
        f"{CHECKPOINT}: {found[0]}, in {measure.format_duration(took)};"
        f" its record says {record['test_accuracy']:.2%} of all."
    )


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m colab.report", description=__doc__.partition("\n")[0])
    parser.add_argument("--images", type=int, help="test digits to read (default: all 10,000, which takes a minute)")
    options = parser.parse_args(arguments)
    print("### Report of `python -m colab.report`\n")
    print(f"{versions()}\n\n```\n{chosen()}\n```\n", flush=True)
    try:
        errors, right = proofs(machine.probe(Deadline(PATIENCE)))
    except Failed as failure:
        print(f"The machine cannot be asked: {failure}.")
        return 1
    print(f"{errors}\n", flush=True)
    device = this_machine.device()
    print(f"{timings(right, device)}\n", flush=True)
    print(accuracy(device, options.images))
    return 0


if __name__ == "__main__":
    sys.exit(main())
