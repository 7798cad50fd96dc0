"""The package as a whole: what its modules import of one another, what an import does, and what is installed."""

import ast
import importlib.util
import shutil
import subprocess
import sys
import zipfile

import pytest
from repository import ROOT, run_python

HELPERS = ROOT / "helpers"
# The order in which data flows: a module imports from its own folder, and from what stands before that.
ORDER = (
    "files timing machine cuda_graph mnist derivatives detect simd jit threads triton_math scan conv ssd testing layers"
    " checkpoint models copying experiments train inspect plots benchmark exercises"
).split()


def module_name(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(HELPERS.rglob("*.py"))}


def imported(path, at_import):
    """The modules of this package that a file imports; ``at_import``: leaving out what is inside functions."""
    nodes = [ast.parse(path.read_text(encoding="utf-8"))]
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.FunctionDef) and at_import:
            continue
        nodes += ast.iter_child_nodes(node)
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in MODULES)
        elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
            inner = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if name in MODULES else node.module for name in inner)


def test_every_module_has_its_place():
    assert {name.split(".")[1] for name in MODULES if name != "helpers"} == set(ORDER)


@pytest.mark.parametrize("name", MODULES)
def test_imports_point_backwards(name):
    """Those inside functions too: they are there to be late, not to go round in circles."""
    own = name.split(".")[1:2]
    for other in imported(MODULES[name], at_import=False):
        place = other.split(".")[1:2]
        assert place and (place == own or ORDER.index(place[0]) < ORDER.index(own[0])), f"{name} imports {other}"


def test_imports_have_no_circle():
    graph = {name: set(imported(path, at_import=True)) - {name} for name, path in MODULES.items()}
    while graph:
        free = [name for name, needs in graph.items() if not needs & graph.keys()]
        assert free, f"a circle: {graph}"
        for name in free:
            del graph[name]


IMPORTS_ALL = """
import atexit, json, logging, os, signal, sys, threading, warnings
for name in sys.argv[1].split(","):  # what these do is not ours
    __import__(name)
import matplotlib, numpy, torch

def state():
    return {
        "matplotlib's settings": sorted(map(str, matplotlib.rcParams.items())),
        "levels of logging": sorted((name, logging.getLogger(name).level) for name in logging.root.manager.loggerDict
                                    if not name.startswith("helpers")),
        "handlers of logging": str(logging.root.handlers),
        "threads": sorted(thread.name for thread in threading.enumerate()),
        "tasks of the system": len(os.listdir("/proc/self/task")) if sys.platform == "linux" else 0,
        "signals": [str(signal.getsignal(number)) for number in sorted(signal.valid_signals())],
        "hooks": str((sys.excepthook, sys.meta_path, threading.excepthook)),
        "at exit": atexit._ncallbacks(),
        "filters of warnings": len(warnings.filters),
        "environment": sorted(os.environ.items()),
        "folder": os.getcwd(),
        "torch": str((torch.get_num_threads(), torch.get_default_dtype(), torch.is_grad_enabled(),
                      torch.backends.cuda.matmul.allow_tf32, torch.initial_seed())),
        "random numbers": str(numpy.random.get_state()[1][:4]),
    }

import helpers
before = state()
for name in sys.argv[2:]:
    __import__(name)
changed = {name: (before[name], value) for name, value in state().items() if value != before[name]}
print(json.dumps(changed))
"""


@pytest.mark.slow
def test_an_import_does_nothing_that_a_caller_would_notice():
    has_triton = importlib.util.find_spec("triton") is not None
    others = [
        "numpy",
        "matplotlib",
        "torch",
        "torchvision",
        "numba",
        "lightning_fabric",
        "filelock",
        "tqdm",
        *["triton"] * has_triton,
    ]
    ours = [name for name in MODULES if has_triton or "triton" not in name]
    run = run_python("-W", "error", "-c", IMPORTS_ALL, ",".join(others), *ours)
    assert (run.returncode, run.stdout, run.stderr) == (0, "{}\n", "")


@pytest.mark.parametrize("loaded, expected", [("", "PASSIVE"), ("import sys; sys.modules['torch'] = None", None)])
def test_torch_is_asked_to_let_idle_threads_sleep_if_it_is_not_loaded_yet(loaded, expected):
    code = f"import os\nos.environ.pop('OMP_WAIT_POLICY', None)\n{loaded}\nimport helpers\n"
    code += "print(os.environ.get('OMP_WAIT_POLICY'))"
    assert run_python("-c", code).stdout == f"{expected}\n"


@pytest.mark.slow
def test_what_is_installed_is_the_code_the_published_weights_and_the_digits(tmp_path):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(HELPERS, tmp_path / "helpers", ignore=shutil.ignore_patterns("__pycache__"))
    pytest.importorskip("setuptools", reason="setuptools is not installed, and what it would build cannot be seen")
    build = "from setuptools import build_meta; print(build_meta.build_wheel('.'))"
    run = subprocess.run([sys.executable, "-c", build], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    with zipfile.ZipFile(tmp_path / run.stdout.splitlines()[-1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    code = {path.relative_to(ROOT).as_posix() for path in MODULES.values()}
    weights = {
        f"helpers/checkpoints/{name}.{kind}"
        for name in ("smnist", "psmnist", "generator")
        for kind in ("safetensors", "json", "csv")
    }
    digits = {path.relative_to(ROOT).as_posix() for path in (HELPERS / "data").glob("*.gz")}
    assert names == code | weights | digits | {"helpers/data/README.md", "helpers/data/SHA256SUMS"}
