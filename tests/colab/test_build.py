"""Compiling mamba-ssm: for one architecture, with a stand-in for pip and for the compiler."""

import os
import subprocess
import sys

import pytest
from fake_wheels import NO_GPU, gpu

from colab import build, install, nvcc, setup, steps

posix = pytest.mark.skipif(os.name != "posix", reason="needs the commands of a Unix system")


@posix
def test_one_architecture_and_a_line_for_each_file(tmp_path):
    real, compiled = tmp_path / "nvcc", tmp_path / "compiled"
    real.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/said\n')
    real.chmod(0o755)
    arguments = "-gencode arch=compute_80,code=sm_80 --generate-code=arch=compute_90,code=sm_90 -O3 -c a.cu -o a.o"
    environment = {"REAL_NVCC": str(real), "ONLY_ARCHITECTURE": "75", "COMPILED": str(compiled)}
    command = [sys.executable, build.WRAPPER, *arguments.split()]
    assert subprocess.run(command, env={**os.environ, **environment}).returncode == 0
    assert (tmp_path / "said").read_text() == "-O3 -c a.cu -o a.o -gencode arch=compute_75,code=sm_75\n"
    assert compiled.read_text() == "a.cu\n"
    assert nvcc.for_one(["-arch=sm_70", "x.cu"], "90") == ["x.cu", "-gencode", "arch=compute_90,code=sm_90"]


@posix
@pytest.mark.slow
@pytest.mark.parametrize("works", [True, False])
def test_a_build_is_asked_for_and_shows_where_it_is(command, monkeypatch, tmp_path, capsys, works):
    """With a stand-in for pip, which takes its time, compiles a file, and leaves a wheel."""
    command(gpu(), mamba_ssm={"float32": 1e-6}, triton={"float32": 1e-6})
    monkeypatch.setattr(setup, "ROOT", tmp_path)
    (tmp_path / "home" / "bin").mkdir(parents=True)
    (tmp_path / "home" / "bin" / "nvcc").write_text("")
    (tmp_path / "home" / "bin" / "nvcc").chmod(0o755)
    (tmp_path / "fake").mkdir()
    (tmp_path / "fake" / "pip.py").write_text(
        "import os, sys, time\n"
        "assert os.environ['ONLY_ARCHITECTURE'] == '75' and 'nvcc.py' in os.environ['PYTORCH_NVCC']\n"
        "open(os.environ['COMPILED'], 'a').write('a.cu\\n')\n"
        "time.sleep(2.5)\n"
        + (
            "open(os.path.join(sys.argv[sys.argv.index('--wheel-dir') + 1], 'mamba_ssm-1.whl'), 'w')\n"
            if works
            else "sys.exit('a.cu(3): error: no such thing')\n"
        )
    )
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "fake"))
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    monkeypatch.setattr(install, "install", lambda path, deadline: None)
    assert setup.main(["--build"]) == 0
    said = capsys.readouterr().out
    assert "\rCompiling for sm_75: 1 files, 0 min" in said
    if works:
        assert "Scan kernel: mamba_ssm 2.3.2.post1, compiled here\n" in said
    else:
        assert "the compilation failed: a.cu(3): error: no such thing." in said and "Scan kernel: triton" in said


def test_a_build_needs_a_gpu_and_a_compiler(tmp_path, monkeypatch):
    with pytest.raises(steps.Failed, match="no NVIDIA GPU"):
        build.build(gpu(**NO_GPU), tmp_path)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(steps.Failed, match="no CUDA compiler"):
        build.build(gpu(), tmp_path)
