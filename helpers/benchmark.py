"""What each thing costs, measured, and on what: ``python -m helpers.benchmark --help``.

``device``, ``machine`` and ``seconds`` are what the notebooks use. The rest is the command: its sections time
contenders beside one another and print what they find, and all of it is written into a folder.
"""

import argparse
import datetime
import functools
import os
import platform
import shlex
import statistics
import sys
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm

from helpers import contenders, measure
from helpers.measure import digits
from helpers.record import Run, Wrong, table
from helpers.scan import backends

PACKAGES = ("numpy", "numba", "triton", "mamba-ssm", "mambapy", "transformers")
PASSES = {False: "forward", True: "forward + backward"}


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
    """Time functions beside one another: ``{name: median seconds}``. See :func:`helpers.measure.rounds`."""
    return {name: statistics.median(times) for name, times in measure.rounds(functions, repeats).items()}


# --- the sections ----------------------------------------------------------------------------------------------------


def scan(run):
    """the scan alone: our backends, upstream's own definition, public packages"""
    names = [*backends(run.device), *contenders.PUBLIC]
    for backward in PASSES:
        _scans(run, "scan", PASSES[backward], names, run.batch, contenders.DIM, backward)


def channels(run):
    """our backends with two channels, where few things can be done side by side"""
    _scans(run, "channels", f"{PASSES[True]}, 2 channels", backends(run.device), 2 * run.batch, 2, True)


def _scans(run, section, title, names, batch, dim, backward):
    right = contenders.expected(*contenders.scan_inputs(batch, run.length, run.device, dim))
    calls, entries = {}, {}
    for name in tqdm(names, desc=f"{title}: results", leave=False):
        make = functools.partial(contenders.call, name=name, batch=batch, device=run.device, backward=backward, dim=dim)
        needed = contenders.COMPILING if name == contenders.COMPILED else None  # at every length anew
        size = contenders.bytes_held(name, batch, run.length, backward, dim)
        ours = name not in contenders.PUBLIC
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what others' code warns of is not for our reader
                calls[name], note = run.admit(make, needed, size, right)
            entries[name] = {"note": note}
        except contenders.NotHere as reason:
            calls[name] = str(reason)
        except Exception as error:  # whatever a package raises, the others are measured
            calls[name] = _failure(error)
            run.failed |= ours
    run.show(run.compare(section, title, calls, batch, run.length, entries))


def _failure(error):
    if isinstance(error, Wrong):
        return str(error)
    if isinstance(error, BrokenProcessPool):
        return "failed: the process was killed, as happens where there is no memory left"
    return f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:120]


def layers(run):
    """a Mamba block beside an LSTM and causal attention of the same width"""
    for backward, passes in PASSES.items():
        same = {"batch": run.batch, "device": run.device, "backward": backward}
        makes = {name: functools.partial(contenders.call, name=name, **same) for name in contenders.LAYERS}
        calls = {name: run.admit(make)[0] for name, make in makes.items()}
        title = f"{passes}, width {contenders.D_MODEL}"
        run.show(run.compare("layers", title, calls, run.batch, run.length))


def length(run):
    """time and peak memory, forward + backward, against length, at the same number of positions"""
    names = [*backends(run.device), *contenders.LAYERS]
    lengths = [256 * 4**i for i in range(16) if 256 * 4**i <= run.longest]
    costs = {name: [] for name in names}  # (length, seconds, bytes), as they were measured
    rows = []
    for at in lengths:
        batch, title, calls, entries = run.longest // at, f"length {at:,}", {}, {}
        for name in tqdm(names, desc=f"{title}: memory", leave=False):
            try:
                calls[name], entries[name] = _at_length(run, name, batch, at, costs[name])
            except Exception as error:  # whatever one of them raises, the others are measured
                calls[name] = _failure(error)
        found = run.compare("length", title, calls, batch, at, entries)
        for row in found:
            if row.seconds:
                costs[row.name].append((at, row.seconds, row.peak_bytes or 0))
        rows += found

    tables = {
        "microseconds a position, by length": lambda r: r.seconds and digits(r.seconds / (r.batch * r.length) * 1e6),
        "peak memory, by length": lambda r: r.peak_bytes and measure.amount(r.peak_bytes),
        "as a multiple of the inputs": lambda r: r.peak_bytes and digits(r.peak_bytes / r.input_bytes),
    }
    for title, cell in tables.items():
        cells = {(row.name, row.length): cell(row) or "-" for row in rows}
        header = [title, *(f"{at:,}" for at in lengths)]
        run.say(table(header, [(name, *(cells[name, at] for at in lengths)) for name in names]))
    for row in filter(lambda row: row.note, rows):
        run.say(f"{row.name}, {row.comparison}: {row.note}.")


