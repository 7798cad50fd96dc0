"""One part of ``python -m colab.gpu``, in a process of its own: ``python -m colab.gpu_parts PART --output FILE``.

A part returns a sentence that says how it went, or raises :class:`colab.steps.Failed` with one. It writes every
measurement into its record at once: time may run out at any moment.
"""

import argparse
import contextlib
import datetime
import functools
import importlib.util
import io
import itertools
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
import traceback
import warnings
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from colab import machine, setup
from colab.steps import ROOT, Deadline, Failed, python
from helpers import files

UPSTREAM = ("scan/test_upstream_scan.py", "scan/test_mamba_ssm_kernel.py", "layers/test_mamba_equals_upstream.py")
PRESETS = ("smnist", "psmnist")
BATCHES = (32, 128, 512)
SAME = 1e-2  # largest relative difference of a loss: float32, but Muon computes in bfloat16


class Record:
    """A part's record: ``content``, written to a file anew whenever something is kept."""

    def __init__(self, path: Path):
        self.path, self.content = path, {"measurements": {}}

    def keep(self, name: str | None = None, **measurement) -> None:
        """Keep a measurement under its name, if it has one, and write the whole record."""
        if name:
            self.content["measurements"][name] = measurement
        files.write(self.path, (json.dumps(self.content, indent=2) + "\n").encode())


def describe(part: str, commit: str | None, rehearse: bool) -> dict:
    """What a record says besides its measurements: machine, versions, commit, command."""
    import torch

    from helpers import machine as this_machine
    from helpers.benchmark.report import commit as commit_here

    where = this_machine.processor() if rehearse else torch.cuda.get_device_name()
    packages = ("torch", "triton", "mamba-ssm", "lightning-fabric", "numba")
    return {
        "part": part,
        "machine": f"{where}, {os.cpu_count()} CPU cores",
        "date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "versions": [f"Python {platform.python_version()}", *this_machine.versions(packages)],
        "commit": commit or commit_here(),
        "command": f"python -m colab.gpu --parts {part}" + " --rehearse" * rehearse,
    }


# --- tests, ours and upstream's ---------------------------------------------------------------------------------------


class Outcomes:
    """A plugin of pytest: counts outcomes, and keeps what failed and why."""

    def __init__(self, record, name, what, command):
        self.counts, self.failures = {"passed": 0, "failed": 0, "skipped": 0}, {}
        self.keep = functools.partial(record.keep, name, what=what, command=command, unit="tests")

    def pytest_runtest_logreport(self, report):
        if report.when == "call" or not report.passed:
            self.counts[report.outcome] += 1
            self._note(report)

    def pytest_collectreport(self, report):
        if report.failed:
            self._note(report)

    def _note(self, report):
        if report.failed:
            self.failures[report.nodeid] = str(report.longrepr)[-3_000:]
        self.keep(values=self.counts, failures=self.failures)


def _pytest(record, name, what, *arguments) -> str:
    import pytest

    outcomes = Outcomes(record, name, what, f"python -m pytest {' '.join(arguments)}")
    status = pytest.main(["-q", "-p", "no:cacheprovider", *arguments], plugins=[outcomes])
    said = ", ".join(f"{number} {outcome}" for outcome, number in outcomes.counts.items())
    if status == pytest.ExitCode.NO_TESTS_COLLECTED:
        raise Failed("no test was selected")
    if status:
        raise Failed(f"{said}: {next(iter(outcomes.failures), 'no test')} and so on")
    return said


def tests(record, seconds, rehearse) -> str:
    """Our tests that need a GPU; in a rehearsal one of them, interpreted."""
    if rehearse:
        chosen = ("tests/helpers/scan/test_triton_kernel.py", "-k", "test_any_strides")
    else:
        chosen = ["tests/helpers", "-m", "gpu"]
        if importlib.util.find_spec("xdist"):  # most of the time goes into compiling kernels, which CPUs do
            chosen += ["-n", str(min(8, os.cpu_count() or 1)), "--dist", "worksteal"]
    return _pytest(record, "tests", "tests that need a GPU", *chosen)


def upstream(record, seconds, rehearse) -> str:
    """Upstream's kernel, installed or compiled, and the tests that hold us to it; in a rehearsal its stand-in."""
    said = ""
    if not rehearse:
        began, deadline = time.monotonic(), Deadline(seconds)
        with contextlib.redirect_stdout(io.StringIO()) as told:
            choice = setup.upstream(machine.probe(deadline), deadline, network="PIP_NO_INDEX" not in os.environ)
        if not choice:
            raise Failed(f"no kernel of upstream works here. {' '.join(told.getvalue().split())}")
        took = round(time.monotonic() - began)
        what = "mamba-ssm's kernel: how long it took to be proven, and how much it differs"
        record.keep("kernel", what=what, source=choice.source, seconds=took, values=choice.errors)
        said = f"{choice.source}; "
    files_of_tests = [f"tests/helpers/{name}" for name in UPSTREAM]
    chosen = [*files_of_tests, "-m", "not slow"] if rehearse else files_of_tests
    return said + _pytest(record, "tests", "tests that hold us to mamba-ssm", *chosen)


