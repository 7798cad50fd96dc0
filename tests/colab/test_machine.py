"""What the set-up learns of the machine."""

import pytest
import torch
from fake_wheels import gpu

from colab import machine


@pytest.mark.parametrize(
    "capability, dtypes, line",
    [
        ((7, 5), ["float32"], "Tesla T4, compute capability 7.5, 16 GB; float32 only, it has no bfloat16"),
        ((8, 0), ["float32", "bfloat16"], "NVIDIA A100, compute capability 8.0, 16 GB"),
        ((9, 0), ["float32", "bfloat16"], "NVIDIA H100, compute capability 9.0, 16 GB"),
    ],
)
def test_what_a_capability_means(monkeypatch, capability, dtypes, line):
    """Asked of torch, which is made to say that there is such a GPU."""
    properties = type("Properties", (), {"total_memory": 15.8e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: gpu(capability).gpu)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr("helpers.scan.backends", lambda device: ["triton", "associative", "reference"])
    here = machine.describe()
    assert (here.device, here.capability, here.dtypes()) == ("cuda", capability, dtypes)
    assert str(here).splitlines()[1] == f"GPU:         {line}"
