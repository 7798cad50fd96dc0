"""The benchmark command: what it measures, what it refuses to run, and what it writes."""

import csv
import importlib.util
import math
import os
import re
import statistics
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib.machinery import ModuleSpec
from types import ModuleType

import numpy as np
import pytest
import torch

import helpers.scan
from helpers import benchmark, contenders, measure, record
from helpers.scan import selective_scan

TINY = ["--batch", "2", "--length", "32", "--repeats", "2", "--gigabytes", "1"]


def rows(folder):
    with open(folder / "benchmark.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.fixture
def command(tmp_path, capsys):
    """Run the command in this process: its exit status, its rows by name (the last of each), and what it printed."""

    def run(*arguments):
        status = benchmark.main([*TINY, "--output", str(tmp_path), *arguments])
        return status, {row["name"]: row for row in rows(tmp_path)}, capsys.readouterr().out

    return run


# --- the command as a whole ------------------------------------------------------------------------------------------

WRONG = """
class MambaBlock:
    def selective_scan(self, x, delta, A, B, C, D):
        return D * x + 0 * (delta @ A @ (B + C).mT).mean()  # without its memory
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """All sections but the one of lengths, at a tiny size, in a process, beside a package that computes nonsense."""
    folder = tmp_path_factory.mktemp("whole")
    (folder / "mambapy").mkdir()
    (folder / "mambapy" / "__init__.py").touch()  # or one that is installed would come first
    (folder / "mambapy" / "mamba.py").write_text(WRONG)
    sections = ",".join(name for name in benchmark.SECTIONS if name != "length")
    arguments = [*TINY, "--seconds", "20", "--only", sections, "--output", str(folder / "out")]
    run = subprocess.run(
        [sys.executable, "-m", "helpers.benchmark", *arguments],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(folder)},
    )
    assert run.returncode == 0, run.stderr
    return run, folder / "out"


def test_record_holds_what_was_printed(whole):
    run, folder = whole
    text = (folder / "benchmark.md").read_text(encoding="utf-8")
    printed, _, written = run.stdout.rpartition("Written: ")
    assert printed.strip() == text.strip() and str(folder / "benchmark.csv") in written
    assert "it/s]" in run.stderr and "it/s]" not in run.stdout, "progress is told, and not in the record"
    assert "python -m helpers.benchmark --batch 2" in text and f"torch {torch.__version__}" in text
    tables = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines() if line.startswith("|")]
    for row in rows(folder):
        cells = (
            [measure.format_number(float(row["seconds"]) * 1e3), f"{float(row['ratio']):.2f}"] if row["seconds"] else ["", ""]
        )
        assert [row["name"], *cells, row["note"]] in tables, row


def test_every_section_has_its_rows(whole):
    by_section = {}
    for row in rows(whole[1]):
        by_section.setdefault(row["section"], set()).add(row["name"])
    ours = set(helpers.scan.backends("cpu"))
    assert by_section["scan"] == ours | {"selective_scan_ref", "mambapy", "transformers (compiled)"}
    assert by_section["channels"] == ours
    assert by_section["layers"] == {"Mamba block", "LSTM", "attention"}
    assert {"alone, 1 thread", "between exps, 1 thread", "the exps, 1 thread"} <= by_section["threads"]
    if "numba" in ours:
        assert "fused forward pass" in by_section["exp"]
        share = int(re.search(r"So the pass runs at (\d+)%", whole[0].stdout)[1])
        assert 1 <= share <= 150


def test_seconds_and_ratios_follow_from_the_rounds(whole):
    first = {}
    for row in rows(whole[1]):
        if not row["seconds"]:
            continue
        times = [float(t) for t in row["rounds"].split()]
        base = first.setdefault((row["section"], row["comparison"]), times)
        assert len(times) == len(base) >= 2
        assert float(row["seconds"]) == pytest.approx(statistics.median(times), rel=1e-4)
        ratio = statistics.median(a / b for a, b in zip(times, base, strict=True))
        assert float(row["ratio"]) == pytest.approx(ratio, rel=1e-4)


def test_wrong_package_is_named_and_not_timed(whole):
    found = [row for row in rows(whole[1]) if row["name"] == "mambapy"]
    assert len(found) == 2, "forward, forward + backward"
    for row in found:
        assert row["note"].startswith("wrong: differs by") and not row["seconds"]


def test_compilation_counts_as_time(whole):
    if importlib.util.find_spec("transformers"):
        notes = [row["note"] for row in rows(whole[1]) if row["name"] == "transformers (compiled)"]
        assert notes == ["not run: would need about 50 s"] * 2


@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed: make mamba-ssm")
def test_upstreams_definition_is_right_and_timed(whole):
    found = [row for row in rows(whole[1]) if row["name"] == "selective_scan_ref"]
    assert all(row["seconds"] and row["note"].startswith("differs by") for row in found), found


def test_help_and_unknown_section(capsys):
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["--help"])
    told = capsys.readouterr().out
    assert stop.value.code == 0 and all(f"\n  {name} " in told for name in benchmark.SECTIONS)
    with pytest.raises(SystemExit) as stop:
        benchmark.main(["--only", "scan,lenght"])
    assert stop.value.code == 2
    assert f"no section 'lenght'; choose from {', '.join(benchmark.SECTIONS)}" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        benchmark.main(["--repeats", "0"])
    assert "must be at least 1, got 0" in capsys.readouterr().err


# --- what is compared ------------------------------------------------------------------------------------------------


def scaled(by):
    """A scan whose result is right, and its gradient ``by`` times as large."""

    def scan(*arguments, **options):
        y = selective_scan(*arguments, **options, backend="reference")
        return y.detach() + by * (y - y.detach())

    return scan


def absent():
    raise contenders.NotHere("not installed: pip install it")


def raises(*arguments, **options):
    raise RuntimeError("no such luck\nand a long trace")


def test_public_packages_are_timed_if_they_are_right(command, monkeypatch):
    public = {
        "right": lambda: scaled(1.0),
        "wrong gradient": lambda: scaled(1.001),
        "not a number": lambda: lambda *a, **o: scaled(1.0)(*a, **o) * float("nan"),
        "other shape": lambda: lambda *a, **o: scaled(1.0)(*a, **o)[:1],
        "absent": absent,
        "raises": lambda: raises,
    }
    monkeypatch.setattr(contenders, "PUBLIC", public)
    status, by_name, _ = command("--only", "scan")
    assert status == 0, "others' mistakes are not ours"
    assert by_name["right"]["seconds"] and by_name["right"]["note"].startswith("differs by")
    for name, note in {  # of the last comparison, forward + backward
        "wrong gradient": "wrong: differs by 1.0e-03, more than 1e-04",
        "not a number": "wrong: differs by nan, more than 1e-04",
        "absent": "not installed: pip install it",
        "raises": "failed: RuntimeError: no such luck",
    }.items():
        assert by_name[name]["note"] == note and not by_name[name]["seconds"]


class RightMambaBlock:
    """The scan of mamba.py's block: sequences are ``(batch, length, channels)``, steps come after their softplus."""

    def selective_scan(self, x, delta, A, B, C, D):
        return selective_scan(x.mT, delta.mT, A, B.mT, C.mT, D, backend="reference").mT


def test_mambapy_is_called_as_its_block_calls_itself(command, monkeypatch):
    package, module = ModuleType("mambapy"), ModuleType("mambapy.mamba")
    package.__spec__, package.__path__, module.MambaBlock = ModuleSpec("mambapy", None), [], RightMambaBlock
    monkeypatch.setitem(sys.modules, "mambapy", package)
    monkeypatch.setitem(sys.modules, "mambapy.mamba", module)
    monkeypatch.setattr(contenders, "PUBLIC", {"mambapy": contenders.PUBLIC["mambapy"]})
    _, by_name, _ = command("--only", "scan")
    assert by_name["mambapy"]["seconds"] and by_name["mambapy"]["note"].startswith("differs by")


def test_our_own_mistake_is_an_exit_status(command, monkeypatch):
    monkeypatch.setattr(contenders, "PUBLIC", {})
    assert command("--only", "scan")[0] == 0
    right = helpers.scan.associative.scan
    monkeypatch.setitem(helpers.scan._PLAIN, "associative", lambda *a: [1.001 * x for x in right(*a)])
    status, by_name, _ = command("--only", "scan")
    assert status == 1 and by_name["associative"]["note"].startswith("wrong")
    monkeypatch.setitem(helpers.scan._PLAIN, "associative", raises)
    status, by_name, _ = command("--only", "channels")
    assert status == 1 and by_name["associative"]["note"] == "failed: RuntimeError: no such luck"


def test_difference_is_the_largest_and_never_that_of_broadcast_shapes():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    assert record.difference([x, y], [x, x]) == 1 and record.difference([x], [x, y]) == 0
    assert math.isnan(record.difference([x, x * float("nan"), x], [x, x, x]))
    with pytest.raises(record.Wrong, match=r"wrong: \(1,\) instead of \(2,\)"):
        record.difference([x[:1]], [x])


def test_what_is_expected_is_the_scan_in_float64_and_its_gradient():
    inputs, dy = contenders.scan_inputs(2, 20, "cpu", dim=4, d_state=3)
    assert inputs["u"].stride() == (80, 1, 4), "channels last"
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    y = selective_scan(**exact, delta_softplus=True, backend="associative")
    right = [y, *torch.autograd.grad(y, list(exact.values()), dy.double())]
    assert record.difference(contenders.expected(inputs, dy), right) < 1e-12
    assert [x.shape for x in right] == [x.shape for x in (y, *inputs.values())]


@pytest.mark.parametrize("name", list(contenders.LAYERS))
def test_layers_are_causal_and_have_the_width_of_their_gradient(name):
    work = contenders.layer_work(name, 2, 20, "cpu")
    (before,) = work.forward()
    assert before.shape == work.dy.shape and before.shape[:2] == (2, 20)
    with torch.no_grad():
        work.inputs["x"][:, 12] += 1
    (after,) = work.forward()
    torch.testing.assert_close(before[:, :12], after[:, :12])
    assert not torch.allclose(before[:, 12:], after[:, 12:])
    assert len(work.both()) == 1 + len(work.inputs)


def test_threads_are_as_many_as_before_and_busy_before_and_after(command, monkeypatch, tmp_path):
    before, exp, large = torch.get_num_threads(), torch.exp, []

    def counted(x, **options):
        large.extend([1] * (x.numel() == 2_000_000))
        return exp(x, **options)

    monkeypatch.setattr(torch, "exp", counted)
    command("--only", "threads")
    assert torch.get_num_threads() == before
    calls = sum(1 + len(row["rounds"].split()) for row in rows(tmp_path) if "exps" in row["name"])
    assert len(large) == 2 * calls


# --- budgets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("option, unit", [("--seconds", "(ms|s)"), ("--gigabytes", "MB")])
def test_what_exceeds_the_budget_is_not_run(command, monkeypatch, option, unit):
    monkeypatch.setattr(contenders, "PUBLIC", {})
    status, by_name, said = command("--only", "scan", option, "0")
    assert status == 0
    for name in ("associative", "reference"):
        assert re.match(rf"not run: would need about [\d.]+ {unit}\b", by_name[name]["note"])
        assert not by_name[name]["seconds"] and by_name[name]["note"] in said
    if option == "--gigabytes" and "numba" in by_name:
        assert by_name["numba"]["seconds"], "it keeps no states"


def test_estimates():
    assert measure.forecast([(256, 3.0)], 1024) == 3
    assert measure.forecast([(64, 9.0), (256, 1 + 256 * 2), (1024, 1 + 1024 * 2)], 4096) == 1 + 4096 * 2
    assert measure.forecast([(256, 3.0), (1024, 2.0)], 4096) == 2, "noise is no reason for hope"
    assert measure.forecast([(1, 3.0), (1, 2.0)], 4) == 2
    assert [measure.format_number(x) for x in (0.01234, 9.876, 123.4, 1234.5)] == ["0.0123", "9.88", "123", "1,234"]
    assert measure.format_duration(0.0005) == "0.50 ms" and measure.format_duration(7200) == "2.0 h"
    budget = measure.Budget(seconds=60, gigabytes=1)
    assert budget.refusal(14, 1e9, calls=4) is None
    assert budget.refusal(30, 1e9, calls=4) == "not run: would need about 2.0 min, 30 s a call"
    assert budget.refusal(1, 12.3e9) == "not run: would need about 12 GB"


def growing(name, batch, length, device, threads):
    """The memory of a scan is the same at all lengths, that of attention grows with the length."""
    return int(1e6 * length / 256 if name == "attention" else 1e6), 1000


@pytest.fixture
def lengths(monkeypatch):
    """Section length with costs made to measure and two contenders that take no time."""

    def with_cost(cost):
        monkeypatch.setattr(measure, "in_a_process", lambda function, *arguments: cost(*arguments))
        monkeypatch.setattr(benchmark, "backends", lambda device: ["numba"])
        monkeypatch.setattr(contenders, "LAYERS", {"attention": None})
        monkeypatch.setattr(contenders, "call", lambda length, **_: lambda: None)

    return with_cost


def test_lengths_stop_where_the_last_two_say_that_the_next_is_too_much(command, lengths, tmp_path):
    measured = []
    lengths(lambda *arguments: measured.append(arguments) or growing(*arguments))
    _, _, said = command("--only", "length", "--longest", "65536", "--gigabytes", "0.05")
    found = {(row["name"], int(row["length"])): row for row in rows(tmp_path)}
    assert [length for name, length in found if name == "numba"] == [256, 1024, 4096, 16384, 65536]
    assert all(int(row["batch"]) * int(row["length"]) == 65536 for row in found.values())
    assert [length for name, _, length, *_ in measured if name == "attention"] == [256, 1024, 4096], "not even once"
    assert found["attention", 4096]["peak_bytes"] == "16000000" and found["attention", 4096]["seconds"]
    for length, size in ((16384, "64 MB"), (65536, "256 MB")):
        note = f"not run: would need about {size}"
        assert found["attention", length]["note"] == note and not found["attention", length]["seconds"]
        assert f"attention, length {length:,}: {note}." in said
    assert re.search(r"\| as a multiple of the inputs +\| +256 \|.*\n.*\n.*\n\| attention +\| 1,000 \|", said)
    assert (tmp_path / "benchmark.png").read_bytes().startswith(b"\x89PNG")
    assert "(benchmark.png)" in (tmp_path / "benchmark.md").read_text()
    command("--only", "length", "--longest", "256", "--gigabytes", "0.0001")
    assert not (tmp_path / "benchmark.png").exists(), "an older figure would be beside newer numbers"


def test_killed_process_is_a_line(command, lengths):
    def killed(*arguments):
        raise BrokenProcessPool

    lengths(killed)
    status, by_name, said = command("--only", "length", "--longest", "256")
    assert status == 0 and "failed: the process was killed" in by_name["numba"]["note"]
    assert "numba, length 256: failed: the process was killed" in said


# --- time and memory -------------------------------------------------------------------------------------------------


def test_rounds_take_turns_and_short_ones_are_repeated_more_often():
    order = []
    times = measure.time_interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 3)
    assert order == ["a", "b"] * 4 and [len(x) for x in times.values()] == [3, 3]
    assert len(measure.time_interleaved({"a": lambda: None}, 3, fill=0.01)["a"]) == 30
    assert measure.median_ratio([2.0, 9.0, 4.0], [1.0, 3.0, 4.0]) == 2


