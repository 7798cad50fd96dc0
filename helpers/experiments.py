"""Past trainings and measurements: what is kept of them, and how it is read.

The published models are in ``helpers/checkpoints``, everything else that was trained or measured in
``experiments/`` of the repository, whose README tells the story. A record is a JSON file (what was trained, by which
command, on what, how well) and, for a training, a CSV of the same name (a line for each part of it).
"""

import json
from pathlib import Path
from typing import NamedTuple

from helpers import checkpoint, models

FOLDER = Path(__file__).parent.parent / "experiments"


class Experiment(NamedTuple):
    """One training or measurement."""

    name: str
    record: dict
    log: list[dict]  # empty where there is none


def read(name: str) -> Experiment:
    """An experiment by its name: ``"smnist"`` is a published classifier, ``"small/lstm-again"`` lies in a folder.

    Raises:
        FileNotFoundError: if there is none of this name; the message says what to do.
    """
    path = (FOLDER if "/" in name else models.CHECKPOINTS) / name
    record, log = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.csv")
    if not record.exists() and not log.exists():
        raise FileNotFoundError(
            f"there is no experiment {name!r}: {record} does not exist. The folder experiments/ comes with a clone of"
            " the repository, and not with an installed package."
        )
    return Experiment(
        name,
        json.loads(record.read_text(encoding="utf-8")) if record.exists() else {},
        checkpoint.read_log(log) if log.exists() else [],
    )


def find(pattern: str) -> list[Experiment]:
    """All experiments in ``experiments/`` whose names match, such as ``"small/mamba-*"``, in order of their names."""
    names = {str(path.relative_to(FOLDER).with_name(path.stem)) for path in FOLDER.glob(f"{pattern}.json")}
    return [read(Path(name).as_posix()) for name in sorted(names)]
