"""``colab/setup.py`` without Colab and without a GPU: what fits which machine, which kernel is taken, what is said.

The machine is a fiction, a GPU whose device is the CPU. The wheels are in ``test_colab_wheels.py``.
"""

import itertools
import os
import re
import subprocess
import sys
import time

import pytest
from made import NO_GPU, gpu

from colab import build, install, machine, nvcc, setup, steps, verify, wheels
from helpers import checkpoint, models

posix = pytest.mark.skipif(os.name != "posix", reason="needs the commands of a Unix system")
MADE_FOR = ("python", "torch", "cuda", "abi", "processor")


def choose(here=None, seconds=500):
    return setup.choose(here or gpu(), steps.Deadline(seconds))


# -------------------------------------------------------------------------------------------- what fits which machine


def test_the_table_is_well_formed():
    table = wheels.table()
    assert re.fullmatch(r"20\d\d-\d\d", table["checked"])
    release = r"mamba_ssm-[\w.]+\+cu\d\dtorch2\.\d+cxx11abi(TRUE|FALSE)-cp(3\d+)-cp\2-linux_(x86_64|aarch64)\.whl"
    listed = r"mamba_ssm-[\w.]+\+cu\.\d\d\.\d\.torch\.2\.\d+-cp(3\d+)-cp\1-\*linux\*_(x86_64|aarch64)\.whl"
    for entry in table["wheels"]:
        assert set(entry) - {"address", "index"} == {"source", "name", "sha256", *MADE_FOR}
        assert ("address" in entry) != ("index" in entry)
        assert (entry.get("address") or entry["index"]).startswith("https://")
        for values in itertools.product(*(entry[key] for key in MADE_FOR)):
            name = entry["name"].format(version=table["version"], **dict(zip(MADE_FOR, values, strict=True)))
            assert re.fullmatch(release if "address" in entry else listed, name), name
        assert all(re.fullmatch("[0-9a-f]{64}", hash) for hash in (entry["sha256"] or {}).values())


@pytest.mark.parametrize(
    "here, expected",
    [
        # Colab's runtime 2026.04: the release wheel fits exactly.
        ({"python": "3.12.13", "torch": "2.10.0+cu128"}, ["cu12torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"]),
        # 2026.07 and 2026.08: no release for torch 2.11, but a prebuilt one, and an older one that is said to work.
        (
            {"python": "3.13.15", "torch": "2.11.0+cu128"},
            ["cu.12.8.torch.2.11-cp313-cp313-*linux*_x86_64", "cu12torch2.10cxx11abiTRUE-cp313-cp313-linux_x86_64"],
        ),
        (
            {"python": "3.12.1", "torch": "2.12.1+cu130", "cuda": "13.0"},
            ["cu13torch2.10cxx11abiTRUE-cp312-cp312-linux_x86_64"],
        ),
        (
            {"python": "3.10.1", "torch": "2.6.0", "cuda": "11.8", "abi": False, "processor": "aarch64"},
            ["cu11torch2.6cxx11abiFALSE-cp310-cp310-linux_aarch64"],
        ),
        ({"python": "3.9.1"}, []),
        ({"python": "3.12.1", "torch": "2.15.0+cu132", "cuda": "13.2"}, []),
        ({"cuda": None}, []),
        ({"system": "Windows"}, []),
        (NO_GPU, []),
    ],
)
def test_which_wheels_fit(here, expected):
    assert [wheel.name for wheel in wheels.fitting(gpu(**{"processor": "x86_64", **here}))] == [
        f"mamba_ssm-2.3.2.post1+{n}.whl" for n in expected
    ]


@pytest.mark.parametrize(
    "capability, dtypes, line",
    [
        ((7, 5), ["float32"], "Tesla T4, compute capability 7.5, 16 GB; float32 only, it has no bfloat16"),
        ((8, 0), ["float32", "bfloat16"], "NVIDIA A100, compute capability 8.0, 16 GB"),
        ((9, 0), ["float32", "bfloat16"], "NVIDIA H100, compute capability 9.0, 16 GB"),
    ],
)
def test_what_a_capability_means(monkeypatch, capability, dtypes, line):
    """Asked of torch, which is made to say that there is such a GPU."""
    import torch

    from helpers import benchmark, runs
    from helpers.scan import triton_kernel

    properties = type("Properties", (), {"total_memory": 15.8e9})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: capability)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda device: properties)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device=None: gpu(capability).gpu)
    monkeypatch.setattr(torch.version, "cuda", "12.8")
    monkeypatch.setattr("helpers.scan.backends", lambda device: ["triton", "associative", "reference"])
    here = machine.describe()
    assert (here.device, here.capability, here.dtypes()) == ("cuda", capability, dtypes)
    assert str(here).splitlines()[1] == f"GPU:         {line}"
    assert machine.device().type == "cuda" and triton_kernel.available("cuda")
    if capability < (8, 0):
        assert runs.faster_in_bfloat16(torch.device("cuda")) is False, "whatever is measured"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device=None: (6, 1))
    assert not triton_kernel.available("cuda")


