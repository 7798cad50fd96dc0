"""Upstream's kernel behind our interface, our scan behind upstream's, and the oracle's gradient that judges both."""

import importlib.machinery
import importlib.util
import os
import re
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import oracle
import pytest
import torch
from test_scan import arguments

from helpers.scan import mamba_ssm_kernel, mamba_ssm_shim

KERNEL = "selective_scan_cuda"
TESTS = Path(__file__).parent


@pytest.mark.parametrize("file, environment", [("upstream.py", {}), ("upstream_step.py", {"TRITON_INTERPRET": "1"})])
@pytest.mark.skipif(not importlib.util.find_spec("mamba_ssm"), reason="mamba-ssm is not installed: make mamba-ssm")
@pytest.mark.skipif(
    bool(importlib.util.find_spec(KERNEL)) and not mamba_ssm_kernel.available("cuda"),
    reason="mamba-ssm's kernel is installed, and there is no GPU for it",
)
def test_upstream(file, environment):
    """All of a file, in a process that may keep what was put in place of upstream's kernel."""
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", TESTS / file]
    run = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr
    print(run.stdout)


@pytest.mark.parametrize("delta_softplus", [True, False])
@pytest.mark.parametrize("form", ["fixed", "varying", "groups"])
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias", "initial_state"), ("D", "z", "initial_state")])
def test_the_oracles_gradient_is_that_of_the_oracle(form, left_out, delta_softplus):
    """Central differences in float64: their own error is about 1e-9."""
    given = {k: x.numpy() for k, x in arguments(length=4, form=form).items() if k not in left_out}
    y, last = oracle.selective_scan(**given, delta_softplus=delta_softplus)
    rng = np.random.default_rng(0)
    dy, dlast = rng.normal(size=y.shape), rng.normal(size=last.shape)

    def total():
        y, last = oracle.selective_scan(**given, delta_softplus=delta_softplus)
        return (dy * y).sum() + (dlast * last).sum()

    found = oracle.selective_scan_backward(dy, dlast, **given, delta_softplus=delta_softplus)
    assert found.keys() == given.keys()
    for name, x in given.items():
        expected = np.zeros(x.shape)
        for at in np.ndindex(x.shape):
            value, sides = x[at], []
            for side in (1e-5, -1e-5):
                x[at] = value + side
                sides.append(total())
            x[at] = value
            expected[at] = (sides[0] - sides[1]) / 2e-5
        assert abs(found[name] - expected).max() / abs(expected).max() < 1e-7, name


@pytest.mark.parametrize(
    "change, said",
    [
        ({"u": torch.zeros(2, 4, 9, dtype=torch.float64)}, "u must be float32, float16 or bfloat16 .* torch.float64"),
        ({"u": torch.zeros(2, 4, 9, dtype=torch.int64)}, "u must be float32, .* got torch.int64"),
        ({"u": torch.zeros(0, 4, 9)}, r"u must be .* 1 <= batch .* got \(0, 4, 9\)"),
        ({"u": torch.zeros(2, 65536, 9, device="meta")}, r"u must be .* dim <= 65535 .* got \(2, 65536, 9\)"),
        ({"u": torch.zeros(2**17, 2**12, 2049, device="meta")}, r"u must be smaller .* makes 3221225472 numbers"),
        ({"A": torch.zeros(4, 3, dtype=torch.complex64)}, "A must be real .* got torch.complex64"),
        ({"A": torch.zeros(4, 257)}, r"A must be .* d_state <= 256 .* got \(4, 257\)"),
        ({"A": torch.zeros(4, 0)}, r"A must be .* 1 <= d_state .* got \(4, 0\)"),
        ({"initial_state": torch.zeros(2, 4, 3)}, r"initial_state must be None .* got \(2, 4, 3\)"),
    ],
)
def test_what_the_kernel_has_no_answer_for_is_refused(change, said):
    given = arguments(dtype=torch.float32) | {"initial_state": None}
    assert mamba_ssm_kernel.refusal(given["u"], given["A"], None) is None
    assert mamba_ssm_kernel.refusal(torch.zeros(2**17, 2**12, 2048, device="meta"), given["A"]) is None, "just small enough"
    with pytest.raises(ValueError, match=said):
        mamba_ssm_kernel.scan(**(given | change))


@pytest.fixture
def importable(monkeypatch):
    """Forget the kernel's module, now and afterwards."""
    monkeypatch.setitem(sys.modules, KERNEL, None)
    del sys.modules[KERNEL]
    mamba_ssm_kernel._imports.cache_clear()
    yield
    mamba_ssm_kernel._imports.cache_clear()


@pytest.mark.skipif(mamba_ssm_kernel.available("cuda"), reason="mamba-ssm's kernel is here")
def test_without_a_gpu_or_a_kernel_it_is_not_available(importable):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not mamba_ssm_kernel.available("cuda") and not mamba_ssm_kernel.available("cpu")
        assert not mamba_ssm_kernel.available(torch.device("meta"))


def test_a_broken_kernel_is_warned_of_once_and_not_shadowed(importable, monkeypatch, tmp_path):
    file = tmp_path / (KERNEL + importlib.machinery.EXTENSION_SUFFIXES[0])
    file.write_bytes(b"not a library")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.warns(UserWarning, match="mamba-ssm is installed but does not import"):
        assert not mamba_ssm_kernel.available("cuda")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not mamba_ssm_kernel.available("cuda") and not mamba_ssm_kernel.available("cpu")
    with pytest.raises(RuntimeError, match=re.escape(f"leaves the {KERNEL} that is already here ({file})")):
        mamba_ssm_shim.install()
    assert KERNEL not in sys.modules


def test_a_kernel_in_memory_is_not_shadowed(importable, monkeypatch):
    other = type(sys)(KERNEL)
    monkeypatch.setitem(sys.modules, KERNEL, other)
    assert not mamba_ssm_kernel.available("cuda")
    with pytest.raises(RuntimeError, match=r"already here \(no file\)"):
        mamba_ssm_shim.install()
    assert sys.modules[KERNEL] is other


@pytest.mark.skipif(bool(importlib.util.find_spec(KERNEL)), reason="mamba-ssm's kernel is installed")
def test_the_stand_in_announces_itself_once(importable, capfd):
    mamba_ssm_shim.install()
    assert capfd.readouterr().err == f"{KERNEL} is now a stand-in for the CPU, not upstream's CUDA kernel.\n"
    mamba_ssm_shim.install()
    assert capfd.readouterr().err == ""
    assert sys.modules[KERNEL] is importlib.import_module(KERNEL)
    assert not mamba_ssm_kernel.available("cuda")
