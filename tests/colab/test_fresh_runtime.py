"""Pages as Colab runs them: from an empty folder, with a stand-in for ``google.colab``, on a CPU runtime.

The set-up cell clones the working tree, which git takes for the repository on GitHub; nothing is asked of a network.
Where ``make test`` has put Colab's versions of small packages (``colab/runtime.txt``), the pages run with these.
"""

import json
import os
import shutil
import subprocess
import sys

import fake_wheels
import nbformat
import pytest
from repository import NOTEBOOKS, ROOT

from colab import links

PACKAGES = ROOT / "build" / "colab-packages"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform != "linux" or not shutil.which("git"), reason="needs Linux and git"),
]

COLAB = """
import IPython

def load_ipython_extension(shell):  # as Colab's own: it is loaded when a page starts
    pass
"""
CELLS = """
import sys
sys.path.insert(0, {stand_in!r})
import google.colab
import json, os

for number, (source, folder) in enumerate(json.load(open({cells!r}))):
    os.makedirs(folder, exist_ok=True)
    os.chdir(folder)
    exec(source, {{"__name__": "__main__"}})
    import helpers
    print("from", os.path.relpath(helpers.__file__, folder))
    if number == 0:  # the machine does not change from page to page: it is asked once more, and then its answers stay
        from colab import machine, steps, verify
        here = machine.probe(steps.Deadline(900))
        errors = verify.verify(here.backends[0], here.device, here.dtypes(), steps.Deadline(900))
        machine.probe, verify.verify = lambda deadline: here, lambda *arguments: errors
    for name in [name for name in sys.modules if name.partition(".")[0] == "helpers"]:
        del sys.modules[name]
    sys.path.remove(os.path.join(folder, {name!r}))
"""


@pytest.fixture(scope="module")
def colab(tmp_path_factory):
    """``(python, environment)`` of a Colab runtime without a GPU. It finds the working tree where GitHub would be."""
    folder = tmp_path_factory.mktemp("colab")
    setting = links.setting()
    clean = {k: v for k, v in os.environ.items() if not k.startswith(("GIT_", "PYTHON", "COLAB"))}
    hidden = shutil.ignore_patterns(".*", "build", "__pycache__", "*.egg-info", "MNIST")
    repository = folder / "repository"
    shutil.copytree(ROOT, repository, ignore=hidden)
    # Two minutes are a matter of tests/colab. Here a machine that is busy shall not change the kernel.
    setup = repository / "colab" / "setup.py"
    text = setup.read_text()
    assert "\nSECONDS = 120 " in text
    setup.write_text(text.replace("\nSECONDS = 120 ", "\nSECONDS = 900 "))
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "core.autocrlf=false"]
    for command in (["init", "-q", "-b", setting["ref"]], ["add", "-A"], [*identity, "commit", "-q", "-m", "all"]):
        subprocess.run(["git", *command], cwd=repository, env=clean, check=True)

    stand_in = folder / "stand-in" / "google" / "colab"
    stand_in.mkdir(parents=True)
    (stand_in / "__init__.py").write_text(COLAB)
    (stand_in / "output.py").write_text("")  # which JAX imports there
    profile = folder / "ipython" / "profile_default"
    profile.mkdir(parents=True)
    (profile / "ipython_config.py").write_text('get_config().InteractiveShellApp.extensions = ["google.colab"]\n')
    python, site = fake_wheels.environment(folder / "environment")
    if PACKAGES.is_dir():
        (site / "a_colab.pth").write_text(f"{PACKAGES}\n")  # before the packages of this environment
    environment = {
        **clean,
        "PYTHONPATH": str(folder / "stand-in"),
        "IPYTHONDIR": str(folder / "ipython"),
        "CUDA_VISIBLE_DEVICES": "",
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.{repository.as_uri()}.insteadOf",
        "GIT_CONFIG_VALUE_0": f"https://github.com/{setting['repository']}",
    }
    return python, environment