# --------------------------------------------------------------------------------------------------- our own kernels


@pytest.fixture
def answers(monkeypatch):
    """What each backend's proof answers: errors, or a failure to raise."""

    def make(**given):
        def answer(backend, *arguments):
            if isinstance(given[backend], Exception):
                raise given[backend]
            return given[backend]

        monkeypatch.setattr(verify, "verify", answer)
        monkeypatch.setattr(install, "present", lambda: False)

    return make


def test_own_kernels_in_their_order(answers, capsys):
    right, wrong, late = {"float32": 1e-6}, steps.Failed("it is wrong"), steps.TooSlow("it took longer than 40 s")
    answers(triton=right, numba=right, associative=right)
    assert choose(gpu(torch="2.15"))[::3] == ("triton", ())
    assert choose(gpu(**NO_GPU))[::3] == ("numba", ())
    answers(triton=wrong, numba=wrong, associative=right)
    assert choose(gpu(torch="2.15"))[::3] == ("associative", ("triton",))
    assert choose(gpu(**NO_GPU))[::3] == ("associative", ("numba",))
    assert capsys.readouterr().out.count("it is wrong.\n") == 2
    answers(triton=late)
    assert choose(gpu(torch="2.15"))[::2] == ("triton", {}), "with the time over it is Triton, and nothing is claimed"
    answers(triton=wrong, associative=wrong, reference=wrong)
    with pytest.raises(steps.Failed, match="no scan is right here"):
        choose(gpu(torch="2.15"))


@pytest.fixture
def scan(monkeypatch):
    """``helpers.scan`` where every backend says that it runs, and what is left out is read anew."""
    from helpers import scan
    from helpers.scan import triton_kernel

    monkeypatch.setattr(scan.mamba_ssm_kernel, "available", lambda device: True)
    monkeypatch.setattr(triton_kernel, "available", lambda device: True)
    monkeypatch.setattr(scan, "_numba_works", lambda: True)

    def forget():
        scan._without.cache_clear()
        scan._runs.cache_clear()

    forget()
    yield scan
    forget()


@pytest.mark.parametrize("name", ["mamba_ssm", "triton", "numba"])
def test_what_is_left_out_is_not_chosen(scan, monkeypatch, name):
    monkeypatch.setenv("SCAN_WITHOUT", f"{name}, ")
    assert {*scan.backends("cuda"), *scan.backends("cpu")} == set(scan.BACKENDS) - {name}


def test_a_misspelt_backend_is_refused(scan, monkeypatch):
    monkeypatch.setenv("SCAN_WITHOUT", "tritn")
    with pytest.raises(ValueError, match="SCAN_WITHOUT must name some of mamba_ssm, triton, numba, got 'tritn'"):
        scan.backends("cpu")


def test_the_proof_of_our_own_kernel_is_a_real_one():
    """On this machine, and a proof that fails when the kernel is wrong is in the tests of bad wheels."""
    here = machine.probe(steps.Deadline(200))
    assert here.backends and (here.gpu is None) == (here.device == "cpu")
    errors = verify.verify(here.backends[0], here.device, here.dtypes(), steps.Deadline(200))
    assert list(errors) == here.dtypes() and errors["float32"] < 1e-5
    with pytest.raises(steps.Failed, match="ModuleNotFoundError: No module named 'selective_scan_cuda'"):
        verify.verify("mamba_ssm", here.device, ["float32"], steps.Deadline(200))


# --------------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def command(answers, monkeypatch):
    """``main`` on a machine made to measure, after whose Python part nobody asks."""

    def make(here, **given):
        answers(**given)
        monkeypatch.setattr(machine, "probe", lambda deadline: here)
        monkeypatch.setattr(setup.python_part, "ready", lambda: "Its Python part is there.")
        monkeypatch.delenv("SCAN_WITHOUT", raising=False)

    return make


def test_four_lines(command, capsys, monkeypatch):
    command(gpu(torch="2.15.0+cu132", cuda="13.2"), triton={"float32": 3e-7})
    monkeypatch.setenv("COLAB_RELEASE_TAG", "release-colab-7")
    monkeypatch.setattr(install, "missing", lambda requirements: [])
    for _ in range(2):  # safe to run twice
        assert setup.main([]) == 0
        assert capsys.readouterr().out.splitlines() == [
            f"Runtime:     Colab release-colab-7, Python {gpu().python}, torch 2.15.0+cu132",
            "GPU:         Tesla T4, compute capability 7.5, 16 GB; float32 only, it has no bfloat16",
            "Scan kernel: triton, the tutorial's own kernel for GPUs",
            "Verified:    forward and backward equal the reference, float32 differs by 3e-07",
        ]
    assert "SCAN_WITHOUT" not in os.environ


