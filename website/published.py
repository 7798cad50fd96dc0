"""The published classifier for the drawing page: its weights and some test digits, as a script that a page can load."""

import base64
import json
from pathlib import Path

import numpy as np

from helpers import checkpoint, mnist, models
from helpers.layers.mamba import MambaRoPE

NAME = "smnist"
DIGITS = 100  # the first test digits, none of them chosen


def write(folder: Path) -> None:
    """``weights.js``: all weights in float32 one after another, where each begins, and what they belong to."""
    about = checkpoint.read_record(NAME, models.CHECKPOINTS)
    # Every default as well, so that the page depends on no more than is written here.
    model = models.load_checkpoint(NAME)
    block = model.blocks[0]
    sizes = {
        "mixer": about["arguments"].get("mixer", "mamba"),
        "layers": len(model.blocks),
        "pooling": model.pooling,
        "d_model": model.embedding.out_features,
        "d_inner": len(block.D),
        "d_state": block.d_state,
        "d_conv": block.conv1d.kernel_size[0],
        "dt_rank": block.dt_rank,
        "angles": block.angles.tolist() if isinstance(block, MambaRoPE) else None,
        "length": model.shape[0],
        "mean": mnist.MEAN,
        "std": mnist.STD,
    }
    if sizes["mixer"] not in ("mamba", "rotary") or model.shape[1] != 1:
        raise ValueError(f"the drawing page reads one channel with Mamba blocks, and {NAME} does not")
    tensors, parts, place = {}, [], 0
    for name, tensor in model.state_dict().items():
        tensors[name] = [place, tensor.numel()]
        parts.append(tensor.numpy().astype("<f4").ravel())
        place += tensor.numel()
    test = mnist.load(train=False)
    content = {
        "sizes": sizes,
        "accuracy": about.get("test_accuracy"),
        "tensors": tensors,
        "weights": _text(np.concatenate(parts)),
        "labels": test.targets[:DIGITS].tolist(),
        "digits": _text(test.data[:DIGITS].numpy()),
    }
    (folder / "weights.js").write_text(f"window.SMNIST = {json.dumps(content)};\n", encoding="utf-8")


def _text(array):
    return base64.b64encode(array.tobytes()).decode()
