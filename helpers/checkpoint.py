"""What is kept of a training: weights, a state to resume from, and a log, written atomically and without pickle.

Weights and state are ordinary safetensors files, whose header also holds a checksum and, as JSON, what is not a tensor.
"""

import csv
import hashlib
import io
import json
from pathlib import Path

import filelock
import torch
from safetensors import SafetensorError
from safetensors.torch import load as parse
from safetensors.torch import save as serialize

from helpers import files

LAST, BEST, LOG, LOCK = "last.safetensors", "best.safetensors", "log.csv", ".lock"


class CheckpointError(RuntimeError):
    """A checkpoint cannot be read or written; the message says which file, why, and what to do."""


def save(path: Path, tensors: dict, state: dict | None = None) -> None:
    """Write tensors in one rename: a crash at any moment leaves the old file, or the new one.

    Args:
        path: of the safetensors file.
        tensors: ``{name: tensor}``, such as a ``state_dict``. Each is saved whole, even where two share their memory.
        state: a dictionary of whatever else is to be kept, as JSON: keys become strings, and tuples lists.

    Raises:
        CheckpointError: if it cannot be written; then the old file is still there.
    """
    path = Path(path)
    wrong = [name for name, x in tensors.items() if not (isinstance(name, str) and isinstance(x, torch.Tensor))]
    if wrong:
        raise CheckpointError(f"{path} cannot be written: tensors must be {{name: tensor}}, not so at {wrong[0]!r}")
    if not isinstance(state or {}, dict):
        raise CheckpointError(f"{path} cannot be written: state must be a dictionary, got a {type(state).__name__}")
    try:
        # A copy of each: safetensors refuses tensors that share memory, such as tied weights.
        tensors = {name: x.detach().cpu().clone(memory_format=torch.contiguous_format) for name, x in tensors.items()}
        text = json.dumps(state or {})
        content = serialize(tensors, metadata={"state": text, "sha256": _checksum(tensors, text)})
        parse(content)  # safetensors writes some names and dtypes that it cannot read
    except (TypeError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(f"{path} cannot be written: {error}") from error
    _write(path, content)


def _write(path, content):
    try:
        files.write(path, content)
    except OSError as error:
        raise CheckpointError(
            f"{path} cannot be written: {error}. What was saved before is still there. Free some space"
            f" ({len(content) / 1e6:.1f} MB are needed), or choose a folder that can be written to, and start again."
        ) from error


def load(path: Path) -> tuple[dict, dict]:
    """Read what :func:`save` has written: ``(tensors, state)``, the tensors on the CPU.

    Raises:
        CheckpointError: if the file is missing, damaged, or of another kind.
    """
    path = Path(path)
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    damaged = CheckpointError(
        f"{path} is damaged, or no safetensors file at all. If a training wrote it, restore it from a copy, or delete"
        " it and train again."
    )
    try:
        tensors = parse(content)
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        found = header.get("__metadata__", {})
        if "state" not in found or "sha256" not in found:
            raise CheckpointError(
                f"{path} is an intact safetensors file, but not one of this tutorial's: its header has no checksum."
                " safetensors.torch.load_file reads it."
            )
        if _checksum(tensors, found["state"]) != found["sha256"]:
            raise damaged
        state = json.loads(found["state"])
    except (SafetensorError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise damaged from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{path} is intact, but not one of this tutorial's: its state is not a dictionary")
    return tensors, state


def _checksum(tensors, text):
    checksum = hashlib.sha256(text.encode())
    for name in sorted(tensors):
        tensor = tensors[name]
        checksum.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        checksum.update(tensor.reshape(-1).view(torch.uint8).numpy())
    return checksum.hexdigest()


def read_record(name: str, folder: Path) -> dict:
    """Read ``<name>.json``: what a published model is, how it was trained, and how good it was.

    Raises:
        CheckpointError: if there is no such file, or it cannot be read, or it does not describe a model.
    """
    path = Path(folder) / f"{name}.json"
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.stem for file in Path(folder).glob("*.safetensors"))) or "none"
        raise CheckpointError(f"there is no checkpoint {name!r} in {folder}; there are: {known}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from error
    for key, kind in (("model", str), ("arguments", dict)):
        if not isinstance(record, dict) or not isinstance(record.get(key), kind):
            raise CheckpointError(f"{path} does not describe a model: it must have {key!r}, a {kind.__name__}")
    return record


def write_published(name: str, folder: Path, model, record: dict) -> None:
    """Write ``<name>.safetensors``, ``.json`` and ``.csv`` next to a training's own files, ready to be published."""
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

    A context manager. While it is open, no other training can use the folder.

    Args:
        folder: where to write; it is made if it is not there. None: nothing is kept.
        model, optimizers: their weights and averages are kept.
        settings: whatever else decides the result. A folder whose checkpoint has other settings is refused.
        writes: whether this process writes; of several, one does.

    Raises:
        CheckpointError: if the folder cannot be used, is in use, or belongs to another training.
    """

    def __init__(self, folder, model, optimizers: list, settings: dict, writes: bool = True):
        self.folder = None if folder is None else Path(folder)
        self.model, self.settings = model, settings
        self.averages = {p: o.state for o in optimizers for group in o.param_groups for p in group["params"]}
        self.writes = writes and folder is not None
        self._lock = None

    def __enter__(self):
        if not self.writes:
            return self
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._lock = filelock.FileLock(self.folder / LOCK)  # the system lets go of it when a process dies
            self._lock.acquire(timeout=0)
            for part in self.folder.glob("*.part"):  # of a write that was cut off
                part.unlink()
        except filelock.Timeout as error:
            raise CheckpointError(
                f"{self.folder} is in use: another training writes into it. Wait for it, or choose another folder."
            ) from error
        except OSError as error:
            raise CheckpointError(f"{self.folder} cannot be used as a folder: {error}") from error
        return self

    def __exit__(self, *_):
        if self._lock is not None:
            self._lock.release()

    def resume(self) -> tuple[dict, list[dict]]:
        """Load weights and averages into model and optimizers; return the counters, and the log up to there."""
        if self.folder is None or not (self.folder / LAST).exists():
            return {"step": 0, "images": 0, "seconds": 0.0, "best": None, "tally": [0.0, 0.0, 0.0]}, []
        path = self.folder / LAST
        tensors, state = load(path)
        if not {"counters", "settings"} <= state.keys():
            raise CheckpointError(f"{path} holds no training to resume. Choose another folder.")
        for name in sorted({*self.settings, *state["settings"]}):
            was, given = (settings.get(name) for settings in (state["settings"], self.settings))
            if was != given:
                raise CheckpointError(
                    f"{self.folder} holds a training with {name} = {was!r}, and {given!r} was given. Resume with the"
                    " same command, or choose another folder."
                )
        load_weights(self.model, _part(tensors, "model."), path)
        named = self._named()
        for place, tensor in _part(tensors, "averages.").items():
            name, _, key = place.rpartition(".")
            self.averages[named[name]].setdefault(named[name], {})[key] = tensor.to(named[name].device)
        log = self.folder / LOG
        rows = [row for row in read_log(log) if row["step"] <= state["counters"]["step"]] if log.exists() else []
        return state["counters"], rows

    def keep(self, **counters) -> None:
        """Write all that the training needs to resume."""
        if not self.writes:
            return
        tensors = {f"model.{name}": tensor for name, tensor in self.model.state_dict().items()}
        for name, parameter in self._named().items():
            for key, tensor in self.averages[parameter].get(parameter, {}).items():
                tensors[f"averages.{name}.{key}"] = tensor
        save(self.folder / LAST, tensors, {"counters": counters, "settings": self.settings})

    def keep_best(self) -> None:
        """Write the weights, as those that were best so far."""
        if self.writes:
            save(self.folder / BEST, self.model.state_dict())

    def log(self, rows: list[dict]) -> None:
        """Write the whole log anew: it is short, about a line an epoch."""
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
        step = load(self.folder / LAST)[1]["counters"]["step"]
        return f" The last good checkpoint is {self.folder / LAST}, of step {step}."

    def _named(self):
        return {name: p for name, p in self.model.named_parameters() if p.requires_grad}


def load_weights(model, tensors: dict, path: Path) -> None:
    """Load a ``state_dict`` that was read from ``path``.

    Raises:
        CheckpointError: if it does not fit the model, or holds numbers that are not finite.
    """
    for name, tensor in tensors.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise CheckpointError(f"{path} cannot be used: {name} holds numbers that are not finite")
    try:
        model.load_state_dict(tensors)
    except RuntimeError as error:
        raise CheckpointError(f"{path} does not fit a {type(model).__name__} of this size: {error}") from error


def _part(tensors, prefix):
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}
