"""The published classifier and some test digits, as scripts that a page can load."""

import base64
import json
from pathlib import Path

import numpy as np

from helpers import mnist, models
from helpers.layers import MambaRoPE

NAME = "smnist"
DIGITS = 100  # the first test digits, none of them chosen


def write(folder: Path) -> None:
    """``weights.js``: all weights in float32 one after another, where each begins, and what they belong to.

    And ``digits.js``: labels and pixels of test digits, each encoded by itself so that one can be cut out.

    Raises:
        ValueError: if the published classifier is of another kind than ``mamba.js`` can compute.
    """
    model = models.load_checkpoint(NAME)
    block = model.blocks[0]
    if not (
        all(isinstance(block, MambaRoPE) and block.in_proj.bias is None for block in model.blocks)
        and model.pooling == "sum"
        and model.order is None
        and not model.positional_encoding
        and model.gates is None
    ):
        raise ValueError(f"mamba.js sums what MambaRoPE blocks make of pixels in their own order, and {NAME} does not")
    sizes = {
        "layers": len(model.blocks),
        "d_model": model.embedding.out_features,
        "d_inner": len(block.D),
        "d_state": block.d_state,
        "d_conv": block.conv1d.kernel_size[0],
        "dt_rank": block.dt_rank,
        "angles": block.angles.tolist(),
        "mean": mnist.MEAN,
        "std": mnist.STD,
    }
    tensors, parts, place = {}, [], 0
    for name, tensor in model.state_dict().items():
        tensors[name] = [place, tensor.numel()]
        parts.append(tensor.numpy().astype("<f4").ravel())
        place += tensor.numel()
    weights = {"sizes": sizes, "tensors": tensors, "weights": _text(np.concatenate(parts))}
    test = mnist.load(train=False)
    pixels = "".join(_text(digit) for digit in test.data[:DIGITS].numpy())
    digits = {"labels": test.targets[:DIGITS].tolist(), "pixels": pixels}
    (folder / "weights.js").write_text(f"window.SMNIST = {json.dumps(weights)};\n", encoding="utf-8")
    (folder / "digits.js").write_text(f"window.DIGITS = {json.dumps(digits)};\n", encoding="utf-8")


def _text(array):
    return base64.b64encode(array.tobytes()).decode()
