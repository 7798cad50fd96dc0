"""The published models and some test digits, as scripts that a page can load."""

import base64
import json
from pathlib import Path

import numpy as np

from helpers import mnist, models
from helpers.layers import Mamba, MambaRoPE

DIGITS = 100  # the first test digits, none of them chosen
MOST = 1_400_000  # bytes of a script of weights: what a phone should have to fetch


def write(folder: Path) -> None:
    """``weights.js`` and ``generator.js``, the classifier and the generator; and ``digits.js``, labels and pixels of
    test digits, each encoded separately so that one can be cut out.

    Raises:
        ValueError: if a published model is of another kind than ``mamba.js`` can compute, or too large.
    """
    test = mnist.load(train=False)
    pixels = "".join(_text(digit) for digit in test.data[:DIGITS].numpy())
    digits = {"labels": test.targets[:DIGITS].tolist(), "pixels": pixels}
    written = {
        "weights.js": ("SMNIST", classifier(models.load_checkpoint("smnist"))),
        "generator.js": ("GENERATOR", generator(models.load_checkpoint("generator"))),
        "digits.js": ("DIGITS", digits),
    }
    for file, (name, content) in written.items():
        text = f"window.{name} = {json.dumps(content)};\n"
        if len(text) > MOST:
            raise ValueError(f"{file} must have at most {MOST} bytes, got {len(text)}")
        (folder / file).write_text(text, encoding="utf-8")


def classifier(model) -> dict:
    """What ``PixelClassifier`` of ``mamba.js`` is made from."""
    if model.pooling != "sum" or model.order is not None:
        raise ValueError("mamba.js sums what the layers make of pixels in their own order, and this model does not")
    return _content(model, "float32", mean=mnist.MEAN, std=mnist.STD)


def generator(model) -> dict:
    """What ``PixelGenerator`` of ``mamba.js`` is made from."""
    return _content(model, "float16", levels=model.levels, classes=model.classes)


def _content(model, dtype, **sizes):
    """All weights one after another, where each begins, and the sizes of what they belong to."""
    block = model.blocks[0]
    if not all(
        type(block) in (Mamba, MambaRoPE) and block.in_proj.bias is None and block.conv1d.bias is not None
        for block in model.blocks
    ):
        raise ValueError("mamba.js computes Mamba and MambaRoPE with their usual biases, and this model has others")
    sizes |= {
        "layers": len(model.blocks),
        "d_model": block.d_model,
        "d_inner": block.d_inner,
        "d_state": block.d_state,
        "d_conv": block.d_conv,
        "dt_rank": block.dt_rank,
        "positional_encoding": model.positional_encoding,
        "angles": block.angles.tolist() if isinstance(block, MambaRoPE) else None,
    }
    tensors, parts, place = {}, [], 0
    for name, tensor in model.state_dict().items():
        tensors[name] = [place, tensor.numel()]
        parts.append(tensor.numpy().ravel())
        place += tensor.numel()
    weights = np.concatenate(parts).astype(np.dtype(dtype).newbyteorder("<"))
    return {"sizes": sizes, "dtype": dtype, "tensors": tensors, "weights": _text(weights)}


def _text(array):
    return base64.b64encode(array.tobytes()).decode()
