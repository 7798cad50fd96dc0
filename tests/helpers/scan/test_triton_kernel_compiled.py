"""The scan fused on the GPU, compiled for GPUs that are not there, and what its memory is."""

import os
import platform
from unittest import mock

import pytest
import torch
from repository import ROOT, run_python

pytest.importorskip("triton", reason="Triton is not installed: it is for Linux")

from helpers import triton_math
from helpers.scan import triton_kernel

# Triton of Colab, where the kernels have to compile as well; `make test` installs it there.
COLAB = ROOT / "build" / "triton-3.6.0"
# The compute capabilities that a version of Triton compiles for: Colab has T4, A100, L4 and H100.
TARGETS = {"installed": (75, 90, 100), "3.6.0": (75, 80, 89, 90)}


@pytest.mark.slow
@pytest.mark.skipif(
    platform.system() != "Linux" or platform.machine() not in ("x86_64", "aarch64"),
    reason="Triton's compiler is for Linux on x86-64 and Arm",
)
@pytest.mark.parametrize("version", ["installed", "3.6.0"])
def test_kernels_compiled(version):
    """In a process of their own: Triton's interpreter and its compiler cannot share one."""
    path = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    if version == "3.6.0":
        if not COLAB.is_dir() and not os.environ.get("CI"):
            pytest.skip("build/triton-3.6.0 is not there: make test installs it")
        assert COLAB.is_dir(), f"{COLAB} is not there"
        path.insert(0, str(COLAB))
    command = ["tests/support/compile_triton_kernel.py", *map(str, TARGETS[version])]
    run = run_python(*command, PYTHONPATH=os.pathsep.join(path), TRITON_INTERPRET="0")
    assert run.returncode == 0, run.stdout + run.stderr
    header, *lines = (line.split() for line in run.stdout.splitlines())
    kernels = [dict(zip(header, line, strict=True)) for line in lines]
    assert {int(k["sm"]) for k in kernels} == set(TARGETS[version])
    assert len(kernels) == 32 + 12 * (len(TARGETS[version]) - 1)  # the oldest has more variants
    for kernel in kernels:
        assert version in ("installed", kernel["triton"])
        assert kernel["spilled"] == "0" and kernel["bf16_arithmetic"] == "0", kernel
        # What the prediction in the kernels' file rests on.
        assert int(kernel["warps_per_sm"]) >= 8, kernel
    for what, numbers in predicted(kernels).items():
        assert numbers == pytest.approx(noted()[what], rel=0.1), what


SHAPE = torch.empty(16, 128, 784), torch.empty(128, 16), torch.empty(16, 1, 16, 1)
GPUS = {75: (160, 1590), 90: (528, 1980)}  # of a T4 and an H100: schedulers and MHz


def predicted(kernels):
    """Microseconds for the loops over chunks: ``{what is counted: [forward, backward of a T4, ... an H100]}``."""
    loops = {(int(k["sm"]), k["kernel"]): k for k in reversed(kernels) if k["variant"] == "all"}
    backward_carries = {int(k["sm"]): k for k in kernels if k["variant"] == "all" and k["kernel"] == "carry"}
    found = {"SFU": [], "instructions": []}
    for sm, (schedulers, clock) in GPUS.items():
        with mock.patch.object(triton_kernel, "_schedulers", lambda device, schedulers=schedulers: schedulers):
            splits = {tile: triton_kernel._split(*SHAPE, tile) for tile in (triton_kernel._wide, triton_kernel._narrow)}
        for way, tile, carry in (
            ("forward", triton_kernel._wide, loops[sm, "carry"]),
            ("backward", triton_kernel._narrow, backward_carries[sm]),
        ):
            segments, per_segment = splits[tile]
            carried = triton_kernel._wide(*SHAPE[1:])[-1] * (segments - 1) * per_segment
            scanned = tile(*SHAPE[1:])[-1] * 784 // triton_kernel.CHUNK
            for what, column, a_clock in (("SFU", "special", schedulers / 8), ("instructions", "loop", schedulers)):
                count = scanned * int(loops[sm, way][column]) + carried * int(carry[column])
                found[what].append(16 * count / a_clock / clock)
    return found


def noted():
    """The same as the kernels' file has it, whose last two columns are 16 times as much in one segment."""
    rows = [line.replace(",", " ").split() for line in triton_kernel.__doc__.splitlines()]
    return {row[0]: [float(x) for x in row[-6:-2]] for row in rows if row and row[0] in ("SFU", "instructions")}


@pytest.mark.parametrize("dim, d_state", [(32, 4), (64, 8), (128, 16), (1536, 16), (256, 32), (256, 64), (96, 128)])
def test_memory_of_the_parts(dim, d_state):
    A, B = torch.empty(dim, d_state), torch.empty(1, 1, d_state, 1)
    parts = triton_kernel._narrow(A, B)[-1] * 2 * d_state  # numbers of dB and dC for each position
    assert parts <= 3 * (3 * dim + 2 * d_state)  # of u, delta, z, B and C


@pytest.mark.parametrize("capability, runs", [((6, 1), False), ((7, 0), True), ((7, 5), True), ((9, 0), True)])
def test_runs_on_nvidia_gpus_from_capability_7_on(monkeypatch, capability, runs):
    assert not triton_math.available("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    assert triton_math.available("cuda") is runs
    monkeypatch.setattr(torch.version, "cuda", None)  # a GPU of AMD
    assert not triton_math.available("cuda")
