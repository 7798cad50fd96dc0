"""The Makefile: what the two commands install, once, and what is said where they cannot."""

import os
import re
import shutil
import stat
import subprocess
import sys

import pytest
from repository import ROOT

FAKE_PYTHON = """#!/bin/sh
# Takes the place of Python: notes what it is asked to do, and does only what the Makefile's logic depends on.
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
    files = "Makefile requirements.txt constraints.txt pyproject.toml colab/setup.py colab/runtime.txt"
    for name in files.split():
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
@pytest.mark.parametrize("target", ["run", "check", "test"])
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
    assert calls.endswith("notebooks/run.py --output build/notebooks\nwebsite/build.py --notebooks build/notebooks\n")


@needs_make
@pytest.mark.parametrize("version", [(2, 7, 18), (3, 9, 18), (3, 15, 0), (4, 0, 0)])
def test_unfit_python_is_one_clear_sentence(fresh, version):
    run, calls = fresh("run", version=version)
    assert run.returncode != 0
    assert "This needs Python 3.10 to 3.14" in run.stderr and f"is {version[0]}.{version[1]}." in run.stderr
    assert "Traceback" not in run.stderr and "venv" not in calls


@needs_make
@pytest.mark.parametrize("version", [(3, 10, 0), (3, 14, 0)])
def test_fit_python(fresh, version):
    assert fresh("setup", version=version)[0].returncode == 0


@needs_make
def test_no_python_at_all(fresh):
    run, _ = fresh("run", python="no-such-python")
    assert run.returncode != 0 and "There is no no-such-python here. Install Python 3.10 to 3.14" in run.stdout


@needs_make
def test_clean_removes_a_virtual_environment_and_nothing_else(fresh, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    assert fresh("clean", f"VENV={mine}")[0].returncode == 0 and mine.exists()
    (mine / "pyvenv.cfg").touch()
    assert fresh("clean", f"VENV={mine}")[0].returncode == 0 and not mine.exists()


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
