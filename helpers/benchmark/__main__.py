"""What each way to run a scan or a layer costs, measured: ``python -m helpers.benchmark --help``.

Each section times contenders in turn and prints what it finds; all of it is written into a folder.
"""

import argparse
import datetime
import functools
import shlex
import sys
import warnings
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch
from tqdm import tqdm

from helpers import machine, timing
from helpers.benchmark import contenders, measure
from helpers.benchmark.measure import format_number
from helpers.benchmark.report import BenchmarkSession, table
from helpers.scan import backends
from helpers.testing import WrongResult, exact_scan, scan_inputs
from helpers.threads import keep_freed_memory

PACKAGES = ("numpy", "numba", "triton", "mamba-ssm", "mambapy", "transformers")
PASSES = {False: "forward", True: "forward + backward"}


# --- the sections ----------------------------------------------------------------------------------------------------


def scan(session):
    """the scan alone: our backends, upstream's own definition, public packages"""
    names = [*backends(session.device), *contenders.PUBLIC]
    for backward in PASSES:
        _scans(session, "scan", PASSES[backward], names, session.batch, contenders.DIM, backward)


def channels(session):
    """our backends with two channels, where few things can be done side by side"""
    _scans(session, "channels", f"{PASSES[True]}, 2 channels", backends(session.device), 2 * session.batch, 2, True)


def _scans(session, section, title, names, batch, dim, backward):
    right = exact_scan(*scan_inputs(batch, session.length, session.device, dim, contenders.D_STATE))
    calls, entries = {}, {}
    for name in tqdm(names, desc=f"{title}: results", leave=False):
        make = functools.partial(
            contenders.call, name=name, batch=batch, device=session.device, backward=backward, dim=dim
        )
        needed = contenders.COMPILING if name == contenders.COMPILED else None  # at every length anew
        size = contenders.bytes_held(name, batch, session.length, backward, dim)
        ours = name not in contenders.PUBLIC
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # what others' code warns of is not for our reader
                calls[name], note = session.admit(make, needed, size, right)
            entries[name] = {"note": note}
        except contenders.NotInstalled as reason:
            calls[name] = str(reason)
        except Exception as error:  # whatever a package raises, the others are measured
            calls[name] = _failure(error)
            session.failed |= ours
    session.show(session.compare(section, title, calls, batch, session.length, entries))


def _failure(error):
    if isinstance(error, WrongResult):
        return str(error)
    if isinstance(error, BrokenProcessPool):
        return "failed: the process was killed, as happens where there is no memory left"
    return f"failed: {type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:120]


def layers(session):
    """a Mamba block beside an LSTM and causal attention of the same width"""
    for backward, passes in PASSES.items():
        same = {"batch": session.batch, "device": session.device, "backward": backward}
        makes = {name: functools.partial(contenders.call, name=name, **same) for name in contenders.LAYERS}
        calls = {name: session.admit(make)[0] for name, make in makes.items()}
        title = f"{passes}, width {contenders.D_MODEL}"
        session.show(session.compare("layers", title, calls, session.batch, session.length))


def length(session):
    """time and peak memory, forward + backward, against length, at the same number of positions"""
    names = [*backends(session.device), *contenders.LAYERS]
    lengths = [256 * 4**i for i in range(16) if 256 * 4**i <= session.longest]
    costs = {name: [] for name in names}  # (length, seconds, bytes), as they were measured
    rows = []
    for at in lengths:
        batch, title, calls, entries = session.longest // at, f"length {at:,}", {}, {}
        for name in tqdm(names, desc=f"{title}: memory", leave=False):
            try:
                calls[name], entries[name] = _at_length(session, name, batch, at, costs[name])
            except Exception as error:  # whatever one of them raises, the others are measured
                calls[name] = _failure(error)
        found = session.compare("length", title, calls, batch, at, entries)
        for row in found:
            if row.seconds:
                costs[row.name].append((at, row.seconds, row.peak_bytes or 0))
        rows += found

    tables = {
        "microseconds a position, by length": lambda r: (
            r.seconds and format_number(r.seconds / (r.batch * r.length) * 1e6)
        ),
        "peak memory, by length": lambda r: r.peak_bytes and measure.format_bytes(r.peak_bytes),
        "as a multiple of the inputs": lambda r: r.peak_bytes and format_number(r.peak_bytes / r.input_bytes),
    }
    for title, cell in tables.items():
        cells = {(row.name, row.length): cell(row) or "-" for row in rows}
        header = [title, *(f"{at:,}" for at in lengths)]
        session.say(table(header, [(name, *(cells[name, at] for at in lengths)) for name in names]))
    for row in filter(lambda row: row.note, rows):
        session.say(f"{row.name}, {row.comparison}: {row.note}.")


def _at_length(session, name, batch, length, costs):
    """``(function or the reason why there is none, entries of the row)``. Memory is measured in another process.

    What it will cost is known from the shorter lengths; at the first from a sixteenth of the batch.
    """
    make = functools.partial(contenders.call, length, name=name, device=session.device, backward=True)
    if costs:
        needed, size = (measure.forecast([(cost[0], cost[i]) for cost in costs], length) for i in (1, 2))
    else:
        part = max(1, batch // 16)
        some = make(batch=part)
        needed = min(timing.time_once(some), timing.time_once(some)) * batch / part
        size = contenders.bytes_held(name, batch, length, backward=True)
    if refusal := session.budget.refusal(needed, size, session.repeats + 1):
        return refusal, {}
    arguments = (name, batch, length, session.device, torch.get_num_threads())
    peak, inputs = measure.run_in_process(contenders.cost, *arguments)
    note = "" if peak is not None else "peak memory: not measured on this system"
    entries = {"peak_bytes": peak, "input_bytes": inputs, "note": note}
    return session.budget.refusal(0, peak or 0) or make(batch=batch), entries


SECTIONS = {section.__name__: section for section in (scan, channels, layers, length)}


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
        ("--device", usable, machine.device().type, "cpu or cuda (default here: %(default)s)"),
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
    session = BenchmarkSession(options)
    keep_freed_memory()  # for all alike, whoever is measured
    session.say("# Benchmark")
    session.say(f"{machine()}; {machine.processor()}; on {session.device}.")
    session.say(f"{', '.join(machine.versions(PACKAGES))}. {datetime.datetime.now():%Y-%m-%d %H:%M}.")
    session.say(f"    {shlex.join(['python', '-m', 'helpers.benchmark', *arguments])}")
    session.say(
        f"Batch {session.batch}, length {session.length}, {contenders.DIM} channels, {contenders.D_STATE} states, float32."
        f" Times are medians of at least {session.repeats} rounds; in each of them all that stand in one table took their"
        " turn. Ratios are to the first row. Not run is what would take more than"
        f" {measure.format_duration(session.budget.seconds)} or {measure.format_bytes(session.budget.gigabytes * 1e9)}."
        + " Freed memory is kept for the next buffer, as helpers.simd asks, whoever is measured."
        * keeps_memory
    )
    try:
        for name in options.only:
            session.say(f"## {name}: {SECTIONS[name].__doc__}")
            SECTIONS[name](session)
    finally:
        files = session.write(options.output)
        print("Written:", ", ".join(map(str, files)))
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
