"""What is kept of a training: weights, a state to go on from, a log. Whole or not there at all, and without pickle.

A state is a nested dictionary. Its tensors are the tensors of a safetensors file, named by the way to them, ``a/b/c``;
whatever else it holds is JSON in the file's header, with a checksum over both. A flat dictionary of tensors, such as a
``state_dict``, becomes an ordinary safetensors file.
"""

import csv
import hashlib
import io
import json
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize

from helpers import files

LAST, BEST, LOG = "last.safetensors", "best.safetensors", "log.csv"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message says which file, why, and what to do."""


def save(path: Path, state: dict) -> None:
    """Write a state in one rename: a crash at any moment leaves the old file, or the new one.

    Args:
        path: of the safetensors file.
        state: dictionaries with names for keys; at their ends tensors, or what JSON can say.

    Raises:
        CheckpointError: if it cannot be written; then what was there before is still there.
    """
    tensors = {}
    text = json.dumps(_without_tensors(state, "", tensors))
    content = serialize(tensors, metadata={"state": text, "sha256": _checksum(tensors, text)})
    _write(Path(path), content)


def _write(path, content):
    try:
        files.write(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error}. What was saved before is still there. Free some space"
            f" ({len(content) / 1e6:.1f} MB are needed), or choose a folder that can be written to, and start again."
        ) from error


def load(path: Path) -> dict:
    """Read what :func:`save` has written; tensors come back on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    damaged = CheckpointError(f"{path} is damaged. Restore it from a copy, or delete it and train again.")
    try:
        tensors = parse(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
        text, checksum = header["state"], header["sha256"]
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise damaged from error
    if _checksum(tensors, text) != checksum:
        raise damaged
    state = json.loads(text)
    for name, tensor in tensors.items():
        *way, last = name.split("/")
        place = state
        for key in way:
            place = place[key]
        place[last] = tensor
    return state


def _without_tensors(state, name, tensors):
    """The rest of a state; its tensors go into ``tensors``."""
    rest = {}
    for key, value in state.items():
        if isinstance(value, torch.Tensor):
            tensors[name + key] = value.detach().cpu().contiguous()
        else:
            rest[key] = _without_tensors(value, f"{name}{key}/", tensors) if isinstance(value, dict) else value
    return rest


def _checksum(tensors, text):
    checksum = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return checksum.hexdigest()


def read_record(name: str, folder: Path) -> dict:
    """Read ``<name>.json``: what a published classifier is, how it was trained, and how good it was."""
    path = Path(folder) / f"{name}.json"
    try:
        return json.loads(path.read_text())
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in Path(folder).glob("*.safetensors"))) or "none"
        raise CheckpointError(f"there is no checkpoint {name!r} in {folder}; there are: {known}") from error
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error


def write_published(name: str, folder: Path, model, record: dict) -> None:
    """Write ``<name>.safetensors``, ``.json`` and ``.csv`` beside a training's own files, ready to be published."""
    save(folder / f"{name}.safetensors", model.state_dict())
    _write(folder / f"{name}.json", (json.dumps(record, indent=2) + "\n").encode())
    _write(folder / f"{name}.csv", (folder / LOG).read_bytes())


def read_log(path: Path) -> list[dict]:
    """The rows of a log, numbers as numbers."""
    with open(path, newline="") as file:
        return [{key: _number(value) for key, value in row.items()} for row in csv.DictReader(file)]


def _number(text):
    return int(text) if text.lstrip("-").isdigit() else float(text)


class Checkpointer:
    """What a training writes down while it runs, and finds again: ``last`` and ``best.safetensors``, and ``log.csv``.

    Args:
        folder: where; it is made if it is not there. None: nothing is kept.
        model, optimizers: whose weights and averages are kept.
        settings: what decides the result besides them. A folder in which others are noted is refused.
        writes: whether this process writes; of several, one does.

    Raises:
        CheckpointError: if the folder cannot be used, or belongs to another training.
    """

    def __init__(self, folder, model, optimizers: list, settings: dict, writes: bool = True):
        self.folder = None if folder is None else Path(folder)
        self.model, self.settings = model, settings
        self.averages = {p: o.state for o in optimizers for group in o.param_groups for p in group["params"]}
        self.writes = writes and folder is not None

    def resume(self) -> tuple[dict, list[dict]]:
        """Load weights and averages into model and optimizers; return the counters, and the log up to there."""
        if self.writes:
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                for part in self.folder.glob("*.part"):  # of a write that was cut off
                    part.unlink()
            except OSError as error:
                raise CheckpointError(f"{self.folder} cannot be used as a folder: {error}") from error
        if self.folder is None or not (self.folder / LAST).exists():
            return {"step": 0, "images": 0, "seconds": 0.0, "best": None, "tally": [0.0, 0.0, 0.0]}, []
        state = load(self.folder / LAST)
        for name in sorted({*self.settings, *state["settings"]}):
            was, given = (settings.get(name) for settings in (state["settings"], self.settings))
            if was != given:
                raise CheckpointError(
                    f"{self.folder} holds a training with {name} = {was!r}, and {given!r} was given. Go on with the"
                    " same command, or choose another folder."
                )
        self.model.load_state_dict(state["model"])
        for name, parameter in self._named().items():
            if name in state["averages"]:
                averages = {key: tensor.to(parameter.device) for key, tensor in state["averages"][name].items()}
                self.averages[parameter][parameter] = averages
        log = self.folder / LOG
        rows = [row for row in read_log(log) if row["step"] <= state["counters"]["step"]] if log.exists() else []
        return state["counters"], rows

    def keep(self, **counters) -> None:
        """Write all that the training needs to go on."""
        if self.writes:
            averages = {name: self.averages[p][p] for name, p in self._named().items() if p in self.averages[p]}
            state = {"model": self.model.state_dict(), "averages": averages}
            save(self.folder / LAST, state | {"counters": counters, "settings": self.settings})

    def keep_best(self) -> None:
        """Write the weights, as those that were best so far."""
        if self.writes:
            save(self.folder / BEST, self.model.state_dict())

    def log(self, rows: list[dict]) -> None:
        """Write the log, all of it: it has a line an epoch, or little more."""
        if not self.writes:
            return
        text = io.StringIO()
        writer = csv.DictWriter(text, rows[0], lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        _write(self.folder / LOG, text.getvalue().encode())

    def advice(self) -> str:
        """A sentence on the last good checkpoint, or nothing if there is none."""
        if self.folder is None or not (self.folder / LAST).exists():
            return ""
        step = load(self.folder / LAST)["counters"]["step"]
        return f" The last good checkpoint is {self.folder / LAST}, of step {step}."

    def _named(self):
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}