def _at_length(run, name, batch, length, costs):
    """``(function or the reason why there is none, entries of the row)``. Memory is measured in another process.

    What it will cost is known from the shorter lengths; at the first from a sixteenth of the batch.
    """
    make = functools.partial(contenders.call, length, name=name, device=run.device, backward=True)
    if costs:
        needed, size = (measure.forecast([(cost[0], cost[i]) for cost in costs], length) for i in (1, 2))
    else:
        part = max(1, batch // 16)
        some = make(batch=part)
        needed = min(measure.once(some), measure.once(some)) * batch / part
        size = contenders.bytes_held(name, batch, length, backward=True)
    if refusal := run.budget.refusal(needed, size, run.repeats + 1):
        return refusal, {}
    arguments = (name, batch, length, run.device, torch.get_num_threads())
    peak, inputs = measure.in_a_process(contenders.cost, *arguments)
    note = "" if peak is not None else "peak memory: not measured on this system"
    entries = {"peak_bytes": peak, "input_bytes": inputs, "note": note}
    return run.budget.refusal(0, peak or 0) or make(batch=batch), entries


def exp(run):
    """the fused forward pass on the CPU beside nothing but its exps"""
    if "numba" not in backends(run.device):
        run.say(f"exp: not measured, there is no fused CPU scan on {run.device}.")
        return
    threads = torch.get_num_threads()
    exps = run.batch * run.length * contenders.DIM * contenders.D_STATE
    rows = 8 * threads
    times = -(-exps // (rows * contenders.SIZE))
    together, alone = contenders.polynomial_exps(rows, times)
    calls = {
        "fused forward pass": contenders.scan_work("numba", run.batch, run.length, run.device).forward,
        "our polynomial": together,
        "our polynomial, 1 thread": alone,
        "torch.exp, 1 thread": contenders.torch_exps(rows * times),
    }
    found = run.compare("exp", f"as many exps on {threads} threads", calls, run.batch, run.length)
    run.show(found)
    scan, polynomial, one, torchs = found
    count = rows * times * contenders.SIZE  # a little more than the scan's, to be whole rounds
    speed_up = one.seconds / polynomial.seconds
    share = exps / count * min(polynomial.ratio, torchs.ratio / speed_up)
    rates = [n / s / 1e9 for n, s in ((exps, scan.seconds), (count, polynomial.seconds), (count, torchs.seconds))]
    run.say(
        f"The fused forward pass computes {exps:,} exps, those of softplus and gate not counted: {rates[0]:.2f} G/s."
        f" Nothing but exps, over and over on {contenders.SIZE} floats: our polynomial {rates[1]:.2f} G/s on the same"
        f" {threads} threads, torch.exp {rates[2] * speed_up:.2f} G/s (its rate on one thread, times the speed-up of"
        f" our polynomial). So the pass runs at {share:.0%} of the better one, by the median of the rounds."
    )


def threads(run):
    """the fastest scan on one thread and on more, alone and between operations of torch"""
    if run.device.type != "cpu":
        run.say("threads: not measured, they are the CPU's.")
        return
    name, before = backends(run.device)[0], torch.get_num_threads()
    counts = sorted({1, min(2, os.cpu_count() or 1), before})
    numbers = torch.randn(2_000_000)  # enough for torch to use all its threads

    def on(count, call, exps):
        torch.set_num_threads(count)
        if exps:
            torch.exp(numbers)
        call()
        if exps:
            torch.exp(numbers)

    for batch, dim in ((run.batch, contenders.DIM), (2 * run.batch, 2)):
        both = contenders.scan_work(name, batch, run.length, run.device, dim).both
        cases = {"alone": (both, False), "between exps": (both, True), "the exps": (lambda: None, True)}
        calls = {
            f"{case}, {count} thread{'s' * (count > 1)}": functools.partial(on, count, *case_calls)
            for case, case_calls in cases.items()
            for count in counts
        }
        try:
            run.show(run.compare("threads", f"{name}, {PASSES[True]}, {dim} channels", calls, batch, run.length))
        finally:
            torch.set_num_threads(before)


SECTIONS = {section.__name__: section for section in (scan, channels, layers, length, exp, threads)}


# --- the command -----------------------------------------------------------------------------------------------------


def _parser():
    def sections(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in SECTIONS:
                raise argparse.ArgumentTypeError(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")
        return [name for name in SECTIONS if name in chosen]

    def usable(text):
        devices = ["cpu", "cuda"][: 1 + torch.cuda.is_available()]
        if text not in devices:
            raise argparse.ArgumentTypeError(f"{text!r} cannot be used here; choose from {', '.join(devices)}")
        return text

    def at_least(least, kind=int):
        def number(text):
            value = kind(text)
            if not value >= least:
                raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
            return value

        return number

    parser = argparse.ArgumentParser(
        prog="python -m helpers.benchmark",
        description="Measure what each way to run a selective scan costs. Exit status 1: one of our own is wrong.",
        epilog="sections:\n" + "\n".join(f"  {name:10}{section.__doc__}" for name, section in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    half = round(measure.half_of_memory() / 1e9, 1)
    options = (
        ("--only", sections, list(SECTIONS), "the sections to run, divided by commas (default: all)"),
        ("--output", Path, Path("build/benchmark"), "folder for the record (default: %(default)s)"),
        ("--device", usable, device().type, "cpu or cuda (default here: %(default)s)"),
        ("--repeats", at_least(1), 3, "rounds, at least (default: %(default)s)"),
        ("--seconds", at_least(0, float), 60, "most that one thing may take in all rounds (default: %(default)s)"),
        ("--gigabytes", at_least(0, float), half, "most memory it may take (default here: half, %(default)s)"),
        ("--batch", at_least(1), 16, "sequences at once (default: %(default)s)"),
        ("--length", at_least(1), 784, "positions of a sequence (default: %(default)s)"),
        ("--longest", at_least(256), 65536, "longest sequence of section length (default: %(default)s)"),
    )
    for name, kind, default, text in options:
        parser.add_argument(name, type=kind, default=default, help=text, metavar=name.strip("-").upper())
    return parser


def main(arguments=None) -> int:
    """Run the command; returns its exit status."""
    arguments = sys.argv[1:] if arguments is None else arguments
    options = _parser().parse_args(arguments)
    run, keeps_memory = Run(options), "numba" in backends(options.device)
    run.say("# Benchmark")
    run.say(f"{machine()}; {measure.processor()}; on {run.device}.")
    run.say(f"{', '.join(measure.versions(PACKAGES))}. {datetime.datetime.now():%Y-%m-%d %H:%M}.")
    run.say(f"    {shlex.join(['python', '-m', 'helpers.benchmark', *arguments])}")
    run.say(
        f"Batch {run.batch}, length {run.length}, {contenders.DIM} channels, {contenders.D_STATE} states, float32."
        f" Times are medians of at least {run.repeats} rounds; in each of them all that stand in one table took their"
        " turn. Ratios are to the first row. Not run is what would take more than"
        f" {measure.duration(run.budget.seconds)} or {measure.amount(run.budget.gigabytes * 1e9)}."
        + " Freed memory is kept for the next buffer, as helpers.cpu asks, whoever is measured."
        * keeps_memory
    )
    try:
        for name in options.only:
            run.say(f"## {name}: {SECTIONS[name].__doc__}")
            SECTIONS[name](run)
    finally:
        files = run.write(options.output)
        print("Written:", ", ".join(map(str, files)))
    return 1 if run.failed else 0


if __name__ == "__main__":
    sys.exit(main())
