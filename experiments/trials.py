"""The trainings behind the table of mixers, as protocol.md plans them: ``python experiments/trials.py --help``.

A finished training is not repeated, and an interrupted one resumes where it stopped.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

from helpers.train.objectives import Classification, NextPixel

HERE = Path(__file__).parent

# The preset of a row, what is different in it, and the row whose learning rates it takes (None: it has its own trials).
CLASSIFIERS = {
    "mamba": ("small-mamba", {}, None),
    "mamba-16states": ("small-mamba", {"d_state": 16, "d_model": 29}, "mamba"),
    "mamba-32states": ("small-mamba", {"d_state": 32, "d_model": 24}, "mamba"),
    "mamba-64states": ("small-mamba", {"d_state": 64, "d_model": 17}, "mamba"),
    "mamba-rope": ("small-mamba-rope", {}, None),
    "mamba2": ("small-mamba2", {}, None),
    "mamba2-64states": ("small-mamba2", {"d_state": 64, "d_model": 26, "headdim": 26}, "mamba2"),
    "mamba3": ("small-mamba3", {}, None),
    "mamba3-64states": ("small-mamba3", {"d_state": 64, "d_model": 26, "headdim": 26}, "mamba3"),
    "lstm": ("small-lstm", {"forget_bias": 1.0}, None),
    "lstm-chrono": ("small-lstm", {"longest": 784}, None),
    "s4d": ("small-s4d", {}, None),
    "s4d-8states": ("small-s4d", {"d_state": 8, "d_model": 59}, "s4d"),
    "attention": ("small-attention", {}, None),
}
_GENERATOR = {"n_layer": 2, "d_state": 8}
GENERATORS = {
    "mamba": ("generator", {**_GENERATOR, "mixer": "mamba", "d_conv": 4, "d_model": 34}, None),
    "mamba-rope": ("generator", {**_GENERATOR, "d_conv": 4, "d_model": 34}, None),
    "mamba-rope-conv32": ("generator", {**_GENERATOR, "d_conv": 32, "d_model": 32}, None),
    "memoryless-conv32": ("generator", {**_GENERATOR, "mixer": "memoryless", "d_conv": 32, "d_model": 32}, None),
    "s4d": ("generator-s4d", {}, None),
    "lstm": ("generator-lstm", {}, None),
    "attention": ("generator-attention", {}, None),
}
SEEDS = (0, 1, 2)


class Task(NamedTuple):
    """What is trained, and how: arguments of the model that make the task, and the trials of a row."""

    rows: dict
    arguments: dict
    rates: tuple = ((0.0, 0.003), (0.0, 0.01), (0.0, 0.03), (0.006, 0.003), (0.02, 0.003), (0.06, 0.01))  # Muon, AdamW
    epochs: float = 1
    log_every: int = 573
    score: str = "accuracy"  # what is reported
    objective: type = Classification


# Permuted pixels come with their positions, and only the last one answers.
TASKS = {
    "smnist": Task(CLASSIFIERS, {}),
    "psmnist": Task(CLASSIFIERS, {"permutation": 92916, "positional_encoding": True, "pooling": "last"}),
    "generator": Task(
        GENERATORS,
        {},
        rates=((0.0, 0.005), (0.02, 0.005), (0.02, 0.01)),
        epochs=0.3,
        log_every=688,
        score="bits",
        objective=NextPixel,
    ),
}


class Training(NamedTuple):
    """One training."""

    task: str
    row: str
    rates: tuple[float, float]
    seed: int = 0

    @property
    def name(self) -> str:
        muon, adamw = self.rates
        return f"table-{self.task}/{self.row}-muon{muon:g}-lr{adamw:g}-seed{self.seed}"

    @property
    def options(self) -> list[str]:
        """What follows ``python -m helpers.train``."""
        task = TASKS[self.task]
        preset, arguments, _ = task.rows[self.row]
        muon, adamw = self.rates
        options = [preset, "--seed", self.seed, "--muon-learning-rate", f"{muon:g}", "--learning-rate", f"{adamw:g}"]
        options += ["--epochs", task.epochs, "--log-every", task.log_every, "--devices", 1, "--precision", "32-true"]
        for name, value in {**task.arguments, **arguments}.items():
            options += ["--set", f"{name}={value}"]
        return [str(option) for option in options]

    def record(self) -> dict | None:
        """What came of it, or None."""
        path = HERE / f"{self.name}.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def winner(task: str, row: str) -> tuple[float, float] | None:
    """The rates that were best on the validation images; None before all of them were tried."""
    trials = {rates: Training(task, row, rates).record() for rates in TASKS[task].rates}
    if None in trials.values():
        return None
    rank = TASKS[task].objective.rank
    return max(trials, key=lambda rates: rank(trials[rates]["validation_accuracy"], trials[rates]["validation_loss"]))


def run(training: Training, runs: Path, test: bool = False) -> None:
    """Train, or resume, in a process of its own, and keep what it wrote. A training that fails counts as a trial."""
    record, score = training.record(), TASKS[training.task].score
    if record and (not test or f"test_{score}" in record):
        return
    began, folder, target = time.monotonic(), runs / training.name, HERE / f"{training.name}.json"
    folder.mkdir(parents=True, exist_ok=True)
    target.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "helpers.train", *training.options, *(["--test"] if test else [])]
    with open(folder / "output.txt", "w", encoding="utf-8") as output:
        environment = os.environ | {"OMP_NUM_THREADS": "1"}
        status = subprocess.run(
            [*command, "--output", folder], cwd=HERE.parent, env=environment, stdout=output, stderr=output, check=False
        ).returncode
    if status == 0:
        for suffix in (".csv", ".json"):  # the record last: with it the training counts as done
            shutil.copy(folder / f"{training.options[0]}{suffix}", target.with_suffix(suffix))
        kind = "test" if test else "validation"
        said = f"{kind} {shown(training.task, training.record()[f'{kind}_{score}'])}"
    else:
        said = (folder / "output.txt").read_text(encoding="utf-8").strip().splitlines()[-1]
        if "the training failed at" not in said:
            raise RuntimeError(f"{training.name}: exit status {status}. {said}")
        said = said.partition(" Try")[0]
        target.write_text(json.dumps({"failed": said, "validation_accuracy": 0.0, "validation_loss": 99.0}))
    print(f"{training.name}: {said}, {(time.monotonic() - began) / 60:.0f} min", flush=True)


def run_row(task: str, row: str, runs: Path) -> None:
    """Six trials and three seeds of one row, or three seeds at the rates of another."""
    other = TASKS[task].rows[row][2]
    if other is None:
        for rates in TASKS[task].rates:
            run(Training(task, row, rates), runs)
    rates = winner(task, other or row)
    if rates is None:
        raise RuntimeError(f"{row} takes its learning rates from {other}, which comes first")
    for seed in SEEDS:
        run(Training(task, row, rates, seed), runs, test=True)


def table(task: str) -> str:
    """What there is so far, in Markdown: a line for each row of which three seeds are done."""
    lines = ["| mixer | parameters | Muon | AdamW | validation | test |", "|---|---|---|---|---|---|"]
    score = TASKS[task].score
    for row, (_, _, other) in TASKS[task].rows.items():
        rates = winner(task, other or row)
        seeds = [Training(task, row, rates, seed).record() for seed in SEEDS] if rates else [None]
        if None in seeds or not all(f"test_{score}" in record for record in seeds):
            continue
        means = (spread(task, [record[f"{kind}_{score}"] for record in seeds]) for kind in ("validation", "test"))
        cells = (f"`{row}`", f"{seeds[0]['parameters']:,}", f"{rates[0]:g}", f"{rates[1]:g}", *means)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def shown(task: str, value: float) -> str:
    """An accuracy in percent, or bits per pixel."""
    return f"{value:.4f} bits" if TASKS[task].score == "bits" else f"{100 * value:.2f} %"


def spread(task: str, values: list[float]) -> str:
    """Mean and standard deviation."""
    deviation = shown(task, statistics.stdev(values)).split()[0]
    return f"{shown(task, statistics.mean(values))} ({deviation})"


def main(arguments=None) -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(prog="python experiments/trials.py", description=__doc__)
    parser.add_argument("task", choices=TASKS, help="pixels in order, in one fixed random order, or predicted")
    parser.add_argument("rows", nargs="*", metavar="ROW", help="names of rows (default: all of the task's)")
    parser.add_argument("--output", type=Path, default=HERE.parent / "build" / "train", help="where trainings are kept")
    parser.add_argument(
        "--parallel", type=int, default=os.cpu_count(), metavar="N", help="trainings at a time (%(default)s)"
    )
    parser.add_argument("--show", action="store_true", help="train nothing, print the table")
    options = parser.parse_args(arguments)
    known = TASKS[options.task].rows
    unknown = set(options.rows) - set(known)
    if unknown:
        parser.error(f"ROW must be one of {', '.join(known)}, got {', '.join(sorted(unknown))}")
    if not options.show:
        rows = options.rows or list(known)
        for wave in ([row for row in rows if not known[row][2]], [row for row in rows if known[row][2]]):
            with ThreadPoolExecutor(options.parallel) as pool:
                list(pool.map(lambda row: run_row(options.task, row, options.output.resolve()), wave))
    print(table(options.task))


if __name__ == "__main__":
    main()