def test_a_cpu_runtime(command, capsys):
    command(gpu(**NO_GPU), numba={"float32": 3e-7})
    assert setup.main([]) == 0
    said = capsys.readouterr().out.splitlines()
    assert said[1:3] == ["GPU:         none", "Scan kernel: numba, the tutorial's own kernel for CPUs"]
    assert said[4:] == ["Its Python part is there."], "elsewhere than on Colab"


def test_what_could_not_be_removed_is_left_out(command, capsys):
    command(gpu(torch="2.15"), triton=steps.Failed("it crashed (SIGSEGV)"), associative={"float32": 1e-6})
    assert setup.main([]) == 0
    assert os.environ.pop("SCAN_WITHOUT") == "triton"
    assert "Not used: triton, the tutorial's own kernel for GPUs: it crashed (SIGSEGV).\n" in capsys.readouterr().out


def test_what_was_left_out_is_tried_again(command, monkeypatch):
    command(gpu(torch="2.15"), triton={"float32": 1e-6})
    monkeypatch.setenv("SCAN_WITHOUT", "triton")
    assert setup.main([]) == 0 and "SCAN_WITHOUT" not in os.environ


def test_torch_that_does_not_import(command, capsys, monkeypatch):
    def fails(deadline):
        raise steps.Failed("No module named 'torch'")

    monkeypatch.setattr(machine, "probe", fails)
    assert setup.main([]) == 1
    assert "torch cannot be used here: No module named 'torch'. The pages need it." in capsys.readouterr().out


@posix
def test_what_colab_lacks_is_named_if_it_cannot_be_had(command, capsys, monkeypatch):
    command(gpu(torch="2.15"), triton={"float32": 1e-6})
    monkeypatch.setenv("COLAB_RELEASE_TAG", "")
    monkeypatch.setattr(install, "missing", lambda requirements: ["lightning-fabric>=2.5"])
    monkeypatch.setattr(install, "add", lambda needs, deadline: steps.run(["false"], deadline, 9))
    assert setup.main([]) == 0
    said = capsys.readouterr().out
    assert "Missing: lightning-fabric>=2.5 could not be installed: exit status 1. Run this cell again" in said


@posix
def test_a_step_that_hangs_is_ended_with_all_that_it_started(tmp_path):
    code = (
        f"import os, subprocess; open({str(tmp_path / 'id')!r}, 'w').write(str(subprocess.Popen(['sleep', '99']).pid))"
    )
    code += "; import time; time.sleep(99)"
    began = time.monotonic()
    with pytest.raises(steps.TooSlow, match="it took longer than 3 s"):
        steps.run(steps.python("-c", code, tmp_path / "id"), steps.Deadline(100), 3)
    assert time.monotonic() - began < 20
    child = (tmp_path / "id").read_text()
    state = subprocess.run(["ps", "-o", "stat=", "-p", child], capture_output=True, text=True).stdout.strip()
    assert state == "" or state.startswith("Z"), "gone, or dead and not yet buried"
    with pytest.raises(steps.TooSlow, match="no time was left for it"):
        steps.run(["true"], steps.Deadline(-1), 3)


# ----------------------------------------------------------------------------------------------------------- compiling


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


# ---------------------------------------------------------------------------------------------------------- the report


def test_report(monkeypatch, capsys):
    """All of it, at a small size. The proofs are canned: they are made above."""
    from colab import report

    def answer(backend, *arguments):
        if backend == "associative":
            raise steps.Failed("it is wrong")
        return {"float32": 3e-7, "bfloat16": 2e-3}

    monkeypatch.setattr(verify, "verify", answer)
    monkeypatch.setattr(machine, "probe", lambda deadline: gpu(**NO_GPU))
    monkeypatch.setattr(setup, "main", lambda arguments: print("Scan kernel: numba"))
    monkeypatch.setattr(report.benchmark, "device", lambda: report.torch.device("cpu"))
    timings = report.timings
    monkeypatch.setattr(report, "timings", lambda names, device: timings(names, device, batch=1, length=20))
    assert report.main(["--images", "50"]) == 0
    said = capsys.readouterr().out
    assert f"torch {report.torch.__version__}" in said and "```\nScan kernel: numba\n```" in said
    assert re.search(r"\| numba +\| +3e-07 \| +2e-03 \| +\|", said)
    assert re.search(r"\| associative +\| +- \| +- \| it is wrong +\|", said)
    timed = said.partition("batch 1, length 20")[2]
    assert re.search(r"\| numba +\| +[\d.]+ \| +[\d.]+ \|", timed) and "associative" not in timed
    record = checkpoint.read_record("smnist", models.CHECKPOINTS)["test_accuracy"]
    assert re.search(rf"smnist: \d+\.\d\d% .*50 digits\), in .*; its record says {record:.2%} of all\.\n$", said)
