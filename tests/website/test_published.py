"""What the page in the browser cannot compute is not handed to it."""

import base64
import importlib.util
import json

import numpy as np
import pytest
from repository import ROOT

from helpers import models

spec = importlib.util.spec_from_file_location("published", ROOT / "website" / "published.py")
published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(published)

BLOCKS = {"mixer": "mamba-rope", "d_model": 8, "n_layer": 1, "d_state": 4}
SMNIST = {**BLOCKS, "pooling": "sum"}


@pytest.fixture
def published_models(monkeypatch):
    """What ``load_checkpoint`` gives, by name: models of other kinds can be put there."""
    kept = {"smnist": models.PixelClassifier(**SMNIST), "generator": models.PixelGenerator(**BLOCKS)}
    monkeypatch.setattr(models, "load_checkpoint", kept.get)
    return kept


@pytest.mark.parametrize(
    "other",
    [{"pooling": "last"}, {"permutation": 1}, {"mixer": "mamba2", "headdim": 4}, {"mixer": "s4d"}, {"bias": True}],
    ids=str,
)
def test_a_model_of_another_kind_is_refused(tmp_path, published_models, other):
    published_models["smnist"] = models.PixelClassifier(**{**SMNIST, **other})
    with pytest.raises(ValueError, match=r"^mamba\.js (sums|computes) .*, and this model (does not|has others)"):
        published.write(tmp_path)
    if "pooling" in other or "permutation" in other:
        return
    published_models["smnist"] = models.PixelClassifier(**SMNIST)
    published_models["generator"] = models.PixelGenerator(**{**BLOCKS, **other})
    with pytest.raises(ValueError, match=r"^mamba\.js computes"):
        published.write(tmp_path)


def test_what_is_of_the_kind_is_written_in_half_precision_where_that_is_enough(tmp_path, published_models):
    published.write(tmp_path)
    assert (tmp_path / "digits.js").exists()
    for file, dtype, model in (("weights.js", "float32", "smnist"), ("generator.js", "float16", "generator")):
        content = json.loads((tmp_path / file).read_text("utf-8").partition(" = ")[2].rstrip(";\n"))
        weights = np.frombuffer(base64.b64decode(content["weights"]), content["dtype"])
        assert content["dtype"] == dtype
        for name, tensor in published_models[model].state_dict().items():
            start, length = content["tensors"][name]
            np.testing.assert_array_equal(weights[start : start + length], tensor.numpy().ravel().astype(dtype))


def test_a_generator_that_a_phone_would_not_fetch_is_refused(tmp_path, published_models):
    published_models["generator"] = models.PixelGenerator(d_model=160, n_layer=3)
    with pytest.raises(ValueError, match=r"^generator\.js must have at most 1400000 bytes, got \d+$"):
        published.write(tmp_path)