def cells(name):
    return nbformat.read(ROOT / "notebooks" / name, as_version=4).cells


@pytest.mark.parametrize("name", ["A1_the_scan_in_jax.ipynb", "A4_permuted_pixels.ipynb"])
def test_a_page_runs_from_an_empty_folder(colab, tmp_path, name):
    python, environment = colab
    for file in (name, "run.py"):
        shutil.copy(ROOT / "notebooks" / file, tmp_path)
    command = [python, "run.py", name, "--output", "out"]
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    page = nbformat.read(tmp_path / "out" / name, as_version=4)
    (said,) = page.cells[1].outputs
    fetching, *lines = said.text.splitlines()
    assert fetching.startswith("Fetching the tutorial")
    assert [line.partition(":")[0] for line in lines] == ["Runtime", "GPU", "Scan kernel", "Verified"], said.text
    assert lines[0].startswith("Runtime:     Colab, Python") and lines[1] == "GPU:         none"
    assert lines[3].startswith("Verified:    forward and backward equal the reference, float32 differs by ")
    assert (tmp_path / links.setting()["repository"].partition("/")[2] / "helpers").is_dir()
    assert [c.source for c in page.cells] == [c.source for c in cells(name)]


def test_the_first_cell_on_two_pages_and_on_one_of_them_twice(colab, tmp_path):
    """It is the same on all of them, see test_links.py."""
    python, environment = colab
    name = links.setting()["repository"].partition("/")[2]
    work = [[cells(path.name)[1].source, str(tmp_path / path.stem)] for path in (*NOTEBOOKS[:2], NOTEBOOKS[0])]
    (tmp_path / "cells.json").write_text(json.dumps(work))
    code = CELLS.format(stand_in=environment["PYTHONPATH"], cells=str(tmp_path / "cells.json"), name=name)
    run = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    assert run.stdout.count(f"from {name}/helpers/__init__.py") == len(work), run.stdout
    for line in (
        "Fetching the tutorial, ",
        "Runtime:     Colab, ",
        "GPU:         none",
        "Scan kernel: ",
        "Verified:    forward and backward equal",
    ):
        assert run.stdout.count(line) == len(work), run.stdout


def test_colabs_versions_are_those_that_the_pages_ran_with(colab):
    if not PACKAGES.is_dir():
        assert not os.environ.get("CI"), "Colab's packages could not be fetched: make test fetches them"
        pytest.skip("Colab's packages are not here: make test fetches them")
    python, environment = colab
    expected = dict(line.split("==") for line in (ROOT / "colab" / "runtime.txt").read_text().split() if "==" in line)
    code = "import importlib.metadata as m; print(*map(m.version, ('numpy', 'matplotlib', 'tqdm', 'ipykernel')))"
    run = subprocess.run([python, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert run.stdout.split() == [expected[name] for name in ("numpy", "matplotlib", "tqdm", "ipykernel")]


def test_a_copy_that_is_not_published_is_told_what_to_do(colab, tmp_path):
    """Instead of a question for a password, or a clone that is half there."""
    python, environment = colab
    name = links.setting()["repository"].partition("/")[2]
    nowhere = {
        **environment,
        "GIT_CONFIG_KEY_0": f"url.{tmp_path.as_uri()}/nowhere.insteadOf",
        "COLAB_RELEASE_TAG": "x",
    }
    command = [python, "-c", links.cell(**links.setting())]
    run = subprocess.run(command, cwd=tmp_path, env=nowhere, capture_output=True, text=True)
    assert run.returncode == 1 and not (tmp_path / name).exists()
    assert run.stdout == "Fetching the tutorial, and a scan kernel to prove: two minutes at most.\n"
    repository, ref = links.setting()["repository"], links.setting()["ref"]
    assert f"https://github.com/{repository} was not fetched: GitHub was not reached within a minute, or" in run.stderr
    assert f"there is no {ref}. Run this cell again. If it is your fork, its README says what it needs." in run.stderr
