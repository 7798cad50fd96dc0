"""Everything that needs a GPU, for a machine that has one for minutes: ``python -m colab.gpu``.

Part after part: our GPU tests; upstream's kernel, and the tests that hold us to it; the benchmark; every page; the
training, captured against plain. Each is a process of its own (``colab/gpu_parts.py``). While it runs it writes its
record, a JSON file that can go into ``experiments/gpu`` as it is. A part that fails, hangs or crashes does not stop the
others; at the end a table says what came of each. Without a GPU it is a rehearsal: each part as far as it goes.

A machine without a network needs torch with Triton. Everything else that it lacks must come along as wheels in a
folder. To fill one for Python 3.12 on Linux, 19 MB (the second command fetches upstream's source)::

    pip download --no-deps --dest build/packages --only-binary=:all: --python-version 3.12 --implementation cp \\
        --platform manylinux_2_28_x86_64 --platform manylinux_2_17_x86_64 -r colab/gpu-packages.txt
    MAMBA_FORCE_BUILD=TRUE MAMBA_SKIP_CUDA_BUILD=TRUE \\
        pip download --no-deps --dest build/packages --no-binary=:all: --no-build-isolation mamba-ssm==2.3.2.post1

On that machine, run ``python -m colab.gpu --packages build/packages``. This needs the standard library alone: it works
where torch does not.
"""

import argparse
import importlib.metadata
import json
import os
import shutil
import sys
import time
import zipfile
from pathlib import Path
from typing import NamedTuple

from colab import install
from colab.steps import ROOT, Deadline, Failed, TooSlow, python, run
from helpers import files

MINUTES = 8.0
# Shares of the time, in minutes, in this order. What a part leaves of its share, those after it get.
PARTS = {"tests": 1.75, "upstream": 3.75, "benchmark": 0.75, "pages": 1.0, "training": 0.75}
WORTH = 2  # seconds below which no part is begun


class Part(NamedTuple):
    """One part, and the process that does it."""

    name: str
    share: float
    command: list[str]  # ``--seconds``, how long it may take, is added


class Result(NamedTuple):
    """What came of a part."""

    part: str
    result: str  # "passed", "failed", "out of time" or "not reached"
    seconds: int
    note: str


def attempt(parts: list[Part], minutes: float, folder: Path) -> list[Result]:
    """Do one part after another; write what came of each into its record and into ``summary.md``, and return it.

    Args:
        parts: each may write ``<name>.json`` into ``folder`` while it runs.
        minutes: for all of them.
        folder: of the records.
    """
    deadline, results = Deadline(60 * minutes), []
    for number, part in enumerate(parts):
        limit = deadline.left() * part.share / sum(each.share for each in parts[number:])
        results.append(_attempt(part, limit, deadline, folder / f"{part.name}.json"))
        print(f"{part.name}: {results[-1].result} after {results[-1].seconds} s. {results[-1].note}", flush=True)
        missing = [Result(each.name, "not reached", 0, "") for each in parts[number + 1 :]]
        files.write(folder / "summary.md", f"{table([*results, *missing])}\n".encode())
    return results


def _attempt(part, limit, deadline, record):
    record.unlink(missing_ok=True)
    if limit < WORTH:
        return Result(part.name, "not reached", 0, "no time was left for it")
    began = time.monotonic()
    try:
        result, note = "passed", run([*part.command, "--seconds", f"{limit:.0f}"], deadline, limit)
    except TooSlow as failure:
        result, note = "out of time", str(failure)
    except Failed as failure:
        result, note = "failed", str(failure)
    seconds = round(time.monotonic() - began)
    found = json.loads(record.read_text(encoding="utf-8")) if record.exists() else {"part": part.name}
    found |= {"result": result, "seconds": seconds, "note": note}
    files.write(record, (json.dumps(found, indent=2) + "\n").encode())
    return Result(part.name, result, seconds, note)


def table(results: list[Result]) -> str:
    """A Markdown table of results."""
    lines = [Result._fields, ("---", "---", "---:", "---"), *results]
    return "\n".join("| " + " | ".join(str(cell).replace("|", "/") for cell in line) + " |" for line in lines)


def unpack(folder: Path, target: Path) -> list[str]:
    """Unpack the wheels in ``folder`` of which no version is installed here; returns their names."""
    shutil.rmtree(target, ignore_errors=True)
    found = []
    for wheel in sorted(folder.glob("*.whl")):
        name = wheel.name.partition("-")[0]
        try:
            importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(target)
            found.append(name)
    return found


def main(arguments=None) -> int:
    """Run the command; returns its exit status: 0 if every part passed."""
    parser = argparse.ArgumentParser(prog="python -m colab.gpu", description=__doc__.partition("\n")[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
                        help=f"some of {', '.join(PARTS)} (default: all)")  # fmt: skip
    parser.add_argument("--minutes", type=float, default=MINUTES, help="for all parts together (default: %(default)s)")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "gpu", help="folder of the records")
    parser.add_argument("--packages", type=Path, help="folder of wheels that came along; pip looks nowhere else")
    parser.add_argument("--commit", help="commit of this code, where git cannot tell")
    parser.add_argument("--rehearse", action="store_true", help="do each part as far as it goes without a GPU")
    options = parser.parse_args(arguments)
    folder, places = options.output.resolve(), [str(ROOT), str(install.FOLDER)]
    if options.packages:
        unpacked = unpack(options.packages, ROOT / "build" / "gpu-packages")
        print(f"Unpacked: {', '.join(unpacked) or 'nothing, all is here'}.", flush=True)
        places.append(str(ROOT / "build" / "gpu-packages"))
        os.environ |= {"PIP_FIND_LINKS": str(options.packages.resolve()), "PIP_NO_INDEX": "1"}
    os.environ["PYTHONPATH"] = os.pathsep.join([*places, *filter(None, [os.environ.get("PYTHONPATH")])])
    more = ["--rehearse"] * options.rehearse + (["--commit", options.commit] if options.commit else [])
    parts = [
        Part(name, PARTS[name], python("-m", "colab.gpu_parts", name, "--output", folder / f"{name}.json", *more))
        for name in PARTS
        if name in options.parts
    ]
    print(f"{len(parts)} parts in {options.minutes:g} minutes; records go to {folder}.", flush=True)
    results = attempt(parts, options.minutes, folder)
    print(f"\n{table(results)}")
    return 0 if all(result.result == "passed" for result in results) else 1


if __name__ == "__main__":
    sys.exit(main())
