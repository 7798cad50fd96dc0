"""What each way to run a scan or a layer costs, measured: ``python -m helpers.benchmark --help``.

Each section times contenders in turn and prints what it finds; all of it is written into a folder.
"""

import argparse
import datetime
import shlex
import sys
from functools import partial
from pathlib import Path

import torch

from helpers import machine
from helpers.benchmark import contenders, measure
from helpers.benchmark.report import TOLERANCE, BenchmarkSession, commit, table
from helpers.scan import backends
from helpers.testing import WrongResult, exact_scan, scan_inputs, worst_error
from helpers.threads import keep_freed_memory

PACKAGES = ("torch", "numpy", "numba", "triton", "mamba-ssm", "mambapy", "transformers")
PASSES = {False: "forward", True: "forward + backward"}
SHORTEST = 256  # of section length, which multiplies it by 4


def scan(session):
    """the scan alone: our backends, upstream's own definition, public packages"""
    names = [*backends(session.device), *contenders.PUBLIC]
    for backward, title in PASSES.items():
        _compare(session, "scan", title, names, session.batch, contenders.DIM, backward)


def channels(session):
    """our backends with two channels, where there is little to do in parallel"""
    _compare(session, "channels", "forward + backward, 2 channels", backends(session.device), 2 * session.batch, 2)


def layers(session):
    """a Mamba block, an LSTM and causal attention of the same width"""
    for backward, passes in PASSES.items():
        title = f"{passes}, width {contenders.D_MODEL}"
        _compare(session, "layers", title, contenders.LAYERS, session.batch, contenders.DIM, backward)


def length(session):
    """time and peak memory, forward + backward, against length, at the same number of positions"""
    names = [*backends(session.device), *contenders.LAYERS]
    lengths = [SHORTEST * 4**i for i in range(16) if SHORTEST * 4**i <= session.longest]
    exact = exact_scan(*scan_inputs(1, SHORTEST, session.device, contenders.DIM, contenders.D_STATE))
    rows = []
    for at in lengths:
        batch = session.longest // at
        prepare = partial(_prepare_length, session, exact, batch, at)
        rows += session.compare("length", f"length {at:,}", names, prepare, batch, at)
    cells = {
        "microseconds a position": lambda r: (
            r.seconds and measure.format_number(1e6 * r.seconds / (r.batch * r.length))
        ),
        "peak memory": lambda r: r.peak_bytes and measure.format_bytes(r.peak_bytes),
    }
    for title, cell in cells.items():
        lines = [(name, *(cell(row) or "-" for row in rows if row.name == name)) for name in names]
        session.say(table([f"{title}, by length", *(f"{at:,}" for at in lengths)], lines))
    for row in rows:
        if row.note:
            session.say(f"{row.name}, {row.comparison}: {row.note}.")


SECTIONS = {section.__name__: section for section in (scan, channels, layers, length)}


def _compare(session, section, title, names, batch, dim, backward=True):
    """Time contenders at the session's length, and show them; those that are scans must be right."""
    exact = exact_scan(*scan_inputs(batch, session.length, session.device, dim, contenders.D_STATE))

    def prepare(name):
        make = partial(contenders.call, name=name, batch=batch, device=session.device, backward=backward, dim=dim)
        session.check_budget(size=contenders.bytes_needed(name, batch, session.length, backward, dim))
        if name == contenders.COMPILED:
            session.check_budget(contenders.COMPILING)  # at every length anew
        else:
            session.check_forecast(make, session.length)
        call = make(session.length)
        return call, {"note": "" if name in contenders.LAYERS else f"differs by {_error(call, exact):.0e}"}

    session.show(session.compare(section, title, names, prepare, batch, session.length))


def _error(call, exact):
    error = worst_error(call(), exact)
    if not error <= TOLERANCE:  # also if it is not a number
        raise WrongResult(f"wrong: differs by {error:.1e}, more than {TOLERANCE:.0e}")
    return error


