"""What choosing the step size is worth on digits: ``python experiments/fixed_steps.py``, 20 minutes of a core.

The small Mamba, and the same with one learned step size per channel in place of one per pixel: one epoch each, three
seeds, on validation images. It writes ``inside/fixed_steps.json`` after every training, and leaves out what is there.
"""

import dataclasses
import json
import statistics
from pathlib import Path

import torch

from helpers import files, machine, mnist, models, train
from helpers.train.presets import PRESETS

TARGET = Path(__file__).parent / "inside" / "fixed_steps.json"
PRESET = PRESETS["small-mamba"]
KINDS, SEEDS = ("chosen", "fixed"), (0, 1, 2)


def make(kind: str, seed: int):
    """The model before its training: both kinds begin with the same weights, but for the map that chooses a step."""
    torch.manual_seed(seed)
    model = models.PixelClassifier(**PRESET.arguments)
    if kind == "fixed":
        for block in model.blocks:
            block.dt_proj.weight.requires_grad_(False).zero_()  # what is left is its bias, one number per channel
    return model


def measure(kind: str, seed: int) -> float:
    """The accuracy on 5,000 validation images after one epoch."""
    model = make(kind, seed)
    training, validation, _ = mnist.dataloaders(PRESET.batch_size, seed=seed, validation=PRESET.validation)
    train.fit(model, training, dataclasses.replace(PRESET.config, seed=seed))
    return train.evaluate(model, validation).accuracy


def main() -> None:
    """Measure what is not there yet."""
    record = json.loads(TARGET.read_text(encoding="utf-8")) if TARGET.exists() else {"accuracies": {}}
    record = {
        "command": "python experiments/fixed_steps.py",
        "arguments": PRESET.arguments,
        "settings": dataclasses.asdict(PRESET.config),
        "machine": machine.describe(),
        "accuracies": record["accuracies"],
    }
    for seed in SEEDS:
        for kind in KINDS:
            found = record["accuracies"].setdefault(kind, {})
            if str(seed) not in found:
                found[str(seed)] = measure(kind, seed)
                files.write(TARGET, (json.dumps(record, indent=2) + "\n").encode())
                print(kind, seed, found[str(seed)], flush=True)
    for kind, found in record["accuracies"].items():
        print(
            f"{kind:7} {statistics.mean(found.values()):.2%}, standard deviation {statistics.stdev(found.values()):.2%}"
        )


if __name__ == "__main__":
    main()
