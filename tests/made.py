"""Made wheels for ``test_colab.py``: a small mamba_ssm around a compiled module that does what a test asks of it.

The module is compiled by gcc. It crashes, hangs, misses a symbol or gives wrong numbers in earnest; where it shall be
right, the scan itself is our reference.
"""

import functools
import hashlib
import importlib.machinery
import shutil
import subprocess
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

HEADERS = Path(sysconfig.get_path("include"))
POSSIBLE = bool(shutil.which("gcc")) and (HEADERS / "Python.h").exists() and sysconfig.get_platform()[:5] == "linux"
SUFFIX = importlib.machinery.EXTENSION_SUFFIXES[0]

C = """
#include <Python.h>
#include <unistd.h>

extern void torch_of_another_version(void);

static PyObject *run(PyObject *self, PyObject *none) {
#if defined(CRASHES)
    *(volatile int *)0 = 1;
#elif defined(HANGS)
    for (;;) pause();
#elif defined(MISSES)
    torch_of_another_version();
#endif
    Py_RETURN_NONE;
}

#if defined(WRONG)
static double forward = 1.01, backward = 1.01;
#elif defined(WRONG_BACKWARD)
static double forward = 1.0, backward = 1.01;
#elif defined(NAN_BACKWARD)
static double forward = 1.0, backward = Py_NAN;
#else
static double forward = 1.0, backward = 1.0;
#endif

static PyObject *factors(PyObject *self, PyObject *none) { return Py_BuildValue("dd", forward, backward); }

static PyMethodDef methods[] = {{"run", run, METH_NOARGS, 0}, {"factors", factors, METH_NOARGS, 0}, {0}};
static struct PyModuleDef module = {PyModuleDef_HEAD_INIT, "selective_scan_cuda", 0, -1, methods};

PyMODINIT_FUNC PyInit_selective_scan_cuda(void) {
#if defined(CRASHES_AT_IMPORT)
    abort();
#endif
    return PyModule_Create(&module);
}
"""

INTERFACE = """
import selective_scan_cuda
import torch
from helpers.scan import selective_scan


class Factors(torch.autograd.Function):
    @staticmethod
    def forward(ctx, y):
        return y * selective_scan_cuda.factors()[0]

    @staticmethod
    def backward(ctx, dy):
        return dy * selective_scan_cuda.factors()[1]


def selective_scan_fn(*args, **options):
    selective_scan_cuda.run()
    y, last_state = selective_scan(*args, **options, backend="reference")
    return Factors.apply(y), last_state.detach().clone().requires_grad_()
"""


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment that sees all packages of this one: its Python, and its site-packages."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin" / "python", site


@functools.cache
def module(kind: str) -> bytes:
    """The compiled module of a kind: ``RIGHT``, or one of the names that the source asks for."""
    with tempfile.TemporaryDirectory() as folder:
        source, target = Path(folder, "module.c"), Path(folder, "module.so")
        source.write_text(C)
        command = ["gcc", "-shared", "-fPIC", "-O1", "-w", f"-D{kind}", f"-I{HEADERS}", source, "-o", target]
        subprocess.run([*command, "-Wl,-z,now"], check=True, capture_output=True)
        return target.read_bytes()


def wheel(folder: Path, name: str, kind: str) -> Path:
    """Write a wheel of this name."""
    package, version = name.split("-")[:2]
    info = f"{package}-{version}.dist-info"
    tag = "-".join(name.removesuffix(".whl").split("-")[2:])
    files = {
        "mamba_ssm/__init__.py": b"",
        "mamba_ssm/ops/__init__.py": b"",
        "mamba_ssm/ops/selective_scan_interface.py": INTERFACE.encode(),
        f"selective_scan_cuda{SUFFIX}": module(kind),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mamba-ssm\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: made\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{name},,\n" for name in files) + f"{info}/RECORD,,\n"
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for place, content in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(place, content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