def temporary(*megabytes):
    """What calls take that were preceded by a much larger one, in bytes."""
    np.ones(300_000_000, np.int8).sum()
    return [measure.peak_bytes(lambda n=n: np.ones(n * 1_000_000, np.int8).sum(), "cpu") for n in megabytes]


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="memory on a CPU is measured on Linux only")


@needs_linux
def test_peak_memory_sees_what_is_not_torchs_and_is_gone_when_the_call_returns():
    assert measure.run_in_process(temporary, 100, 20) == pytest.approx([100e6, 20e6], rel=0.1)


@needs_linux
@pytest.mark.skipif("numba" not in helpers.scan.backends("cpu"), reason="there is no fused CPU scan here")
def test_fused_scan_holds_no_states_and_the_reference_does():
    states = 4 * 4 * 256 * contenders.DIM * contenders.D_STATE
    peaks = {name: measure.run_in_process(contenders.cost, name, 4, 256, "cpu", 1)[0] for name in ("numba", "reference")}
    assert peaks["numba"] < states < peaks["reference"] < 1.5 * contenders.bytes_held("reference", 4, 256, True)


def test_process_that_is_killed_does_not_take_us_with_it():
    with pytest.raises(BrokenProcessPool):
        measure.run_in_process(os._exit, 1)
    assert measure.run_in_process(max, 1, 2) == 2


IMPORTED = """
import sys
from helpers import contenders
contenders._upstream()
print("selective_scan_cuda" in sys.modules)
"""


@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed: make mamba-ssm")
@pytest.mark.skipif(bool(importlib.util.find_spec("selective_scan_cuda")), reason="its real kernel is here")
def test_upstream_is_imported_and_leaves_no_kernel_behind():
    run = subprocess.run([sys.executable, "-c", IMPORTED], capture_output=True, text=True)
    assert run.stdout == "False\n", run.stderr
