"""The two commands, the set-up, and the files around the code."""

import importlib.metadata
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parent.parent
PYTHONS = ["3.10", "3.11", "3.12", "3.13", "3.14"]


def requirements(name):
    lines = [line.partition("#")[0].strip() for line in (ROOT / name).read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def applies(requirement, python):
    return requirement.marker is None or requirement.marker.evaluate({"python_version": python})


@pytest.mark.parametrize("python", PYTHONS)
def test_constraints_pin_every_requirement_within_its_range(python):
    pins = [pin for pin in requirements("constraints.txt") if applies(pin, python)]
    names = [pin.name for pin in pins]
    assert len(names) == len(set(names)), "one version a package"
    versions = {pin.name: str(pin.specifier).removeprefix("==") for pin in pins}
    for requirement in requirements("requirements.txt"):
        if not applies(requirement, python):
            continue
        assert requirement.specifier.contains(versions[requirement.name]), requirement


def test_what_is_tested_here_is_what_the_constraints_say():
    python = "{}.{}".format(*sys.version_info)
    other = []
    for pin in requirements("constraints.txt"):
        if applies(pin, python):
            try:
                version = importlib.metadata.version(pin.name)
            except importlib.metadata.PackageNotFoundError:
                continue  # of another platform, or of the optional mamba-ssm
            if not pin.specifier.contains(version, prereleases=True):
                other.append(f"{pin.name} {version}, not {pin.specifier}")
    if other and os.environ.get("CONSTRAINTS") == "":
        pytest.skip(f"run with the newest versions: {'; '.join(other)}")
    assert not other


# ---------------------------------------------------------------------------------------------- make

FAKE_PYTHON = """#!/bin/sh
# Stands in for Python: notes what it is asked to do, and does only what the Makefile's logic depends on.
echo "$*" >> {log}
case "$*" in
  *version_info*) exec {python} -c "import sys; sys.version_info = {version}; exec(sys.argv[1])" "$2" ;;
  "-m venv"*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
  "-m pip"*) exit {pip} ;;
  colab/setup.py) exit {setup} ;;
esac
"""


@pytest.fixture
def fresh(tmp_path):
    """A folder with the Makefile and what it depends on, and a stand-in for Python."""
    for name in (
        "Makefile",
        "requirements.txt",
        "constraints.txt",
        "pyproject.toml",
        "colab/setup.py",
        "colab/runtime.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, tmp_path / name)

    def make(*targets, version=(3, 12, 1), pip=0, setup=0, python=None):
        log = tmp_path / "log"
        log.write_text("")
        fake = tmp_path / "python"
        text = FAKE_PYTHON.format(log=log, python=sys.executable, version=version, pip=pip, setup=setup)
        for place in (fake, tmp_path / ".venv" / "bin" / "python"):
            if place is fake or place.exists():
                place.write_text(text)
                place.chmod(place.stat().st_mode | stat.S_IEXEC)
        command = ["make", "-C", str(tmp_path), *targets, f"PYTHON={python or fake}"]
        clean = {k: v for k, v in os.environ.items() if not k.startswith(("MAKE", "MFLAGS", "PYTHON", "VENV"))}
        run = subprocess.run(command, capture_output=True, text=True, env=clean)
        return run, log.read_text()

    return make


needs_make = pytest.mark.skipif(not shutil.which("make") or os.name != "posix", reason="needs make")


@needs_make
@pytest.mark.parametrize("target", ["run", "test"])
def test_second_time_installs_nothing(fresh, target):
    run, calls = fresh(target)
    assert run.returncode == 0, run.stderr
    assert "-m venv" in calls and "-c constraints.txt -r requirements.txt -e ." in calls and "colab/setup.py" in calls
    run, calls = fresh(target)
    assert run.returncode == 0 and calls
    assert not re.search("venv|pip|setup.py", calls)


@needs_make
def test_interrupted_installation_is_taken_up_again(fresh):
    run, calls = fresh("run", pip=1)
    assert run.returncode != 0 and "notebooks/run.py" not in calls
    run, calls = fresh("run")
    assert run.returncode == 0 and "-m pip" in calls and "notebooks/run.py" in calls


@needs_make
def test_failure_of_mamba_ssm_does_not_stop_anything(fresh):
    run, calls = fresh("run", setup=1)
    assert run.returncode == 0
    assert calls.endswith("notebooks/run.py --output build/notebooks\nsite/build.py --notebooks build/notebooks\n")


@needs_make
@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, 15, 0), (4, 0, 0)])
def test_unfit_python_is_one_clear_sentence(fresh, version):
    run, calls = fresh("run", version=version)
    assert run.returncode != 0
    assert "This needs Python 3.10 to 3.14" in run.stderr and f"is {version[0]}.{version[1]}." in run.stderr
    assert "Traceback" not in run.stderr and "venv" not in calls


