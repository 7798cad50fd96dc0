"""What the page in the browser cannot compute is not handed to it."""

import importlib.util

import pytest
from repository import ROOT

from helpers import models

spec = importlib.util.spec_from_file_location("published", ROOT / "website" / "published.py")
published = importlib.util.module_from_spec(spec)
spec.loader.exec_module(published)

SMNIST = {"mixer": "mamba-rope", "d_model": 8, "n_layer": 1, "d_state": 4, "pooling": "sum"}


@pytest.mark.parametrize(
    "other",
    [{"glu": True}, {"pooling": "last"}, {"permutation": 1}, {"positional_encoding": True}, {"mixer": "mamba"}],
    ids=str,
)
def test_a_classifier_of_another_kind_is_refused(tmp_path, monkeypatch, other):
    monkeypatch.setattr(models, "load_checkpoint", lambda name: models.PixelClassifier(**{**SMNIST, **other}))
    with pytest.raises(ValueError, match=r"^mamba\.js sums what MambaRoPE blocks make of pixels in their own order"):
        published.write(tmp_path)
    monkeypatch.setattr(models, "load_checkpoint", lambda name: models.PixelClassifier(**SMNIST))
    published.write(tmp_path)
    assert (tmp_path / "weights.js").exists()
