"""``colab/setup.py`` without Colab and without a GPU: which kernel is taken, and what is said.

The machine is a fiction, a GPU whose device is the CPU. Wheels are fetched in ``test_installing_wheels.py``.
"""

import os

import pytest
from fake_wheels import NO_GPU, gpu

from colab import install, machine, setup, steps

posix = pytest.mark.skipif(os.name != "posix", reason="needs the commands of a Unix system")


def choose(here):
    return setup.choose(here, steps.Deadline(500))


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
