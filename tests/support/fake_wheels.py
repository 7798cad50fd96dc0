"""Machines, a server and wheels that a test makes to measure.

Such a wheel is a small mamba_ssm around a module that gcc compiles, and that does what a test asks of it: it crashes,
hangs, misses a symbol or gives wrong numbers in earnest. Where it shall be right, the scan itself is our reference.
One kind, ``LEFT_OUT``, has no such module, as what upstream's next release builds unless it is asked for more.
"""

import functools
import hashlib
import http.server
import importlib.machinery
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import threading
import venv
import zipfile
from pathlib import Path

from colab.machine import Machine

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

# https://github.com/state-spaces/mamba/blob/e9594ce/mamba_ssm/ops/selective_scan_interface.py: how it goes without.
WITHOUT = """
import torch

try:
    import selective_scan_cuda
except ImportError:
    selective_scan_cuda = None


class SelectiveScanFn(torch.autograd.Function):
    @staticmethod
    def forward(ctx, u, delta, A, B, C, D=None, z=None, delta_bias=None, delta_softplus=False, return_last_state=False):
        if selective_scan_cuda is None:
            raise RuntimeError("selective_scan_cuda is not installed. To use Mamba-1, reinstall with: ...")
        out, x, *rest = selective_scan_cuda.fwd(u, delta, A, B, C, D, z, delta_bias, delta_softplus)
        return rest[0] if rest else out


def selective_scan_fn(*args, **options):
    return SelectiveScanFn.apply(*args, *options.values())
"""


def gpu(capability=(7, 5), torch="2.10.0+cu128", **other):
    """A machine with a GPU of this capability. Its device is the CPU, so that kernels can be run on it."""
    known = {
        "python": f"{sys.version_info[0]}.{sys.version_info[1]}.5",
        "torch": torch,
        "cuda": "12.8",
        "abi": True,
        "processor": platform.machine(),
        "system": "Linux",
        "gpu": {(7, 5): "Tesla T4", (8, 0): "NVIDIA A100", (9, 0): "NVIDIA H100"}.get(capability),
        "capability": capability,
        "memory": 15.8,
        "device": "cpu",
        "backends": ("triton", "associative", "reference"),
    }
    return Machine(**{**known, **other})


NO_GPU = {"gpu": None, "capability": None, "memory": None, "backends": ("numba", "associative", "reference")}


class Server(http.server.ThreadingHTTPServer):
    """Serves the files of a folder, each in the way that ``ways`` says: whole, slow, truncated, broken or silent."""

    def __init__(self, folder):
        super().__init__(("127.0.0.1", 0), Handler)
        self.folder, self.ways, self.asked = folder, {}, []
        self.address = f"http://127.0.0.1:{self.server_port}/"
        self.stopping = threading.Event()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        name = self.path.lstrip("/").replace("%2B", "+")
        self.server.asked.append(name)
        way, path = self.server.ways.get(name, "whole"), self.server.folder / name
        if way == "silent":
            self.server.stopping.wait(60)
            return
        if way == "broken" or not path.exists():
            self.send_error(503 if way == "broken" else 404)
            return
        content = path.read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if way == "slow":
            for byte in content:
                self.wfile.write(bytes([byte]))
                if self.server.stopping.wait(0.2):
                    return
        self.wfile.write(content[: len(content) // 2] if way == "truncated" else content)

    def log_message(self, *arguments):
        pass


def environment(folder: Path) -> tuple[Path, Path]:
    """A virtual environment that sees all packages of this one: its Python, and its site-packages."""
    venv.create(folder, with_pip=False)
    site = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
    (site / "parent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"), site


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
        "mamba_ssm/ops/selective_scan_interface.py": (WITHOUT if kind == "LEFT_OUT" else INTERFACE).encode(),
        **({} if kind == "LEFT_OUT" else {f"selective_scan_cuda{SUFFIX}": module(kind)}),
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: mamba-ssm\nVersion: {version}\n".encode(),
        f"{info}/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\nTag: {tag}\n".encode(),
    }
    record = "".join(f"{name},,\n" for name in files) + f"{info}/RECORD,,\n"
    path = folder / name
    with zipfile.ZipFile(path, "w") as archive:
        for place, content in {**files, f"{info}/RECORD": record.encode()}.items():
            archive.writestr(place, content)
    return path


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
