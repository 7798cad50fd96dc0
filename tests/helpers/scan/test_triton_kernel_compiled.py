"""The scan fused on the GPU: its kernels interpreted, run on a GPU if there is one, and compiled for others."""

import os
import platform
import subprocess
import sys
from pathlib import Path

import pytest
import torch

pytest.importorskip("triton", reason="Triton is not installed: it is for Linux")

from helpers.scan import triton_kernel

HERE = Path(__file__).parent
# Triton of Colab, where the kernels have to compile as well; `make test` installs it there.
COLAB = HERE.parent / "build" / "triton-3.6.0"


def python(*arguments, **environment):
    run = subprocess.run(
        [sys.executable, *map(str, arguments)], env={**os.environ, **environment}, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.mark.parametrize(
    "interpreted",
    [True, pytest.param(False, marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU"))],
    ids=["interpreted", "on the GPU"],
)
def test_kernels(interpreted):
    # Not -q: the line that says how many passed must be there, or an empty file would pass.
    out = python(
        "-m",
        "pytest",
        HERE / "fused_gpu_kernels.py",
        "-p",
        "no:cacheprovider",
        TRITON_INTERPRET=str(int(interpreted)),
        OMP_NUM_THREADS="1",
    )
    assert " passed" in out and "skipped" not in out, out


@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="Triton's compiler is for Linux on x86-64 and Arm",
)
@pytest.mark.parametrize("version", ["installed", "3.6.0"])
def test_kernels_compiled(version):
    path = os.environ.get("PYTHONPATH", "")
    if version == "3.6.0":
        if not COLAB.is_dir() and not os.environ.get("CI"):
            pytest.skip("build/triton-3.6.0 is not there: make test installs it")
        assert COLAB.is_dir(), f"{COLAB} is not there"
        path = os.pathsep.join(filter(None, [str(COLAB), path]))
    out = python(HERE / "compile_fused_gpu.py", PYTHONPATH=path, TRITON_INTERPRET="0")
    header, *lines = (line.split() for line in out.splitlines())
    kernels = [dict(zip(header, line, strict=True)) for line in lines]
    assert {int(k["sm"]) for k in kernels} == {75, 80, 89, 90, 100} and len(kernels) == 32
    for kernel in kernels:
        assert version in ("installed", kernel["triton"])
        assert kernel["spilled"] == "0" and kernel["bf16_arithmetic"] == "0", kernel
        # What the estimate in the kernels' file rests on.
        assert int(kernel["warps_per_sm"]) >= (12 if kernel["kernel"] == "forward" else 8), kernel


@pytest.mark.parametrize("dim, d_state", [(32, 4), (64, 8), (128, 16), (1536, 16), (256, 32), (256, 64), (96, 128)])
def test_memory_of_the_parts(dim, d_state):
    A, B = torch.empty(dim, d_state), torch.empty(1, 1, d_state, 1)
    parts = triton_kernel._sizes(A, B)[-1] * 2 * d_state  # numbers of dB and dC for each position
    assert parts <= 3 * (3 * dim + 2 * d_state)  # of u, delta, z, B and C


def test_available():
    assert not triton_kernel.available("cpu")
    assert triton_kernel.available("cuda") == (
        torch.cuda.is_available() and torch.version.cuda is not None and torch.cuda.get_device_capability() >= (7, 0)
    )
