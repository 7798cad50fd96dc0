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


def test_a_processor_without_a_name_has_that_of_its_kind(monkeypatch, tmp_path):
    monkeypatch.setattr(machine, "Path", lambda name: tmp_path / "cpuinfo")
    monkeypatch.setattr(platform, "processor", lambda: "")
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert machine.processor() == "riscv64", "there is no such file"
    (tmp_path / "cpuinfo").write_text("model\t: 7\nmodel name\t: Some CPU: fast\nmodel name\t: another\n")
    assert machine.processor() == "Some CPU: fast"
