"""The stand-in for upstream's kernel, held against what the kernel's source says of arguments and results."""

import functools
import importlib
import importlib.machinery
import importlib.util
import os
import re
import sys
import warnings

import fake_wheels
import pytest
import scan_cases
import torch
import torch.nn.functional as F
from repository import ROOT, run_python
from scan_cases import error
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers.scan import mamba_ssm_kernel, mamba_ssm_shim, selective_scan

KERNEL = "selective_scan_cuda"
NEXT_RELEASE = """
import torch
from mamba_ssm.ops.selective_scan_interface import selective_scan_fn
from helpers.scan import mamba_ssm_kernel, mamba_ssm_shim, selective_scan

torch.cuda.is_available = lambda: True
u = torch.randn(2, 4, 9)
arguments = (u, u, -torch.rand(4, 3), torch.randn(2, 3, 9), torch.randn(2, 3, 9), torch.randn(4), u)
try:
    selective_scan_fn(*arguments)
except RuntimeError as error:
    print(mamba_ssm_kernel.available("cuda"), error)
mamba_ssm_shim.install()
expected = selective_scan(*arguments, backend="reference")
B, C = (form.unsqueeze(1) for form in arguments[3:5])  # as upstream hands them on
y = selective_scan_fn(*arguments[:3], B, C, *arguments[5:])
print(((y - expected).abs().max() / expected.abs().max()).item())
"""
fwd, bwd = (functools.partial(function, selective_scan) for function in (mamba_ssm_shim.fwd, mamba_ssm_shim.bwd))


def kernel_inputs(dtype=torch.float32, form="groups", length=9):
    """The arguments of fwd, in their order."""
    given = scan_cases.arguments(length, form, dtype=torch.float32, without=("initial_state",))
    given |= {name: given[name].to(dtype) for name in ("u", "delta", "z", *(["B", "C"] if form == "groups" else []))}
    return {**given, "delta_softplus": True}


def reference_scan(**given):
    given = {name: x.double() if torch.is_tensor(x) else x for name, x in given.items()}
    return selective_scan(**given, return_last_state=True, backend="reference")


@pytest.mark.parametrize("form", ["fixed", "groups"])
def test_what_fwd_returns(form):
    given = kernel_inputs(form=form)
    ungated, x = fwd(*{**given, "z": None}.values())
    out, x_too, out_z = fwd(*given.values())
    assert torch.equal(out, ungated) and torch.equal(x, x_too)
    assert error(out_z, out * F.silu(given["z"])) < 1e-6
    assert error(out_z, reference_scan(**given)[0]) < 1e-6


@pytest.mark.parametrize("form", ["fixed", "groups"])
@pytest.mark.parametrize("length, chunks", [(1, 1), (2048, 1), (2049, 2), (4100, 3)])
def test_what_x_holds(length, chunks, form):
    given = kernel_inputs(length=length, form=form)
    given["delta"] = given["delta"] - 9  # small steps, so that something is left of the start of a chunk
    out, x, _ = fwd(*given.values())
    assert x.shape == (2, 4, chunks, 6) and x.is_contiguous()
    for chunk in range(chunks):
        first = {k: v[..., : 2048 * (chunk + 1)] if torch.is_tensor(v) and v.dim() > 2 else v for k, v in given.items()}
        _, state = reference_scan(**first)
        steps = F.softplus(first["delta"] + first["delta_bias"].unsqueeze(-1)).double()
        decays = torch.exp(steps.unsqueeze(-1) * given["A"].unsqueeze(1)).prod(2)
        kept = x[:, :, chunk, 1::2]  # a fixed B is multiplied with on the way out
        assert error(kept * given["B"] if form == "fixed" else kept, state) < 1e-5
        assert error(x[:, :, chunk, 0::2], decays) < 1e-5
    assert error(out, reference_scan(**{**given, "z": None})[0]) < 1e-5


@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_bwd_returns(dtype, left_out):
    given = {name: None if name in left_out else x for name, x in kernel_inputs(dtype).items()}
    *tensors, softplus = given.values()
    out, x, *gated = fwd(*tensors, softplus)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    names = ["u", "delta", "A", "B", "C", "D", "delta_bias", *(["z"] if gated else [])]
    plain = bwd(*tensors, dout, x, out if gated else None, None, softplus, False)
    assert len(plain) == len(names)
    for name, grad in zip(names, plain, strict=True):
        assert (grad is None) == (given[name] is None), name
        assert grad is None or (grad.shape, grad.dtype) == (given[name].shape, given[name].dtype), name

    into = torch.empty_like(given["z"]) if gated else None
    again = bwd(*tensors, dout, x, out if gated else None, into, softplus, True)
    assert len(again) == len(names) + 1
    if gated:
        assert again[7] is into and torch.equal(into, plain[7])
        assert again[8].dtype == dtype and error(again[8], gated[0]) < torch.finfo(dtype).eps
        # What is said of the gate comes from the out that is handed in, and from nothing else.
        doubled = bwd(*tensors, dout, x, 2 * out, None, softplus, True)
        assert torch.equal(doubled[7], 2 * plain[7]) and torch.equal(doubled[0], plain[0])
    else:
        assert again[7] is None


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    given = kernel_inputs(dtype)
    out, x, out_z = fwd(*given.values())
    assert (out.dtype, x.dtype, out_z.dtype) == (dtype, torch.float32, dtype)
    y, last = reference_scan(**given)
    assert error(x[:, :, -1, 1::2], last) < 1e-5
    assert ((out_z.double() - y).abs() <= 0.501 * torch.finfo(dtype).eps * y.abs() + 1e-6).all()