# --- measurements -----------------------------------------------------------------------------------------------------


def benchmark(record, seconds, rehearse) -> str:
    """The scan, the convolution and the block, at two batch sizes: calls, and kernels alone."""
    from helpers.benchmark import __main__ as command

    record.content |= {"rows": [], "commands": []}
    wrong = False
    for batch in (1, 2) if rehearse else (16, 256):
        arguments = ["--only", "scan", "convolution", "layers", "--batch", str(batch), "--seconds", "5"]
        arguments += ["--gigabytes", "20"] if not rehearse else ["--length", "16", "--repeats", "1"]
        with tempfile.TemporaryDirectory() as folder:
            wrong |= bool(command.main([*arguments, "--output", folder]))
            found = json.loads(Path(folder, "benchmark.json").read_text(encoding="utf-8"))
        record.content["rows"] += found["rows"]
        record.content["commands"].append(found["command"])
        record.keep()
        what = "what we want: of kernels the ratio of ours to the other, of calls microseconds beyond their kernels"
        record.keep("goals", what=what, command=found["command"], unit="1 or us", values=goals(record.content["rows"]))
    if wrong:
        raise Failed("one of our own contenders is wrong or fails")
    timed = [row for row in record.content["rows"] if row["seconds"]]
    return f"{len(timed)} contenders timed, {sum(row['kernel_seconds'] is not None for row in timed)} of them by kernel"


def goals(rows) -> dict:
    """Goals for the kernels on an H100, as far as ``rows`` measure them: ``{goal: {"found": ..., "at most": ...}}``.

    Kernels are compared by the time that they take on the GPU; a call's overhead is what it takes beyond that.
    """
    found = {}
    timed = {(row["section"], row["comparison"], row["batch"], row["name"]): row for row in rows}

    def compare(section, comparison, batch, ours, other, at_most):
        pair = [timed.get((section, comparison, batch, name), {}).get("kernel_seconds") for name in (ours, other)]
        if all(pair):
            name = f"{section}, {comparison}, batch {batch}: {ours} / {other}"
            found[name] = {"found": round(pair[0] / pair[1], 3), "at most": at_most}

    width = "forward + backward, width 64"
    for batch in sorted({row["batch"] for row in rows}):
        compare("scan", "forward", batch, "triton", "mamba_ssm", 0.5 if batch == 16 else 1.0)
        compare("scan", "forward + backward", batch, "triton", "mamba_ssm", 1.0)
        compare("layers", width, batch, "Mamba block", "attention", 1.0)
        for section, comparison, ours in (
            ("scan", "forward", "triton"),
            ("convolution", "convolution, forward", "convolution, triton"),
        ):
            row = timed.get((section, comparison, batch, ours))
            if row and row["kernel_seconds"]:
                overhead = round(1e6 * (row["seconds"] - row["kernel_seconds"]), 1)
                found[f"{comparison}, batch {batch}: {ours}, us beyond its kernels"] = {
                    "found": overhead,
                    "at most": 100,
                }
    return found


def pages(record, seconds, rehearse) -> str:
    """Every page from its first cell to its last, all at once; in a rehearsal the shortest."""
    listed = json.loads((ROOT / "website" / "pages.json").read_text(encoding="utf-8"))["notebooks"]
    if rehearse:
        listed = [min(listed, key=lambda page: page["run_seconds"])]
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // len(listed)))}
    # A page that is not done by then says in which cell it is.
    limits = ("--minutes", f"{(seconds - 10) / 60:.2f}", "--output", ROOT / "build" / "gpu-pages")
    what = {"what": "pages executed from the first cell to the last, all at once", "unit": "seconds"}
    began, values, failures = time.monotonic(), {}, {}

    def execute(page):
        command = python("notebooks/run.py", *limits, f"notebooks/{page}")
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)

    with ThreadPoolExecutor(len(listed)) as pool:
        waiting = {pool.submit(execute, page["file"]): page["file"] for page in listed}
        for done in as_completed(waiting):
            page, run = waiting[done], done.result()
            values[page] = round(time.monotonic() - began)
            if run.returncode:
                failures[page] = (run.stdout + run.stderr)[-3_000:]
            record.keep("pages", **what, command="python notebooks/run.py", values=values, failures=failures)
    if failures:
        raise Failed(f"{len(values) - len(failures)} of {len(values)} pages ran; not {', '.join(failures)}")
    return f"{len(values)} of {len(values)} pages ran"


