"""What is said of the machine, and what it is measured to be fast at."""

import importlib.metadata
import os
import platform
import re

import torch

from helpers import machine


def test_one_line_describes_the_machine():
    assert machine.device().type == ("cuda" if torch.cuda.is_available() else "cpu")
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    start = re.escape(f"Python {platform.python_version()}, torch {torch.__version__}, ")
    assert re.fullmatch(start + f".+, {threads}", machine.describe())
    assert machine.processor()


def test_versions_say_what_is_missing():
    found = machine.versions(["torch", "no-such-package"])
    assert found == [f"torch {importlib.metadata.version('torch')}", "no no-such-package"]


def test_bfloat16_is_faster_where_it_takes_less_than_three_quarters_of_the_time(monkeypatch):
    for ratio, faster in ((1.0, False), (1.2, False), (1.4, True)):
        seconds = iter([ratio] * 10 + [1.0] * 10)  # float32 first
        monkeypatch.setattr(machine, "time_once", lambda function, seconds=seconds: next(seconds))
        assert machine.faster_in_bfloat16(torch.device("cpu")) is faster
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert machine.faster_in_bfloat16(torch.device("cuda")) is False, "whatever is measured: it has no bfloat16"