@needs_make
@pytest.mark.parametrize("version", [tuple(map(int, python.split("."))) for python in PYTHONS])
def test_fit_python(fresh, version):
    assert fresh("setup", version=(*version, 0))[0].returncode == 0


@needs_make
def test_no_python_at_all(fresh):
    run, _ = fresh("run", python="no-such-python")
    assert run.returncode != 0 and "There is no no-such-python here. Install Python 3.10 to 3.14" in run.stdout


@needs_make
def test_lean_torch(fresh):
    _, calls = fresh("setup", "TORCH=cpu", "CONSTRAINTS=")
    assert "install --disable-pip-version-check -r colab/torch-cpu.txt -r requirements.txt -e .\n" in calls
    assert (ROOT / "colab" / "torch-cpu.txt").is_file()


@needs_make
def test_help_lists_every_target(fresh):
    run, calls = fresh("help")
    targets = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.M)[1].split()
    listed = re.findall(r"^  ([a-z-]+) +\S", run.stdout, re.M)
    assert sorted(listed) == sorted(targets) and not calls


# -------------------------------------------------------------------------------- notebooks/run.py


@pytest.fixture
def notebook(tmp_path):
    def make(*sources, tags=()):
        cells = [nbformat.v4.new_markdown_cell("# Title")]
        cells += [nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)}) for source in sources]
        path = tmp_path / "notebook.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=cells), path)
        return path

    return make


def run(*arguments):
    command = [sys.executable, str(ROOT / "notebooks" / "run.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True)


def test_run_saves_outputs_elsewhere_and_ends_with_the_results(notebook, tmp_path):
    source = "import sys\nprint('accuracy 12 %')\nprint('50%\\r100%', file=sys.stderr)"
    path = notebook(source, tags=["result"])
    before = path.read_bytes()
    done = run(path, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "[1/1] notebook:" in done.stdout and done.stdout.endswith("accuracy 12 %\n")
    assert str(tmp_path / "out") in done.stdout
    (cell,) = nbformat.read(tmp_path / "out" / "notebook.ipynb", as_version=4).cells[1:]
    assert cell.execution_count == 1 and [o.name for o in cell.outputs] == ["stdout"], "no progress bar is kept"
    assert path.read_bytes() == before, "the committed notebook stays as it is"


def test_run_in_place(notebook):
    path = notebook("1 + 1")
    assert run(path, "--in-place").returncode == 0
    (cell,) = nbformat.read(path, as_version=4).cells[1:]
    assert cell.execution_count == 1 and cell.outputs[0].data["text/plain"] == "2"


@pytest.mark.parametrize(
    "source, said",
    [("1 / 0", "ZeroDivisionError"), ("import time; time.sleep(60)", "timed out"), ("import os; os._exit(1)", "died")],
)
def test_failing_cell_stops_the_run(notebook, tmp_path, source, said):
    path = notebook("print('before')", source, "print('after')")
    done = run(path, "--output", tmp_path / "out", "--timeout", "5")
    assert done.returncode == 1
    assert "notebook: failed in cell 3 of 4" in done.stderr and said in done.stderr
    assert source in done.stderr or said == "died"
    kept = nbformat.read(tmp_path / "out" / "notebook.failed.ipynb", as_version=4)
    assert kept.cells[1].outputs[0].text == "before\n"
    assert not (tmp_path / "out" / "notebook.ipynb").exists()


def test_run_names_a_notebook_that_is_not_there():
    done = run("none.ipynb")
    assert done.returncode == 2 and "there is no notebook none.ipynb" in done.stderr


# --------------------------------------------------------------------------------------- the README


def test_readme_names_the_commands_and_every_notebook():
    readme = (ROOT / "README.md").read_text()
    assert "make run\n" in readme and "make test\n" in readme
    for path in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebooks/{path.name}" in readme
    for link in re.findall(r"\]\((?!http)([^)#]+)", readme):
        assert (ROOT / link).exists(), link
