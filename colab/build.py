"""Compile upstream's source, on request: ``python colab/setup.py --build``.

Upstream compiles for every generation of GPUs, which takes half an hour and more. This compiles for the present one
alone: torch calls ``PYTORCH_NVCC`` in place of the CUDA compiler, and that is ``nvcc.py``, which replaces the
architectures on every command line and notes each compiled file, so that progress can be shown.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from colab import wheels
from colab.install import PACKAGE
from colab.machine import Machine
from colab.steps import ROOT, Failed

WRAPPER = Path(__file__).parent / "nvcc.py"
PATIENCE = 3600  # seconds


def build(machine: Machine, folder: Path) -> Path:
    """Compile for the present GPU, with a line that shows progress; return the wheel.

    Raises:
        colab.steps.Failed: if there is no GPU or no CUDA compiler, or the compilation fails or takes an hour.
    """
    home = Path(os.environ.get("CUDA_HOME", "/usr/local/cuda"))
    nvcc = shutil.which("nvcc", path=f"{home / 'bin'}{os.pathsep}{os.environ.get('PATH', '')}")
    if machine.capability is None or machine.cuda is None:
        raise Failed("there is no NVIDIA GPU to build for")
    if nvcc is None:
        raise Failed("there is no CUDA compiler, nvcc")
    architecture = "{}{}".format(*machine.capability)
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        compiled, log = Path(scratch, "compiled"), Path(scratch, "log")
        compiled.touch()
        environment = {
            **os.environ,
            "CUDA_HOME": str(Path(nvcc).resolve().parent.parent),
            "MAMBA_FORCE_BUILD": "TRUE",  # or it looks for a wheel
            "MAMBA_KEEP_CUDA_BUILD": "TRUE",  # newer sources compile the kernel only then
            "PYTORCH_NVCC": f"{sys.executable} {WRAPPER}",
            "REAL_NVCC": nvcc,
            "ONLY_ARCHITECTURE": architecture,
            "COMPILED": str(compiled),
        }
        requirement = f"{PACKAGE}=={wheels.table()['version']}"
        command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "--no-binary", PACKAGE]
        with open(log, "wb") as output:
            process = subprocess.Popen(
                [*command, "--wheel-dir", folder, requirement],
                env=environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                _watch(process, compiled, architecture)
            finally:
                if process.poll() is None:
                    os.killpg(process.pid, 9)
        if process.returncode:
            lines = log.read_text(errors="replace").strip().splitlines() or ["no output"]
            cause = next((line.strip() for line in lines if "error:" in line.lower()), lines[-1])
            raise Failed(f"the compilation failed: {cause[:200]}")
    made = sorted(folder.glob("mamba_ssm-*.whl"), key=lambda path: path.stat().st_mtime)
    if not made:
        raise Failed("the compilation left no wheel")
    return made[-1]


def _watch(process, compiled, architecture):
    began = time.monotonic()
    while process.poll() is None:
        minutes = (time.monotonic() - began) / 60
        if minutes * 60 > PATIENCE:
            raise Failed("the compilation took longer than an hour")
        files = len(compiled.read_text().splitlines())
        print(f"\rCompiling for sm_{architecture}: {files} files, {minutes:.0f} min ", end="", flush=True)
        time.sleep(1)
    print(flush=True)