def training(record, seconds, rehearse) -> str:
    """Captured steps against plain ones: the same losses, and how many images per second."""
    os.environ["SCAN_WITHOUT"] = "mamba_ssm"  # with our own kernel, which everybody has
    import torch

    from helpers import mnist
    from helpers.scan import backends
    from helpers.train.capture import CapturedStep
    from helpers.train.step import Step

    warnings.filterwarnings("error", message=".*CUDA graph")  # what cannot be recorded is a failure here
    captured = functools.partial(CapturedStep, record=lambda: lambda update: update()) if rehearse else CapturedStep
    device = "cpu" if rehearse else "cuda"
    record.content["scan"] = backends(device)[0]
    batches, length = ((4,), 4) if rehearse else (BATCHES, 30)
    loaders = {batch: mnist.dataloaders(batch)[0] for batch in batches}
    worst, losses = {}, {}
    for preset in PRESETS:
        for kind, step in (("plain", Step), ("captured", captured)):
            losses[kind] = _fit(preset, loaders[batches[0]], step, "32-true", rehearse, steps=length, log_every=1)[0]
        pairs = zip(losses["captured"], losses["plain"], strict=True)
        worst[preset] = max(abs(one - other) / other for one, other in pairs)
        what = f"largest relative difference of a loss in the first {length} steps, captured against plain, float32"
        record.keep("losses", what=what, unit="1", values=worst)
    paces = {}
    for preset, batch in itertools.product(PRESETS, batches):
        for kind, step, steps in (("plain", Step, 40), ("captured", captured, 200)):
            steps = length if rehearse else steps
            precision = "32-true" if rehearse else "bf16-mixed"
            _, pace = _fit(preset, loaders[batch], step, precision, rehearse, steps=steps, log_every=steps)
            paces.setdefault(f"{preset}, batch {batch}", {})[kind] = round(pace)
            what = f"training, without evaluation and checkpoints, {precision}, one process"
            command = f"python -m helpers.train PRESET --batch-size BATCH --devices 1 --precision {precision}"
            record.keep("throughput", what=what, command=command, unit="images/s", values=paces)
            if not rehearse:
                torch.cuda.empty_cache()
    if not all(difference <= SAME for difference in worst.values()):
        raise Failed(f"captured and plain steps differ: {worst}, more than {SAME}")
    first, pace = next(iter(paces.items()))
    return f"{first}: {pace['captured']:,} images/s captured, {pace['plain']:,} plain"


def _fit(preset, loader, step, precision, rehearse, *, steps, log_every):
    """Train a preset for some steps: the losses of its records, and images per second after the first quarter."""
    import dataclasses

    import torch

    from helpers import models, train
    from helpers.train.presets import PRESETS

    tiny = {"d_model": 8, "n_layer": 1, "d_state": 2} if rehearse else {}
    torch.manual_seed(0)
    model = models.build("PixelClassifier", {**PRESETS[preset].arguments, **tiny})
    config = dataclasses.replace(PRESETS[preset].config, steps=steps, log_every=log_every)
    wait = torch.cuda.synchronize if torch.cuda.is_available() else lambda: None
    began, calls = [], iter(range(steps))

    def stop():
        if next(calls) == steps // 4:
            wait()
            began.append(time.perf_counter())
        return False

    records = train.fit(model, loader, config, fabric=train.make_fabric(precision), step=step, stop=stop)
    wait()
    images = records[-1]["images"] * (1 - steps // 4 / steps)
    return [record["loss"] for record in records], images / (time.perf_counter() - began[0])


PARTS = {part.__name__: part for part in (tests, upstream, benchmark, pages, training)}


def main(arguments=None) -> int:
    parser = argparse.ArgumentParser(prog="python -m colab.gpu_parts", description=__doc__.partition("\n")[0])
    parser.add_argument("part", choices=PARTS)
    parser.add_argument("--output", type=Path, required=True, help="the record")
    parser.add_argument("--seconds", type=float, default=600, help="how long it may take (default: %(default)s)")
    parser.add_argument("--commit", help="commit of this code, where git cannot tell")
    parser.add_argument("--rehearse", action="store_true", help="go as far as is possible without a GPU")
    options = parser.parse_args(arguments)
    record = Record(options.output)
    try:
        import torch

        rehearse = options.rehearse or not torch.cuda.is_available()
        record.content |= describe(options.part, options.commit, rehearse)
        record.keep()
        said = PARTS[options.part](record, options.seconds, rehearse)
    except Failed as failure:
        print(failure, file=sys.stderr)
        return 1
    except Exception as error:
        record.content["error"] = traceback.format_exc()
        record.keep()
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(f"{said} (a rehearsal)" if rehearse else said)
    return 0


if __name__ == "__main__":
    sys.exit(main())
