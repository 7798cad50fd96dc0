"""The report of a machine: what is proven, timed and reached on it."""

import re

import pytest
import torch
from fake_wheels import NO_GPU, gpu

from colab import machine, report, setup, steps, verify
from helpers import checkpoint, models


@pytest.mark.slow
def test_report(monkeypatch, capsys):
    """All of it, at a small size. The proofs are canned: they are made above."""

    def answer(backend, *arguments):
        if backend == "associative":
            raise steps.Failed("it is wrong")
        return {"float32": 3e-7, "bfloat16": 2e-3}

    monkeypatch.setattr(verify, "verify", answer)
    monkeypatch.setattr(machine, "probe", lambda deadline: gpu(**NO_GPU))
    monkeypatch.setattr(setup, "main", lambda arguments: print("Scan kernel: numba"))
    monkeypatch.setattr(report.this_machine, "device", lambda: torch.device("cpu"))
    timings = report.timings
    monkeypatch.setattr(report, "timings", lambda names, device: timings(names, device, batch=1, length=20))
    assert report.main(["--images", "50"]) == 0
    said = capsys.readouterr().out
    assert f"torch {torch.__version__}" in said and "```\nScan kernel: numba\n```" in said
    assert re.search(r"\| numba +\| +3e-07 \| +2e-03 \| +\|", said)
    assert re.search(r"\| associative +\| +- \| +- \| it is wrong +\|", said)
    timed = said.partition("batch 1, length 20")[2]
    assert re.search(r"\| numba +\| +[\d.]+ \| +[\d.]+ \|", timed) and "associative" not in timed
    record = checkpoint.read_record("smnist", models.CHECKPOINTS)["test_accuracy"]
    assert re.search(rf"smnist: \d+\.\d\d% .*n = 50\), in .*; its record says {record:.2%} of all\.\n$", said)
