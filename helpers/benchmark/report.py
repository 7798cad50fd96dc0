"""One run of the benchmark: what may be timed, how long it took, and the record, as text, JSON and figure."""

import contextlib
import json
import statistics
import subprocess
import warnings
from pathlib import Path
from typing import NamedTuple

import matplotlib
import matplotlib.pyplot as plt
import torch
from tqdm import tqdm

from helpers import plots, timing
from helpers.benchmark import contenders, measure
from helpers.benchmark.measure import NotRun, format_bytes, format_duration, format_number
from helpers.testing import WrongResult

TOLERANCE = 1e-4  # max|x - y| / max|y| of the output and of every gradient of a scan
CONVOLUTION_TOLERANCE = 5e-3  # a GPU may multiply in TF32, which has 10 bits
CHECKED = 16  # sequences at most that are held against the exact result
AT_LEAST = 1.0  # seconds that a comparison lasts


class Row(NamedTuple):
    """One contender in one comparison. What was not measured is empty, and ``note`` says why."""

    section: str
    comparison: str
    name: str
    batch: int
    length: int
    seconds: float | None = None  # the median of the rounds
    ratio: float | None = None  # to the first contender timed in the comparison, the median over the rounds
    rounds: tuple[float, ...] = ()  # seconds
    kernel_seconds: float | None = None  # of a call replayed as a CUDA graph
    peak_bytes: int | None = None
    note: str = ""


class BenchmarkSession:
    """What the command was asked for (``options``, as parsed), and what it has found."""

    def __init__(self, options):
        self.device, self.repeats = torch.device(options.device), options.repeats
        self.seconds, self.gigabytes = options.seconds, options.gigabytes
        self.batch, self.length, self.longest = options.batch, options.length, options.longest
        self.rows, self.text = [], []
        self.failed = False  # whether one of our own contenders is wrong or raises

    def check_budget(self, seconds=0.0, size=0, calls=1, about="about") -> None:
        """Raise :class:`NotRun` for what needs too many ``seconds``, for each of its ``calls``, or ``size`` bytes."""
        if seconds * calls > self.seconds:
            each = f", {format_duration(seconds)} a call" if calls > 1 else ""
            raise NotRun(f"not run: would need {about} {format_duration(seconds * calls)}{each}")
        if size > self.gigabytes * 1e9:
            raise NotRun(f"not run: would need about {format_bytes(size)}")

    def check_forecast(self, make, length) -> None:
        """Raise :class:`NotRun` if ``make(length)()`` would take too long, judging by shorter lengths."""
        costs, about = [], "more than"  # one length may not tell what is quadratic
        for shorter in sorted({max(1, length // 16), max(1, length // 4)}):
            call = make(shorter)
            costs.append((shorter, min(timing.time_once(call), timing.time_once(call))))  # the first may compile
            self.check_budget(measure.forecast(costs, length), calls=self.repeats + 1, about=about)
            about = "about"

    def compare(self, section, title, names, prepare, batch, length) -> list[Row]:
        """Time contenders in turn: ``prepare(name)`` returns ``(function, entries of its row)``, or raises why not."""
        rows, functions = {}, {}
        for name in tqdm(names, desc=f"{title}: checks", leave=False):
            rows[name] = Row(section, title, name, batch, length)
            try:
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # warnings of other people's code are not for our reader
                    functions[name], entries = prepare(name)
            except Exception as error:
                told = isinstance(error, (NotRun, WrongResult))
                reason = str(error) if told else f"failed: {type(error).__name__}: {error}".splitlines()[0][:120]
                entries = {"note": reason}
                self.failed |= not isinstance(error, NotRun) and name not in contenders.PUBLIC
            rows[name] = rows[name]._replace(**entries)
        times = timing.time_interleaved(functions, self.repeats, title, AT_LEAST)
        for name, rounds in times.items():
            ratio = timing.median_ratio(rounds, next(iter(times.values())))
            rows[name] = rows[name]._replace(seconds=statistics.median(rounds), ratio=ratio, rounds=tuple(rounds))
        self.rows += rows.values()
        return list(rows.values())

    def say(self, text: str) -> None:
        """Print a paragraph, and keep it."""
        print(text, end="\n\n", flush=True)
        self.text.append(text)

    def show(self, rows) -> None:
        """Say the rows of one comparison, as a table."""
        header, lines = [rows[0].comparison, "ms", "ratio", "note"], []
        kernels = any(row.kernel_seconds for row in rows)
        if kernels:
            header.insert(3, "kernels, ms")
        for row in rows:
            cells = [format_number(row.seconds * 1e3), f"{row.ratio:.2f}"] if row.seconds else ["", ""]
            if kernels:
                cells.append(format_number(row.kernel_seconds * 1e3) if row.kernel_seconds else "")
            lines.append((row.name, *cells, row.note))
        self.say(table(header, lines))

    def write(self, folder: Path, record: dict) -> None:
        """Write ``benchmark.md``, ``.json`` (``record``, and the rows) and, if length was varied, ``.png``."""
        folder.mkdir(parents=True, exist_ok=True)
        record = {**record, "rows": [row._asdict() for row in self.rows]}
        (folder / "benchmark.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
        figure, paragraphs = folder / "benchmark.png", list(self.text)
        figure.unlink(missing_ok=True)  # an older one would not be of these numbers
        if lengths := [row for row in self.rows if row.section == "length" and row.seconds]:
            matplotlib.use("Agg")  # it needs no screen
            plots.costs(lengths)
            plt.savefig(figure)
            plt.close()
            paragraphs.append(f"![Time per position, and peak memory, against length]({figure.name})")
        (folder / "benchmark.md").write_text("\n\n".join(paragraphs) + "\n", encoding="utf-8")


def commit() -> str | None:
    """The commit of this checkout, with ``-dirty`` if files have changed since; ``None`` where git does not know."""
    root = Path(__file__).parents[2]
    command = ["git", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    if not (root / ".git").exists():  # an installed package may lie in another project's repository
        return None
    with contextlib.suppress(OSError):
        return subprocess.run(command, capture_output=True, text=True).stdout.strip() or None


def table(header: list[str], lines: list[tuple]) -> str:
    """A Markdown table, aligned as plain text too: the first column and notes to the left, numbers to the right."""
    cells = [header, *([str(cell) for cell in line] for line in lines)]
    columns = []
    for i, column in enumerate(zip(*cells, strict=True)):
        width, left = max(map(len, column)), i == 0 or header[i] == "note"
        column = [cell.ljust(width) if left else cell.rjust(width) for cell in column]
        columns.append([column[0], "-" * width if left else "-" * (width - 1) + ":", *column[1:]])
    return "\n".join(f"| {' | '.join(line)} |" for line in zip(*columns, strict=True))