@pytest.mark.parametrize(
    "name, change, said",
    [
        ("u", lambda x: x.double(), "u must be float32, float16 or bfloat16"),
        ("u", lambda x: x.to("meta"), "u must be on the CPU: this .* is a stand-in .*; got meta"),
        ("z", lambda x: x.to("meta"), "z must be on the CPU"),
        ("delta", lambda x: x.half(), "delta must be .*float32; got .*float16"),
        ("delta", lambda x: x[:1], r"delta must be \(2, 4, 9\), .* got \(1, 4, 9\)"),
        ("delta", lambda x: x.mT.contiguous().mT, "delta must have neighbors in its last dimension"),
        ("A", lambda x: x.half(), "A float32 or complex64"),
        ("B", lambda x: x.half(), "B must be .*float32; got .*float16"),
        ("C", lambda x: x[:, :1], r"C must be \(2, 2, 3, 9\)"),
        ("C", lambda x: x.mT.contiguous().mT, "C must have neighbors"),
        ("D", lambda x: x.half(), "D must be .*float32; got .*float16"),
        ("delta_bias", lambda x: x.repeat_interleave(2)[::2], "delta_bias must have neighbors"),
    ],
)
def test_the_stand_in_takes_no_more_than_the_kernel(name, change, said):
    given = kernel_inputs()
    given[name] = change(given[name])
    with pytest.raises(ValueError, match=said):
        fwd(*given.values())
    *tensors, softplus = given.values()
    with pytest.raises(ValueError, match=said):
        bwd(*tensors, tensors[0], None, tensors[0], None, softplus, False)


def test_the_stand_in_refuses_tensors_on_a_gpu():
    with FakeTensorMode():  # in name only, so no GPU is needed
        given = {name: torch.empty(x.shape, device="cuda") for name, x in kernel_inputs().items() if torch.is_tensor(x)}
        with pytest.raises(ValueError, match=r"u must be on the CPU: .* got cuda:0"):
            fwd(*given.values(), True)


def test_d_state_has_the_limit_of_the_kernel():
    u, A = torch.ones(1, 1, 1), -torch.ones(1, 257)
    with pytest.raises(ValueError, match=r"at most 256; got .* 257"):
        fwd(u, u, A, A, A, None, None, None, False)


@pytest.fixture
def importable(monkeypatch):
    """Forget the kernel's module, now and afterwards."""
    monkeypatch.setitem(sys.modules, KERNEL, None)
    del sys.modules[KERNEL]
    mamba_ssm_kernel._imports.cache_clear()
    yield
    mamba_ssm_kernel._imports.cache_clear()


@pytest.mark.skipif(bool(importlib.util.find_spec(KERNEL)), reason="mamba-ssm's kernel is installed")
def test_the_stand_in_announces_itself_once_and_is_known_for_what_it_is(importable, capfd):
    mamba_ssm_shim.install()
    assert capfd.readouterr().err == f"{KERNEL} is now a stand-in for the CPU, not upstream's CUDA kernel.\n"
    mamba_ssm_shim.install()
    assert capfd.readouterr().err == "", "once was enough"
    module = importlib.import_module(KERNEL)
    for text in (repr(module), module.__version__, module.__doc__):
        assert "stand-in for the CPU, not upstream's CUDA kernel" in text


@pytest.mark.skipif(bool(importlib.util.find_spec(KERNEL)), reason="mamba-ssm's kernel is installed")
def test_the_stand_in_is_not_taken_for_the_kernel(importable, monkeypatch):
    """Even where there is a GPU. A compiled module is."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setitem(sys.modules, "mamba_ssm.ops.selective_scan_interface", type(sys)("any"))
    mamba_ssm_shim.install()
    assert not mamba_ssm_kernel.available("cuda")
    compiled = type(sys)(KERNEL)
    loader = importlib.machinery.ExtensionFileLoader(KERNEL, f"{KERNEL}.so")
    compiled.__spec__ = importlib.machinery.ModuleSpec(KERNEL, loader)
    monkeypatch.setitem(sys.modules, KERNEL, compiled)
    assert mamba_ssm_kernel.available("cuda") and mamba_ssm_kernel.available(torch.device("cuda", 1))
    assert not mamba_ssm_kernel.available("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    mamba_ssm_kernel._imports.cache_clear()
    assert not mamba_ssm_kernel.available("cuda")


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
def test_upstreams_next_release_gets_the_stand_in_after_its_import(tmp_path):
    """It imports without its kernel, and raises at the first scan; ours goes on."""
    wheel = fake_wheels.wheel(tmp_path, "mamba_ssm-2.4-py3-none-any.whl", "LEFT_OUT")
    done = run_python("-W", "error::UserWarning", "-c", NEXT_RELEASE, PYTHONPATH=f"{wheel}{os.pathsep}{ROOT}")
    assert done.returncode == 0, done.stderr
    refused, differs = done.stdout.splitlines()
    assert refused.startswith("False selective_scan_cuda is not installed. To use Mamba-1")
    assert float(differs) < 1e-6
    assert done.stderr == f"{KERNEL} is now a stand-in for the CPU, not upstream's CUDA kernel.\n"
