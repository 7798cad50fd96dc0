"""One run of the benchmark: what is compared, whether it may be, and what was found, as tables, CSV and figure."""

import csv
import statistics
from pathlib import Path
from typing import NamedTuple

import torch
from tqdm import tqdm

from helpers import timing
from helpers.benchmark import measure
from helpers.benchmark.measure import format_number
from helpers.testing import WrongResult, worst_error

TOLERANCE = 1e-4  # max|x - y| / max|y| of the output and of every gradient
AT_LEAST = 1.0  # seconds that a comparison lasts


class Row(NamedTuple):
    """One measurement, a line of the CSV. What was not measured is empty, and ``note`` says why."""

    section: str
    comparison: str
    name: str
    batch: int
    length: int
    seconds: float | None = None  # the median of the rounds
    ratio: float | None = None  # to the first that was measured in its comparison, the median over the rounds
    rounds: str = ""  # seconds, divided by spaces
    peak_bytes: int | None = None
    input_bytes: int | None = None
    note: str = ""


class BenchmarkSession:
    """What the command was asked for, and what it has found.

    Args:
        options: ``device``, ``repeats``, ``seconds``, ``gigabytes``, ``batch``, ``length``, ``longest`` of the command.
    """

    def __init__(self, options):
        self.device, self.repeats = torch.device(options.device), options.repeats
        self.batch, self.length, self.longest = options.batch, options.length, options.longest
        self.budget = measure.Budget(options.seconds, options.gigabytes)
        self.rows, self.text = [], []
        self.failed = False  # whether one of our own scans fails or is wrong

    def admit(self, make, needed=None, size=0, right=None):
        """Decide whether something is timed: it must be within the budget, and what it computes must be right.

        Args:
            make: a length to the function that would be timed.
            needed: seconds that it will need, or ``None`` for a forecast from shorter lengths.
            size: bytes that it will need.
            right: what it should return; the first tensors of it suffice.

        Returns:
            ``(function, note)``, or ``(reason, "")``.

        Raises:
            WrongResult: if the results are wrong.
        """
        calls = 1
        if needed is None:
            points = []
            for length in sorted({max(1, self.length // 16), max(1, self.length // 4)}):
                call = make(length)
                points.append((length, min(timing.time_once(call), timing.time_once(call)) / length))
            needed, calls = measure.forecast(points, self.length) * self.length, self.repeats + 1
        if refusal := self.budget.refusal(needed, size, calls):
            return refusal, ""
        call = make(self.length)
        if right is None:
            return call, ""
        error = worst_error(call(), right)
        if not error <= TOLERANCE:  # also if it is not a number
            raise WrongResult(f"wrong: differs by {error:.1e}, more than {TOLERANCE:.0e}")
        return call, f"differs by {error:.0e}"

    def compare(self, section, title, calls, batch, length, entries=None) -> list[Row]:
        """Time ``calls`` beside one another: ``{name: function, or the reason why there is none}``.

        ``entries`` are further entries of the rows, ``{name: {entry: value}}``.
        """
        functions = {name: call for name, call in calls.items() if callable(call)}
        times = timing.time_interleaved(functions, self.repeats, title, AT_LEAST)
        rows = []
        for name, call in calls.items():
            row = Row(section, title, name, batch, length)._replace(**(entries or {}).get(name, {}))
            if name in times:
                ratio = timing.median_ratio(times[name], next(iter(times.values())))
                rounds = " ".join(f"{t:.6g}" for t in times[name])
                row = row._replace(seconds=statistics.median(times[name]), ratio=ratio, rounds=rounds)
            else:
                row = row._replace(note=call)
            rows.append(row)
        self.rows += rows
        return rows

    def say(self, text: str) -> None:
        """Print a paragraph, and keep it."""
        with tqdm.external_write_mode():
            print(text, end="\n\n", flush=True)
        self.text.append(text)

    def show(self, rows) -> None:
        """Say the rows of one comparison, as a table."""
        lines = [
            (r.name, *(("", "") if r.seconds is None else (format_number(r.seconds * 1e3), f"{r.ratio:.2f}")), r.note)
            for r in rows
        ]
        self.say(table([rows[0].comparison, "ms", "ratio", "note"], lines))

    def write(self, folder: Path) -> list[Path]:
        """Write ``benchmark.md``, ``benchmark.csv`` and, where length was varied, ``benchmark.png``; returns them."""
        folder.mkdir(parents=True, exist_ok=True)
        text, rows, figure = folder / "benchmark.md", folder / "benchmark.csv", folder / "benchmark.png"
        figure.unlink(missing_ok=True)  # an older one would stand beside newer numbers
        paragraphs = list(self.text)
        lengths = [row for row in self.rows if row.section == "length" and row.seconds]
        if lengths:
            _draw(lengths, figure)
            paragraphs.append(f"![Time per position, and peak memory, against length]({figure.name})")
        text.write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")
        with open(rows, "w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(Row._fields)
            writer.writerows(self.rows)
        return [path for path in (text, rows, figure) if path.exists()]


def _draw(rows, path):
    import matplotlib

    matplotlib.use("Agg")  # there need not be a screen
    import matplotlib.pyplot as plt

    from helpers import plots

    names = dict.fromkeys(row.name for row in rows)
    times = {n: {r.length: r.seconds / (r.batch * r.length) for r in rows if r.name == n} for n in names}
    memory = {n: {r.length: r.peak_bytes for r in rows if r.name == n and r.peak_bytes} for n in names}
    plots.costs(times, memory)
    plt.savefig(path)
    plt.close()


def table(header: list[str], lines: list[tuple]) -> str:
    """A Markdown table, aligned as plain text too: the first column and notes to the left, numbers to the right."""
    cells = [header, *([str(cell) for cell in line] for line in lines)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    left = [i == 0 or name == "note" for i, name in enumerate(header)]
    rule = ["-" * width if start else "-" * (width - 1) + ":" for width, start in zip(widths, left, strict=True)]
    cells = [
        [
            cell.ljust(width) if start else cell.rjust(width)
            for cell, width, start in zip(line, widths, left, strict=True)
        ]
        for line in cells
    ]
    return "\n".join(f"| {' | '.join(line)} |" for line in [cells[0], rule, *cells[1:]])