def _prepare_length(session, exact, batch, at, name):
    """A contender of section length, its memory measured in another process; the shorter lengths forecast its cost."""
    make = partial(contenders.call, name=name, device=session.device, backward=True)
    known = [row for row in session.rows if (row.section, row.name) == ("length", name) and row.seconds]
    if known:
        seconds = measure.forecast([(row.length, row.seconds) for row in known], at)
        size = measure.forecast([(row.length, row.peak_bytes or 0) for row in known], at)
        session.check_budget(seconds, size, calls=session.repeats + 1)
    else:
        session.check_budget(size=contenders.bytes_needed(name, batch, at, backward=True))
        session.check_forecast(partial(make, batch=batch), at)
    if name not in contenders.LAYERS:
        _error(make(SHORTEST, batch=1), exact)
    threads = torch.get_num_threads()
    peak = measure.run_in_process(contenders.peak_bytes, name, batch, at, session.device, threads)
    session.check_budget(size=peak or 0)
    return make(at, batch=batch), {"peak_bytes": peak, "note": "" if peak else "peak memory cannot be measured here"}


def _parser():
    def sections(text):
        chosen = text.split(",")
        for name in chosen:
            if name not in SECTIONS:
                raise argparse.ArgumentTypeError(f"there is no section {name!r}; choose from {', '.join(SECTIONS)}")
        return [name for name in SECTIONS if name in chosen]

    def at_least(least, kind=int):
        def number(text):
            if not kind(text) >= least:
                raise argparse.ArgumentTypeError(f"must be at least {least}, got {text}")
            return kind(text)

        return number

    parser = argparse.ArgumentParser(
        prog="python -m helpers.benchmark",
        description="Measure what each way to run a selective scan costs. Exit status 1: one of our own is wrong.",
        epilog="sections:\n" + "\n".join(f"  {name:10}{section.__doc__}" for name, section in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    devices = ["cpu", "cuda"][: 1 + torch.cuda.is_available()]
    half = round(measure.half_of_memory() / 1e9, 1)

    def add(name, kind, default, text, **more):
        parser.add_argument(f"--{name}", type=kind, default=default, help=text, metavar=name.upper(), **more)

    add("only", sections, list(SECTIONS), "the sections to run, divided by commas (default: all)")
    add("output", Path, Path("build/benchmark"), "folder for the record (default: %(default)s)")
    add("device", str, machine.device().type, "cpu or cuda (default here: %(default)s)", choices=devices)
    add("repeats", at_least(1), 3, "rounds, at least (default: %(default)s)")
    add("seconds", at_least(0, float), 60.0, "most that one contender may take in all rounds (default: %(default)s)")
    add("gigabytes", at_least(0, float), half, "most memory it may take (default here: half, %(default)s)")
    add("batch", at_least(1), 16, "sequences at once (default: %(default)s)")
    add("length", at_least(1), 784, "positions of a sequence (default: %(default)s)")
    add("longest", at_least(SHORTEST), 65536, "longest sequence of section length (default: %(default)s)")
    return parser


def _command(parser, options):
    """The command without ``--output``: a record must not depend on where it lies."""
    words = ["python", "-m", "helpers.benchmark"]
    for name, value in vars(options).items():
        if name != "output" and value != parser.get_default(name):
            words += [f"--{name}", ",".join(value) if name == "only" else str(value)]
    return shlex.join(words)


def main(arguments=None) -> int:
    """Run the command; returns its exit status."""
    parser = _parser()
    options = parser.parse_args(arguments)
    session = BenchmarkSession(options)
    record = {
        "command": _command(parser, options),
        "date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "machine": f"{machine.describe()}; {machine.processor()}; on {session.device}",
        "versions": machine.versions(PACKAGES),
        "commit": commit(),
    }
    keep_freed_memory()  # for all contenders alike
    session.say("# Benchmark")
    session.say(f"    {record['command']}")
    session.say(f"{record['machine']}. {', '.join(record['versions'])}.")
    session.say(f"{record['date']}, commit {record['commit'] or 'unknown'}.")
    session.say(
        f"Batch {session.batch}, length {session.length}, {contenders.DIM} channels, {contenders.D_STATE} states, float32."
        f" Times are medians of at least {session.repeats} rounds, in each of which all contenders of a table take turns."
        " Ratios are to the first row, round by round. Nothing is run that would take more than"
        f" {measure.format_duration(session.seconds)} or {measure.format_bytes(session.gigabytes * 1e9)}."
    )
    try:
        for name in options.only:
            session.say(f"## {name}: {SECTIONS[name].__doc__}")
            SECTIONS[name](session)
    finally:
        print("Written:", ", ".join(map(str, session.write(options.output, record))))
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
