"""The deletion curve of page 7: ``python experiments/deletion.py``, some minutes; it writes ``inside/deletion.json``.

Run it again whenever other weights are published as ``smnist``; the page notices if that was forgotten.
"""

import json
from pathlib import Path

from helpers import inspect, machine, mnist, models

DIGITS, FIRST = 1000, 50  # of the test set; of these, the ones that the page measures again
SHARES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6)


def measure() -> dict:
    """The record: how many of the answers stay as they were, for each order in which ink is deleted."""
    model = models.load_checkpoint("smnist").to(machine.device())
    pixels, _ = mnist.sequences(mnist.load(train=False))
    paper = pixels.min().item()
    kept = inspect.answers_kept(model, pixels[:DIGITS].to(machine.device()), SHARES, paper)
    return {
        "command": "python experiments/deletion.py",
        "model": "smnist",
        "digits": DIGITS,
        "shares": SHARES,
        "kept": {name: found.sum(1).tolist() for name, found in kept.items()},
        "first": FIRST,
        "kept_of_the_first": {name: found[:, :FIRST].sum(1).tolist() for name, found in kept.items()},
        "versions": machine.versions(["torch", "numba"]),
    }


if __name__ == "__main__":
    target = Path(__file__).parent / "inside" / "deletion.json"
    target.parent.mkdir(exist_ok=True)
    target.write_text(json.dumps(measure(), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
