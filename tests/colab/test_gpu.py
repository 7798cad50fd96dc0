"""The command for a machine with a GPU: parts that fail, hang or crash stop nobody, and each leaves a record."""

import importlib.metadata
import json
import os
import re
import sys
import zipfile
from types import SimpleNamespace

import pytest
from repository import ROOT

from colab import gpu, gpu_parts
from colab.gpu import Part, Result
from colab.steps import Failed

KEEPS = "import json, pathlib; pathlib.Path({record!r}).write_text(json.dumps({{'measurements': {{'a': 1}}}}))\n"
POSIX = os.name == "posix"


@pytest.fixture
def fake(tmp_path):
    """A part that runs some code; ``keeps``: after it has written a record."""

    def make(name, code, share=1.0, keeps=False):
        text = (KEEPS.format(record=str(tmp_path / f"{name}.json")) if keeps else "") + code
        return Part(name, share, [sys.executable, "-c", text])

    return make


def test_whatever_a_part_does_the_others_run_and_all_is_written_down(fake, tmp_path, capsys):
    crash = "import os; os.kill(os.getpid(), 11)" if POSIX else "raise RuntimeError('crash')"
    parts = [
        fake("works", "import sys; print('much'); print('12 passed', sys.argv[-2:])", keeps=True),
        fake("fails", "raise RuntimeError('no such | luck')"),
        fake("crashes", crash),
        fake("hangs", "print('began', flush=True); import time; time.sleep(60)", share=0.03, keeps=True),
        fake("silent", ""),
    ]
    results = gpu.attempt(parts, 2.0, tmp_path)
    assert [(result.part, result.result) for result in results] == [
        ("works", "passed"),
        ("fails", "failed"),
        ("crashes", "failed"),
        ("hangs", "out of time"),
        ("silent", "passed"),
    ]
    notes = {result.part: result.note for result in results}
    assert re.fullmatch(r"12 passed \['--seconds', '\d+'\]", notes["works"]) and notes["silent"] == ""
    assert notes["fails"] == "RuntimeError: no such | luck" and re.fullmatch(
        r"it took longer than \d+ s", notes["hangs"]
    )
    for name, kept in {"works": {"a": 1}, "hangs": {"a": 1}, "fails": None, "silent": None}.items():
        record = json.loads((tmp_path / f"{name}.json").read_text())
        assert record.get("measurements") == kept
        assert (record["result"], record["note"]) == next((r.result, r.note) for r in results if r.part == name)
    said = capsys.readouterr().out
    assert [line.partition(":")[0] for line in said.splitlines()] == [part.name for part in parts]
    assert (tmp_path / "summary.md").read_text() == gpu.table(results) + "\n"


def test_a_part_has_its_share_of_the_time_and_what_others_left(fake, tmp_path):
    tell = "import sys; print(sys.argv[-1])"
    results = gpu.attempt([fake("short", tell, share=1.0), fake("long", tell, share=3.0)], 10.0, tmp_path)
    short, long = (int(result.note) for result in results)
    assert short in (149, 150) and 590 <= long <= 600


def test_a_part_that_there_is_no_time_for_is_not_reached_and_no_old_record_is_left(fake, tmp_path):
    (tmp_path / "late.json").write_text("{}")
    assert gpu.attempt([fake("late", "print('here')")], 0.01, tmp_path)[0].result == "not reached"
    assert not (tmp_path / "late.json").exists()


def test_the_table_names_what_is_still_to_come(fake, tmp_path):
    look = f"import pathlib; print(pathlib.Path({str(tmp_path / 'summary.md')!r}).read_text().count('not reached'))"
    results = gpu.attempt([fake("first", "print('done')"), fake("second", look), fake("third", look)], 5.0, tmp_path)
    assert [result.note for result in results] == ["done", "2", "1"]
    lines = gpu.table([Result("first", "passed", 61, "a | b")]).splitlines()
    assert lines[0] == "| part | result | seconds | note |" and lines[2] == "| first | passed | 61 | a / b |"


