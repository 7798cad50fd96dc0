"""Models of sequences around an exchangeable mixer, any of :mod:`helpers.layers`; and those that are published.

``PixelClassifier`` answers what it has read, ``PixelGenerator`` predicts what comes next. What mixes positions is all
that differs between two of a kind.
"""

import inspect
from pathlib import Path

import torch
from torch import nn

from helpers import checkpoint
from helpers.models.backbone import MIXERS, Backbone, Memory, sinusoidal_encoding
from helpers.models.classifier import PixelClassifier
from helpers.models.generator import PixelGenerator
from helpers.models.yardsticks import ConvClassifier, FlattenedClassifier, LinearClassifier

__all__ = [
    "CHECKPOINTS",
    "MIXERS",
    "Backbone",
    "ConvClassifier",
    "FlattenedClassifier",
    "LinearClassifier",
    "Memory",
    "PixelClassifier",
    "PixelGenerator",
    "build",
    "load_checkpoint",
    "sinusoidal_encoding",
]

CHECKPOINTS = Path(__file__).parent.parent / "checkpoints"


def build(model: str, arguments: dict) -> nn.Module:
    """A model of this package by the name of its class, as a checkpoint names it.

    Raises:
        ValueError: if there is no such class, or it cannot be built from these arguments.
    """
    known = (PixelClassifier, PixelGenerator, LinearClassifier, ConvClassifier, FlattenedClassifier)
    classes = {kind.__name__: kind for kind in known}
    if model not in classes:
        raise ValueError(f"model must be one of {', '.join(classes)}, got {model!r}")
    try:
        named = _arguments_of(classes[model], arguments)
        unknown = [name for name in arguments if named and name not in named]
        if unknown:
            raise ValueError(f"{model} has no argument {unknown[0]!r} here; it has {', '.join(named)}")
        return classes[model](**arguments)
    except (TypeError, ArithmeticError, RuntimeError, MemoryError) as error:  # an argument it has not, or such a size
        raise ValueError(f"{model} cannot be built from {arguments}: {error}") from error


def _arguments_of(kind, arguments):
    """What a model may be given, its mixer's arguments included. Nothing, if there is no such mixer."""
    owners = [kind]
    if issubclass(kind, Backbone):
        mixer = arguments.get("mixer", inspect.signature(kind).parameters["mixer"].default)
        if mixer not in MIXERS:
            return []
        for part in MIXERS[mixer]:
            owners += part.__mro__[: part.__mro__.index(nn.Module)]
    found = [parameter for owner in owners for parameter in inspect.signature(owner).parameters.values()]
    return list(dict.fromkeys(p.name for p in found if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)))


def load_checkpoint(name: str, folder=CHECKPOINTS) -> nn.Module:
    """The published model ``name``, in evaluation mode, on the CPU, such as ``"smnist"``.

    Reads ``<name>.json`` (what was built, and how it was trained) and ``<name>.safetensors`` (the weights).

    Raises:
        helpers.checkpoint.CheckpointError: if a file is missing or damaged; the message says which, and what to do.
    """
    record = checkpoint.read_record(name, folder)
    path = Path(folder) / f"{name}.safetensors"
    try:
        with torch.device("cpu"):  # whatever the default device is
            model = build(record["model"], record["arguments"])
    except ValueError as error:
        raise checkpoint.CheckpointError(f"{path.with_suffix('.json')} describes no model: {error}") from error
    checkpoint.load_weights(model, checkpoint.load(path)[0], path)
    return model.eval()
