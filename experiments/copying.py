"""Copying at lengths that no model was trained on, for page 9: ``python experiments/copying.py``, an hour on two cores.

It writes ``longer/copying.json`` after every mixer, and skips those that are in it already.
"""

import json
import statistics
from pathlib import Path

import torch

from helpers import files, machine, train
from helpers.copying import COPIES, GROWTH, CopyingModel, InPieces, copying_batches, growing_batches
from helpers.train.presets import PRESETS

TARGET = Path(__file__).parent / "longer" / "copying.json"
MIXERS = {
    **{f"small-{name}": {} for name in ("mamba", "mamba-rope", "mamba2", "mamba3", "s4d")},
    "small-lstm": {"longest": 256},
    "small-attention": {},
    "small-memoryless": {},
}
RATES, SEEDS = (0.003, 0.01, 0.03), (0, 1, 2)
LENGTHS = (256, 512, 1024, 2048, 4096)
VALIDATION, TEST, TESTED = 1_000, 2_000, 320  # seeds, far from those of training; sequences
PIECES, SHORT, STEPS = (32, 16, 8), 32, 400  # gradients within pieces of this many positions, of sequences of 32


def trained(name: str, rate: float, seed: int) -> CopyingModel:
    """A model of the size of a preset, after the lengths of ``GROWTH``."""
    torch.manual_seed(seed)
    model = CopyingModel(**PRESETS[name].arguments, **MIXERS[name])
    train.fit(model, growing_batches(seed), train.TrainingConfig(learning_rate=rate, seed=seed))
    return model


def measure(name: str) -> dict:
    """Three learning rates on validation sequences, then three seeds on test sequences of every length."""
    tried = {rate: trained(name, rate, 0) for rate in RATES}
    at_validation = {
        rate: train.evaluate(model, copying_batches(1_280, LENGTHS[0], VALIDATION)).accuracy
        for rate, model in tried.items()
    }
    rate = max(RATES, key=at_validation.get)
    models = [tried[rate], *(trained(name, rate, seed) for seed in SEEDS[1:])]
    return {
        "arguments": PRESETS[name].arguments | MIXERS[name],
        "parameters": sum(p.numel() for p in models[0].parameters()),
        "validation": at_validation,
        "rate": rate,
        "test": [
            [train.evaluate(model, copying_batches(TESTED, length, TEST)).accuracy for length in LENGTHS]
            for model in models
        ],
    }


def truncated(piece: int) -> list:
    """A Mamba that learns from gradients within pieces: the accuracy of each answer, for each of three seeds."""
    accuracies = []
    for seed in SEEDS:
        torch.manual_seed(seed)
        model = InPieces(CopyingModel("mamba", d_state=8), piece, truncate=True)
        loader = copying_batches(64 * STEPS, SHORT, seed, 64)
        train.fit(model, loader, train.TrainingConfig(learning_rate=0.01, seed=seed))
        found = train.evaluate(model, copying_batches(4_800, SHORT, TEST))
        accuracies.append((found.labels == found.predictions).view(-1, COPIES).double().mean(0).tolist())
    return accuracies


def table(record: dict) -> str:
    """What was found, in Markdown: for each mixer the mean over the seeds, at every length."""
    lines = [
        f"| mixer | parameters | rate | {' | '.join(f'{length:,}' for length in LENGTHS)} |",
        "|" + "---|" * (3 + len(LENGTHS)),
    ]
    for name, found in record["mixers"].items():
        means = (f"{100 * statistics.mean(column):.1f} %" for column in zip(*found["test"], strict=True))
        lines.append(f"| `{name}` | {found['parameters']:,} | {found['rate']:g} | {' | '.join(means)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure what is not there yet."""
    record = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {}
    record |= {
        "command": "python experiments/copying.py",
        "growth": GROWTH,
        "lengths": LENGTHS,
        "tested": TESTED,
        "versions": machine.versions(["torch", "numba"]),
    }
    for part, names, function in (("mixers", MIXERS, measure), ("truncated", PIECES, truncated)):
        found = record.setdefault(part, {})
        for name in map(str, names):
            if name not in found:
                found[name] = function(name if part == "mixers" else int(name))
                TARGET.parent.mkdir(exist_ok=True)
                files.write(TARGET, (json.dumps(record, indent=2) + "\n").encode())
                print(name, found[name], flush=True)
    print(table(record))


if __name__ == "__main__":
    main()
