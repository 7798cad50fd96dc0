"""Page 9's record of copying: complete, and measured as its script says."""

import importlib.util
import json
import re

import pytest
from repository import ROOT

from helpers import experiments
from helpers.copying import CopyingModel
from helpers.train.presets import PRESETS

SPEC = importlib.util.spec_from_file_location("copying_experiment", ROOT / "experiments" / "copying.py")
copying = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(copying)
RECORD = experiments.read("longer/copying").record


def test_the_record_is_of_the_experiment():
    assert RECORD["lengths"] == list(copying.LENGTHS) and RECORD["tested"] == copying.TESTED
    assert RECORD["growth"] == json.loads(json.dumps(copying.GROWTH))
    assert list(RECORD["mixers"]) == list(copying.MIXERS)
    assert list(RECORD["truncated"]) == [str(piece) for piece in copying.PIECES]


@pytest.mark.parametrize("name", copying.MIXERS)
def test_the_rate_was_chosen_on_validation_sequences(name):
    found = RECORD["mixers"][name]
    assert found["arguments"] == PRESETS[name].arguments | copying.MIXERS[name]
    assert found["parameters"] == sum(p.numel() for p in CopyingModel(**found["arguments"]).parameters())
    rates = {float(rate): accuracy for rate, accuracy in found["validation"].items()}
    assert tuple(rates) == copying.RATES and rates[found["rate"]] == max(rates.values())
    assert [len(seed) for seed in found["test"]] == [len(copying.LENGTHS)] * len(copying.SEEDS)
    assert not set(copying.SEEDS) & {copying.VALIDATION, copying.TEST}


def test_the_lab_notebook_has_the_table():
    assert copying.table(RECORD) in (ROOT / "experiments" / "README.md").read_text(encoding="utf-8")


def test_the_lab_notebook_says_what_truncation_costs():
    text = re.sub(r"\s+", " ", (ROOT / "experiments" / "README.md").read_text(encoding="utf-8"))
    for piece in ("16", "8"):
        first, second, third = (
            ", ".join(f"{100 * share:.0f}" for share in seed) for seed in RECORD["truncated"][piece]
        )
        assert f"pieces of {piece}, {first}; {second}; and {third} %" in text
    assert min(min(seed) for seed in RECORD["truncated"]["32"]) >= 0.999
