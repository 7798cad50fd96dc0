"""The benchmark command: what it measures, what it refuses to run, and what it writes."""

import contextlib
import importlib.util
import json
import os
import re
import statistics
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

import helpers.scan
from helpers.benchmark import __main__ as benchmark
from helpers.benchmark import contenders, measure, report
from helpers.scan import selective_scan

TINY = ["--batch", "2", "--length", "32", "--repeats", "2", "--gigabytes", "1"]
needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory on a CPU is measured on Linux only")


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command in this process: its exit status, its rows by name (the last of each), and what it printed."""

    def run(*arguments):
        status = benchmark.main([*TINY, "--output", str(tmp_path), *arguments])
        rows = json.loads((tmp_path / "benchmark.json").read_text())["rows"]
        return status, {row["name"]: row for row in rows}, capsys.readouterr().out

    return run


# --- the command as a whole ------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All sections but that of lengths, in a process, with a package that computes nonsense: output, text, record."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mambapy").mkdir()
    (folder / "mambapy" / "__init__.py").touch()
    (folder / "mambapy" / "mamba.py").write_text(
        "class MambaBlock:\n"
        "    def selective_scan(self, x, delta, A, B, C, D):\n"
        "        return D * x + 0 * (delta @ A @ (B + C).mT).mean()  # without a state\n"
    )
    arguments = [*TINY, "--seconds", "20", "--only", "scan", "channels", "layers", "--output", str(folder)]
    run = subprocess.run(
        [sys.executable, "-m", "helpers.benchmark", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout, (folder / "benchmark.md").read_text(), json.loads((folder / "benchmark.json").read_text())


@pytest.mark.slow
def test_records_hold_what_was_printed_and_on_what_it_was_measured(whole):
    printed, text, record = whole
    assert printed.partition("Written: ")[0].strip() == text.strip()
    assert "--only scan channels layers" in record["command"] and "--output" not in record["command"]
    for known in (record["command"], record["machine"], *record["versions"], record["commit"] or "commit unknown"):
        assert known in text
    assert f"torch {torch.__version__.partition('+')[0]}" in record["versions"]
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    for row in record["rows"]:
        timed = row["seconds"] and [measure.format_number(row["seconds"] * 1e3), f"{row['ratio']:.2f}"]
        assert [row["name"], *(timed or ["", ""]), row["note"]] in lines, row


@pytest.mark.slow
def test_sections_have_their_rows_and_ratios_are_those_of_the_rounds(whole):
    names, first = {}, {}
    for row in whole[2]["rows"]:
        names.setdefault(row["section"], set()).add(row["name"])
        if rounds := row["rounds"]:
            base = first.setdefault((row["section"], row["comparison"]), rounds)
            assert len(rounds) >= 2 and row["seconds"] == statistics.median(rounds)
            assert row["ratio"] == statistics.median(a / b for a, b in zip(rounds, base, strict=True))
    ours = {*helpers.scan.backends("cpu")}
    assert names == {"scan": ours | {*contenders.PUBLIC}, "channels": ours, "layers": {*contenders.LAYERS}}
    assert len(first) == 5, "forward alone and with backward, of scans and of layers, and the channels"


@pytest.mark.slow
def test_public_packages_are_right_or_not_timed(whole):
    notes = {name: [row for row in whole[2]["rows"] if row["name"] == name] for name in contenders.PUBLIC}
    assert len(notes["mambapy"]) == 2
    assert all(row["note"].startswith("wrong: differs by") and not row["seconds"] for row in notes["mambapy"])
    compiled = [row["note"] for row in notes[contenders.COMPILED]]
    assert compiled == ["not run: would need about 50 s"] * 2, "compilation counts as time"
    if importlib.util.find_spec("mamba_ssm"):
        assert all(row["note"].startswith("differs by") and row["seconds"] for row in notes["selective_scan_ref"])


def test_help_and_arguments_that_cannot_be(capsys):
    for arguments, status, told in (
        (["--help"], 0, "  channels     our backends with two channels"),
        (["--only", "scan", "lenght"], 2, "invalid choice: 'lenght'"),
        (["--repeats", "0"], 2, "--repeats must be at least 1, got 0"),
        (["--longest", "255"], 2, "--longest must be at least 256, got 255"),
        (["--seconds", "nan"], 2, "--seconds must be 0 or more, got nan"),
        (["--output", __file__], 2, "--output must be a folder that can be written to"),
    ):
        with pytest.raises(SystemExit) as stop:
            benchmark.main(arguments)
        assert stop.value.code == status and told in "".join(capsys.readouterr())


def test_commit_is_known_to_a_checkout_with_git_and_else_unknown(monkeypatch):
    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", report.commit() or "0" * 40)
    monkeypatch.setenv("PATH", "")
    assert report.commit() is None
    monkeypatch.undo()
    monkeypatch.setattr(report, "__file__", f"{os.path.dirname(benchmark.__file__)}/within/report.py")
    assert report.commit() is None, "what lies in a repository is not always its checkout"


# --- what is right ---------------------------------------------------------------------------------------------------


def scaled(by):
    """A scan whose result is right, and its gradient ``by`` times as large."""

    def scan(*arguments, **options):
        y = selective_scan(*arguments, **{"backend": "reference", **options})
        return y.detach() + by * (y - y.detach())

    return scan


def raises(*arguments, **options):
    raise RuntimeError("no such luck\nand a long trace")


def test_others_are_timed_if_they_are_right(command, monkeypatch):
    public = {
        "right": lambda: scaled(1.0),
        "wrong gradient": lambda: scaled(1.001),
        "not a number": lambda: lambda *a, **o: scaled(1.0)(*a, **o) * float("nan"),
        "absent": lambda: contenders._imported("no_such_package", "scan", "pip install it"),
        "raises": lambda: raises,
    }
    monkeypatch.setattr(contenders, "PUBLIC", public)
    status, rows, _ = command("--only", "scan")
    assert status == 0, "others' mistakes are not ours"
    assert rows["right"]["seconds"] and rows["right"]["note"].startswith("differs by")
    for name, note in {
        "wrong gradient": "wrong: differs by 1.0e-03, more than 1e-04",
        "not a number": "wrong: differs by nan, more than 1e-04",
        "absent": "not installed: pip install it",
        "raises": "failed: RuntimeError: no such luck",
    }.items():
        assert rows[name]["note"] == note and not rows[name]["seconds"]


@pytest.mark.parametrize("section", ["channels", "length"])
@pytest.mark.parametrize(
    "scan, note", [(scaled(1.001), "wrong: differs by"), (raises, "failed: RuntimeError: no such luck")]
)
def test_our_own_mistakes_are_an_exit_status(command, monkeypatch, section, scan, note):
    def one_is_broken(*arguments, backend, **options):
        return (scan if backend == "associative" else selective_scan)(*arguments, backend=backend, **options)

    monkeypatch.setattr(contenders, "selective_scan", one_is_broken)
    monkeypatch.setattr(benchmark, "run_in_process", lambda *arguments: 1)
    status, rows, _ = command("--only", section, "--longest", "256")
    assert status == 1 and rows["associative"]["note"].startswith(note) and rows["reference"]["seconds"]


def test_mambapy_is_called_as_its_block_calls_itself(command, monkeypatch):
    class MambaBlock:  # sequences are (batch, length, channels), steps come after their softplus
        def selective_scan(self, x, delta, A, B, C, D):
            return selective_scan(x.mT, delta.mT, A, B.mT, C.mT, D, backend="reference").mT

    module = ModuleType("mambapy.mamba")
    module.MambaBlock = MambaBlock
    monkeypatch.setitem(sys.modules, "mambapy", ModuleType("mambapy"))
    monkeypatch.setitem(sys.modules, "mambapy.mamba", module)
    monkeypatch.setattr(contenders, "PUBLIC", {"mambapy": contenders.PUBLIC["mambapy"]})
    _, rows, _ = command("--only", "scan")
    assert rows["mambapy"]["seconds"] and rows["mambapy"]["note"].startswith("differs by")


@pytest.mark.slow
@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed")
@pytest.mark.skipif(bool(importlib.util.find_spec(contenders.KERNEL)), reason="its real kernel is here")
def test_upstream_is_imported_and_leaves_no_kernel_behind():
    code = "import sys; from helpers.benchmark import contenders; contenders._upstream(); print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "mamba_ssm.ops" in run.stdout and contenders.KERNEL not in run.stdout, run.stderr


def test_a_wrong_convolution_is_an_exit_status(command, monkeypatch):
    monkeypatch.setattr(contenders, "CONVOLUTIONS", {"right": "reference", "wrong": "reference"})
    make = contenders.call

    def one_is_wrong(length, *, name, **options):
        call = make(length, name=name, **options)
        return call if name == "right" else lambda: [1.01 * x for x in call()]

    monkeypatch.setattr(contenders, "call", one_is_wrong)
    status, rows, _ = command("--only", "convolution")
    assert status == 1 and rows["right"]["seconds"] and not rows["wrong"]["seconds"]
    assert rows["wrong"]["note"] == "wrong: differs by 1.0e-02, more than 5e-03"


def test_of_a_large_batch_a_part_is_checked(command, monkeypatch):
    monkeypatch.setattr(benchmark, "CHECKED", 1)
    monkeypatch.setattr(contenders, "PUBLIC", {})
    status, rows, _ = command("--only", "scan", "convolution")
    assert status == 0 and all(row["note"].startswith("differs by") and row["batch"] == 2 for row in rows.values())


def test_kernels_have_a_column_where_they_were_timed(command, monkeypatch):
    assert measure.kernel_seconds(raises, "cpu") is None
    monkeypatch.setattr(measure, "kernel_seconds", lambda call, device: 1.5e-3)
    monkeypatch.setattr(contenders, "PUBLIC", {})
    _, rows, said = command("--only", "convolution")
    assert all(row["kernel_seconds"] == 1.5e-3 for row in rows.values())
    assert re.search(r"\| +ms \| ratio \| kernels, ms \| note", said) and said.count("|        1.50 |") == 2 * len(rows)


# --- budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "option, needs", [("--seconds", r"more than [\d.]+ (ms|s), .* a call"), ("--gigabytes", r"about [\d.]+ MB")]
)
def test_what_exceeds_the_budget_is_not_run(command, monkeypatch, option, needs):
    monkeypatch.setattr(contenders, "PUBLIC", {})
    status, rows, said = command("--only", "scan", option, "0")
    assert status == 0
    for name in ("associative", "reference"):
        assert re.fullmatch(f"not run: would need {needs}", rows[name]["note"])
        assert not rows[name]["seconds"] and rows[name]["note"] in said
    if option == "--gigabytes" and "numba" in rows:
        assert rows["numba"]["seconds"], "it keeps no states"


def test_forecasts_follow_what_is_quadratic(monkeypatch):
    assert measure.forecast([(256, 3.0)], 1024) == 12
    assert measure.forecast([(16, 16 + 2 * 16**2), (64, 64 + 2 * 64**2)], 256) == 256 + 2 * 256**2
    assert measure.forecast([(256, 3.0), (1024, 2.0)], 4096) == 8, "noise is no reason for hope"
    session = report.BenchmarkSession(benchmark._parse(["--seconds", "60"]))
    monkeypatch.setattr(report.timing, "time_once", lambda call: call())
    for length, told in (784, None), (1600, r"about 1\.7 min, 26 s a call"), (13_000, r"more than 7\.0 min"):
        with pytest.raises(measure.NotRun, match=told) if told else contextlib.nullcontext():
            session.check_forecast(lambda shorter: lambda: 1e-5 * shorter**2, length)


def test_numbers_are_written_for_readers():
    assert [measure.format_number(x) for x in (0.01234, 9.876, 123.4, 1234.5)] == ["0.0123", "9.88", "123", "1,234"]
    assert measure.format_duration(0.0005) == "0.50 ms" and measure.format_duration(7200) == "2.0 h"
    assert measure.format_bytes(12.3e9) == "12 GB" and measure.format_bytes(64e6) == "64 MB"


# --- lengths ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def memory(monkeypatch):
    """Section length with two contenders that take no time, and memory as ``peak(name, batch, length, ...)`` says."""

    def is_said_by(peak):
        monkeypatch.setattr(benchmark, "run_in_process", lambda function, *arguments: peak(*arguments))
        monkeypatch.setattr(benchmark, "backends", lambda device: [])
        monkeypatch.setattr(contenders, "LAYERS", {"LSTM": None, "attention": None})
        monkeypatch.setattr(contenders, "call", lambda length, **_: lambda: None)

    return is_said_by


def test_lengths_have_one_number_of_positions_and_a_figure(command, memory, tmp_path):
    memory(lambda name, batch, length, *_: int(1e6 * length / 256) if name == "attention" else 1_000_000)
    _, _, said = command("--only", "length", "--longest", "65536", "--gigabytes", "0.05")
    rows = {(row["name"], row["length"]): row for row in json.loads((tmp_path / "benchmark.json").read_text())["rows"]}
    assert [length for name, length in rows if name == "LSTM"] == [256, 1024, 4096, 16384, 65536]
    assert all(row["batch"] * row["length"] == 65536 for row in rows.values())
    assert rows["attention", 4096]["peak_bytes"] == 16_000_000 and rows["attention", 4096]["seconds"]
    for length, size in ((16384, "64 MB"), (65536, "256 MB")):
        note = f"not run: would need about {size}"
        assert rows["attention", length]["note"] == note and not rows["attention", length]["seconds"]
        assert f"attention, length {length:,}: {note}." in said
    assert re.search(r"\| peak memory, by length .*\n.*\n.*\n\| attention +\| 1.0 MB \| 4.0 MB \| +16 MB \|", said)
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "(benchmark.png)" in (tmp_path / "benchmark.md").read_text()
    command("--only", "length", "--longest", "256", "--gigabytes", "0.0001")
    assert not (tmp_path / "benchmark.png").exists(), "an older figure would be of other numbers"


@pytest.mark.slow
def test_process_that_is_killed_is_a_line_and_we_go_on(command, memory):
    with pytest.raises(measure.NotRun, match="the process was killed"):
        measure.run_in_process(os._exit, 1)
    memory(lambda *arguments: measure.run_in_process(os._exit, 1))
    status, _, said = command("--only", "length", "--longest", "256")
    assert status == 0 and "LSTM, length 256: failed: the process was killed" in said


# --- time and memory -------------------------------------------------------------------------------------------------


def test_bytes_are_those_of_operations_and_of_what_the_backward_pass_needs():
    x, y = torch.ones(10, 10, requires_grad=True), torch.ones(10, 10)
    assert measure.bytes_moved(lambda: x.mT * y) == 3 * 400
    assert measure.saved_bytes(lambda: x * y) == 400 and measure.saved_bytes(lambda: x * x) == 400


def temporary(*megabytes):
    """Peaks of calls that come after a much larger one, in bytes."""
    np.ones(300_000_000, np.int8).sum()
    return [measure.peak_bytes(lambda n=n: np.ones(n * 1_000_000, np.int8).sum(), "cpu") for n in megabytes]


@pytest.mark.slow
@needs_linux
def test_peak_memory_sees_what_is_not_torchs_and_is_gone_when_the_call_returns():
    assert measure.run_in_process(temporary, 100, 20) == pytest.approx([100e6, 20e6], rel=0.1)


@pytest.mark.slow
@needs_linux
@pytest.mark.skipif("numba" not in helpers.scan.backends("cpu"), reason="there is no fused CPU scan here")
def test_fused_scan_holds_no_states_and_the_reference_does():
    fused, states = (
        measure.run_in_process(contenders.peak_bytes, name, 4, 256, "cpu", 1) for name in ("numba", "reference")
    )
    assert fused < 4 * 4 * 256 * contenders.DIM * contenders.D_STATE < states
    assert states < 1.5 * contenders.bytes_needed("reference", 4, 256, backward=True)