def test_packages_that_are_missing_are_unpacked_and_no_other(tmp_path):
    for name in ("torch", "no_such_package"):
        with zipfile.ZipFile(tmp_path / f"{name}-9.9-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"{name}/__init__.py", "")
    assert gpu.unpack(tmp_path, tmp_path / "there") == ["no_such_package"]
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["no_such_package"]


def test_the_command_runs_the_parts_that_are_asked_for_in_their_order(tmp_path, monkeypatch, capsys):
    show = "import os, sys; print(os.environ['PYTHONPATH'], os.environ.get('PIP_NO_INDEX'), *sys.argv[1:])"
    monkeypatch.setattr(gpu, "python", lambda *arguments: [sys.executable, "-c", show, *map(str, arguments)])
    monkeypatch.setattr(gpu, "ROOT", tmp_path)
    for name in ("PYTHONPATH", "PIP_NO_INDEX", "PIP_FIND_LINKS"):
        monkeypatch.setenv(name, "before")  # so that it is put back
    (tmp_path / "packages").mkdir()
    asked = ["--parts", "training", "tests", "--commit", "abc", "--packages", str(tmp_path / "packages")]
    assert gpu.main([*asked, "--output", str(tmp_path / "records")]) == 0
    tests, training = (
        json.loads((tmp_path / "records" / f"{n}.json").read_text())["note"] for n in ("tests", "training")
    )
    assert "colab.gpu_parts tests --output" in tests and "--commit abc --seconds" in training
    places = tests.split()[0].split(os.pathsep)
    assert places[0] == str(tmp_path) and str(tmp_path / "build" / "gpu-packages") in places and places[-1] == "before"
    assert tests.split()[1] == "1", "with packages at hand no other place is asked"
    said = capsys.readouterr().out
    assert said.index("tests: passed") < said.index("training: passed")


def test_the_list_of_packages_is_complete():
    """Whatever they need is in the list, or comes with torch and the packages that go with it."""
    lines = (ROOT / "colab" / "gpu-packages.txt").read_text(encoding="utf-8").splitlines()
    listed = {line for line in lines if line and not line.startswith("#")}
    there = {
        "torch",
        "numpy",
        "packaging",
        "typing-extensions",
        "fsspec",
        "requests",
        "matplotlib",
        "scipy",
        "setuptools",
    }
    installed = {found.name.lower().replace("_", "-") for found in importlib.metadata.distributions() if found.name}
    assert len(listed & installed) > 0.9 * len(listed)
    for name in listed & installed:
        for needed in importlib.metadata.requires(name) or []:
            requirement = re.match(r"([\w.-]+)", needed)[1].lower().replace("_", "-")
            elsewhere = re.search(r"extra ==|python_version ?<|platform|implementation", needed)
            assert elsewhere or requirement in listed | there, f"{name} needs {needed}"


def test_outcomes_of_tests_are_counted_and_what_failed_is_kept(tmp_path):
    record = gpu_parts.Record(tmp_path / "record.json")
    outcomes = gpu_parts.Outcomes(record, "tests", "some tests", "pytest")

    def report(name, when, outcome, why=""):
        known = {kind: kind == outcome for kind in ("passed", "failed", "skipped")}
        return SimpleNamespace(nodeid=name, when=when, outcome=outcome, longrepr=why, **known)

    for name, how in {"a": "passed", "b": "failed", "c": "passed"}.items():
        outcomes.pytest_runtest_logreport(report(name, "setup", "passed"))
        outcomes.pytest_runtest_logreport(report(name, "call", how, "because"))
    outcomes.pytest_runtest_logreport(report("d", "setup", "skipped"))
    outcomes.pytest_collectreport(report("file", "collect", "failed", "no such module"))
    kept = json.loads((tmp_path / "record.json").read_text())["measurements"]["tests"]
    assert kept["values"] == {"passed": 2, "failed": 1, "skipped": 1}
    assert kept["failures"] == {"b": "because", "file": "no such module"}


def test_goals_are_told_from_what_was_measured():
    def row(section, comparison, batch, name, seconds, kernel_seconds):
        return dict(section=section, comparison=comparison, batch=batch, name=name, seconds=seconds,
                    kernel_seconds=kernel_seconds)  # fmt: skip

    width = "forward + backward, width 64"
    rows = [
        row("scan", "forward", 16, "triton", 95e-6, 20e-6),
        row("scan", "forward", 16, "mamba_ssm", 300e-6, 80e-6),
        row("scan", "forward", 256, "triton", 300e-6, 250e-6),
        row("scan", "forward", 256, "mamba_ssm", 500e-6, 500e-6),
        row("scan", "forward + backward", 16, "triton", 1e-3, 300e-6),
        row("scan", "forward + backward", 16, "mamba_ssm", 1e-3, None),  # could not be recorded
        row("layers", width, 16, "Mamba block", 1e-3, 600e-6),
        row("layers", width, 16, "attention", 1e-3, 500e-6),
        row("convolution", "convolution, forward", 16, "convolution, triton", 54e-6, 4e-6),
    ]
    assert gpu_parts.goals(rows) == {
        "scan, forward, batch 16: triton / mamba_ssm": {"found": 0.25, "at most": 0.5},
        f"layers, {width}, batch 16: Mamba block / attention": {"found": 1.2, "at most": 1.0},
        "forward, batch 16: triton, us beyond its kernels": {"found": 75.0, "at most": 100},
        "convolution, forward, batch 16: convolution, triton, us beyond its kernels": {"found": 50.0, "at most": 100},
        "scan, forward, batch 256: triton / mamba_ssm": {"found": 0.5, "at most": 1.0},
        "forward, batch 256: triton, us beyond its kernels": {"found": 50.0, "at most": 100},
    }


def test_what_goes_wrong_in_a_part_is_in_its_record(tmp_path, monkeypatch, capsys):
    def breaks(record, seconds, rehearse):
        record.keep("a", what="before", values=1)
        raise KeyError("after")

    def fails(record, seconds, rehearse):
        raise Failed(f"no luck in {seconds:.0f} s")

    monkeypatch.setattr(gpu_parts, "PARTS", {"breaks": breaks, "fails": fails})
    monkeypatch.setattr(gpu_parts, "describe", lambda part, commit, rehearse: {"part": part, "commit": commit})
    record = tmp_path / "record.json"
    assert gpu_parts.main(["breaks", "--output", str(record), "--commit", "abc"]) == 1
    kept = json.loads(record.read_text())
    assert kept["measurements"] == {"a": {"what": "before", "values": 1}} and kept["commit"] == "abc"
    assert "Traceback" in kept["error"] and "KeyError: 'after'" in capsys.readouterr().err
    assert gpu_parts.main(["fails", "--output", str(record), "--seconds", "7"]) == 1
    assert capsys.readouterr().err == "no luck in 7 s\n"


@pytest.mark.slow
def test_a_rehearsal_of_what_can_be_rehearsed_leaves_records_as_the_lab_notebook_wants_them(tmp_path):
    parts = ["tests", "benchmark", "training"]
    assert gpu.main(["--rehearse", "--commit", "abc", "--parts", *parts, "--output", str(tmp_path)]) == 0
    records = {part: json.loads((tmp_path / f"{part}.json").read_text()) for part in parts}
    for part, record in records.items():
        assert record["part"] == part and record["result"] == "passed" and record["commit"] == "abc"
        assert {"machine", "date", "versions", "command", "measurements"} <= record.keys()
    assert records["tests"]["measurements"]["tests"]["values"] == {"passed": 1, "failed": 0, "skipped": 0}
    timed = {(row["section"], row["batch"]) for row in records["benchmark"]["rows"] if row["seconds"]}
    assert timed == {(section, batch) for section in ("scan", "convolution", "layers") for batch in (1, 2)}
    assert records["benchmark"]["measurements"]["goals"]["values"] == {}, "there are no kernels of a GPU"
    losses, throughput = (records["training"]["measurements"][name] for name in ("losses", "throughput"))
    assert all(difference <= gpu_parts.SAME for difference in losses["values"].values())
    assert throughput["values"].keys() == {"smnist, batch 4", "psmnist, batch 4"}
    assert all({"plain", "captured"} == pace.keys() for pace in throughput["values"].values())
