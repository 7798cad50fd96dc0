"""The command: ``python -m helpers.benchmark --help``. Each section times contenders in turn and prints a table."""

import argparse
import datetime
import sys
from functools import partial
from pathlib import Path

import torch

from helpers import files, machine
from helpers.benchmark import contenders, measure
from helpers.benchmark.measure import format_bytes, format_duration, format_number, run_in_process
from helpers.benchmark.report import CHECKED, CONVOLUTION_TOLERANCE, TOLERANCE, BenchmarkSession, commit, table
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


def convolution(session):
    """the short convolution and its SiLU: our backends"""
    for backward, title in PASSES.items():
        names = contenders.convolutions(session.device)
        _compare(session, "convolution", f"convolution, {title}", names, session.batch, contenders.DIM, backward)


def layers(session):
    """blocks of Mamba (16 states), Mamba-2 and Mamba-3 (64), an LSTM and causal attention of the same width"""
    for backward, passes in PASSES.items():
        title = f"{passes}, width {contenders.D_MODEL}"
        _compare(session, "layers", title, contenders.LAYERS, session.batch, contenders.DIM, backward)


def length(session):
    """time and peak memory (on Linux, or of a GPU) against length, at a constant number of positions"""
    names = [*backends(session.device), *contenders.LAYERS]
    lengths = [SHORTEST * 4**i for i in range(16) if SHORTEST * 4**i <= session.longest]
    exact = exact_scan(*scan_inputs(1, SHORTEST, session.device))
    rows = []
    for at in lengths:
        prepare = partial(_prepare_length, session, exact, session.longest // at, at)
        rows += session.compare("length", f"length {at:,}", names, prepare, session.longest // at, at)
    times = {(r.name, r.length): format_number(1e6 * r.seconds / (r.batch * r.length)) for r in rows if r.seconds}
    memory = {(r.name, r.length): format_bytes(r.peak_bytes) for r in rows if r.peak_bytes}
    for title, cells in {"microseconds per position": times, "peak memory": memory}.items():
        lines = [(name, *(cells.get((name, at), "-") for at in lengths)) for name in names]
        session.say(table([f"{title}, by length", *(f"{at:,}" for at in lengths)], lines))
    for row in rows:
        if row.note:
            session.say(f"{row.name}, {row.comparison}: {row.note}.")


SECTIONS = {section.__name__: section for section in (scan, channels, convolution, layers, length)}


def _compare(session, section, title, names, batch, dim, backward=True):
    """Time contenders at the session's length, and show them; scans and convolutions must be right."""
    checked = min(batch, CHECKED)
    exact, tolerance = None, TOLERANCE
    if section == "convolution":
        exact = contenders.exact_convolution(*contenders.convolution_inputs(checked, session.length, session.device))
        tolerance = CONVOLUTION_TOLERANCE
    elif section != "layers":
        exact = exact_scan(*scan_inputs(checked, session.length, session.device, dim))

    def prepare(name):
        call, entries = _affordable(session, name, batch, session.length, backward, dim), {}
        if exact is not None:
            same = {"name": name, "device": session.device, "backward": backward, "dim": dim}
            few = call if checked == batch else contenders.call(session.length, batch=checked, **same)
            entries["note"] = f"differs by {_error(few, exact, tolerance):.0e}"
        return call, entries | {"kernel_seconds": measure.kernel_seconds(call, session.device)}

    session.show(session.compare(section, title, names, prepare, batch, session.length))


def _prepare_length(session, exact, batch, at, name):
    """Check a scan at the shortest length; measure peak memory in another process."""
    call = _affordable(session, name, batch, at)
    if name not in contenders.LAYERS:
        _error(contenders.call(SHORTEST, name=name, batch=1, device=session.device, backward=True), exact)
    peak = run_in_process(contenders.peak_bytes, name, batch, at, session.device, torch.get_num_threads())
    session.check_budget(size=peak or 0)
    return call, {"peak_bytes": peak}


def _affordable(session, name, batch, length, backward=True, dim=contenders.DIM):
    """A contender's call, if the budget allows it."""
    make = partial(contenders.call, name=name, batch=batch, device=session.device, backward=backward, dim=dim)
    session.check_budget(size=contenders.bytes_needed(name, batch, length, backward, dim))
    if name == contenders.COMPILED:
        session.check_budget(contenders.COMPILING)  # at every length anew
    else:
        session.check_forecast(make, length)
    return make(length)


def _error(call, exact, tolerance=TOLERANCE):
    results = call()
    error = worst_error(results, exact[: len(results)])  # without gradients it is the output alone
    if not error <= tolerance:  # also if it is NaN
        raise WrongResult(f"wrong: differs by {error:.1e}, more than {tolerance:.0e}")
    return error


def _parse(arguments):
    parser = argparse.ArgumentParser(
        prog="python -m helpers.benchmark",
        description="Measure what each way to run a selective scan costs. Exit status 1: one of our own is wrong.",
        epilog="sections:\n" + "\n".join(f"  {name:13}{section.__doc__}" for name, section in SECTIONS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )

    def add(name, kind, default, text, **more):
        parser.add_argument(f"--{name}", type=kind, default=default, help=f"{text} (default: %(default)s)", **more)

    add("only", str, list(SECTIONS), "sections to run", nargs="+", choices=SECTIONS, metavar="SECTION")
    add("output", Path, Path("build/benchmark"), "folder for the record")
    add("device", str, machine.device().type, "where to run", choices=["cpu", "cuda"][: 1 + torch.cuda.is_available()])
    add("repeats", int, 3, "rounds, at least")
    add("seconds", float, 60.0, "most that one contender may take in all rounds")
    add("gigabytes", float, 6.0, "most memory that it may take")
    add("batch", int, 16, "sequences at once")
    add("length", int, 784, "positions of a sequence")
    add("longest", int, 65536, "longest sequence of section length")
    options = parser.parse_args(arguments)
    for name, least in {"repeats": 1, "batch": 1, "length": 1, "longest": SHORTEST}.items():
        if getattr(options, name) < least:
            parser.error(f"--{name} must be at least {least}, got {getattr(options, name)}")
    for name in ("seconds", "gigabytes"):
        if not getattr(options, name) >= 0:
            parser.error(f"--{name} must be 0 or more, got {getattr(options, name)}")
    try:
        files.check_folder(options.output)
    except OSError as error:
        parser.error(f"--output must be a folder that can be written to: {error}")
    return options


def main(arguments=None) -> int:
    """Run the command; returns its exit status."""
    options = _parse(arguments)
    session = BenchmarkSession(options)
    asked = {**vars(options), "only": " ".join(options.only)}
    del asked["output"]  # a record must not depend on where it lies
    record = {
        "command": " ".join(["python -m helpers.benchmark", *(f"--{name} {value}" for name, value in asked.items())]),
        "date": f"{datetime.datetime.now():%Y-%m-%d %H:%M}",
        "machine": f"{machine.describe()}; {machine.processor()}; on {session.device}",
        "versions": machine.versions(PACKAGES),
        "commit": commit(),
    }
    keep_freed_memory()  # for all contenders alike
    session.say(
        f"# Benchmark\n\n    {record['command']}\n\n{record['machine']}; {', '.join(record['versions'])};"
        f" {record['date']}, commit {record['commit'] or 'unknown'}.\n\n"
        f"{contenders.DIM} channels, {contenders.D_STATE} states, float32. Times are medians of at least"
        f" {session.repeats} rounds; in each of them all contenders of a table take turns. Ratios are to the first row,"
        f' round by round. On a GPU "kernels" is the time of a call\'s kernels alone, replayed as a CUDA graph.'
        f" Nothing is run that would take more than {format_duration(session.seconds)} or"
        f" {format_bytes(session.gigabytes * 1e9)}."
    )
    try:
        for name in options.only:
            session.say(f"## {name}: {SECTIONS[name].__doc__}")
            SECTIONS[name](session)
    finally:
        session.write(options.output, record)
        print("Written:", options.output)
    return 1 if session.failed else 0


if __name__ == "__main__":
    sys.exit(main())
