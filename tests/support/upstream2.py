"""Upstream's ``Mamba2`` and ``Mamba3``, unmodified, on a CPU, for tests that have a process of their own.

Their kernels are Triton's. Mamba-2's are replaced by what upstream keeps as references, in plain PyTorch; Mamba-3's,
which have none in the package, run in Triton's interpreter.
"""

import contextlib
import importlib
import importlib.util
import math

import own_process
import pytest
import torch
import torch.nn.functional as F

if importlib.util.find_spec("mamba_ssm") is None:
    pytest.skip("mamba-ssm is not installed: make install-mamba-ssm", allow_module_level=True)
triton = pytest.importorskip("triton")
tl = pytest.importorskip("triton.language")

mamba2 = mamba3 = ssd_combined = ssd_minimal = layernorm_gated = None  # where the tests are only collected
if own_process.inside():
    import upstream  # noqa: F401  which installs the stand-in for Mamba-1's kernel, without which nothing is imported

    names = "modules.mamba2", "modules.mamba3", "ops.triton.ssd_combined", "modules.ssd_minimal"
    mamba2, mamba3, ssd_combined, ssd_minimal = (importlib.import_module(f"mamba_ssm.{name}") for name in names)
    layernorm_gated = importlib.import_module("mamba_ssm.ops.triton.layernorm_gated")


def chunk_scan(
    x, dt, A, B, C, chunk_size, D=None, z=None, dt_bias=None, dt_softplus=False, dt_limit=(0.0, math.inf), **_
):
    """Upstream's ``ssd_minimal_discrete``, the paper's listing, with the arguments of the kernel and whole chunks.

    (Its other reference, ``ssd_chunk_scan_combined_ref``, takes differences of cumulative sums: gradients overflow.)
    """
    dt = dt if dt_bias is None else dt + dt_bias
    dt = (F.softplus(dt) if dt_softplus else dt).clamp(*dt_limit).unsqueeze(-1)
    each, length, missing = x.shape[2] // B.shape[2], x.shape[1], -x.shape[1] % chunk_size
    forms = (x * dt, dt * A[:, None], B.repeat_interleave(each, 2), C.repeat_interleave(each, 2))
    u, decay, B, C = (F.pad(form, (0, 0, 0, 0, 0, missing)) for form in forms)
    y = ssd_minimal.ssd_minimal_discrete(u, decay.squeeze(-1), B, C, chunk_size)[0][:, :length]
    y = y if D is None else y + (D if D.dim() == 2 else D.unsqueeze(-1)) * x
    return y if z is None else y * F.silu(z)


def norm(x, weight, bias, z=None, eps=1e-6, group_size=None, norm_before_gate=True, **_):
    """Upstream's ``rms_norm_ref`` with the arguments of the kernel."""
    return layernorm_gated.rms_norm_ref(x, weight, bias, z, eps, group_size, norm_before_gate)


@pytest.fixture
def references(monkeypatch):
    """Upstream's references in place of its kernels."""
    monkeypatch.setattr(mamba2, "mamba_chunk_scan_combined", chunk_scan)
    monkeypatch.setattr(mamba2, "selective_state_update", None)  # then its step is plain PyTorch
    monkeypatch.setattr(layernorm_gated, "rmsnorm_fn", norm)


@triton.jit
def cosine(x):
    return tl.cos(x)


@triton.jit
def sine(x):
    return tl.sin(x)


@triton.jit
def tanh(x):
    return 2 * tl.sigmoid(2 * x) - 1


@pytest.fixture
def interpreted(monkeypatch):
    """Upstream's Mamba-3 on its own kernels, in the interpreter and in float32.

    What only a GPU has is replaced: approximate functions, a current device, a choice of the fastest. And upstream's
    wrapper, which rounds its inputs to bfloat16, which the interpreter multiplies wrongly.
    """
    modules = {
        name: importlib.import_module(f"mamba_ssm.ops.triton.mamba3.{name}")
        for name in ("angle_dt", "mamba3_siso_fwd", "mamba3_siso_bwd", "utils")
    }
    for module in modules.values():
        for function, same in {"cos_approx": cosine, "sin_approx": sine, "tanh_approx": tanh}.items():
            monkeypatch.setattr(module, function, same, raising=False)
        for kernel in vars(module).values():
            if hasattr(kernel, "configs"):
                monkeypatch.setattr(kernel, "configs", kernel.configs[:1])
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())

    def combined(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, Angles, D, Z, chunk_size, **_):
        angles, _ = modules["angle_dt"].angle_dt_fwd(Angles, DT, chunk_size=chunk_size, return_output_state=True)
        forward = modules["mamba3_siso_fwd"].mamba3_siso_fwd
        return forward(Q, K, V, ADT, DT, Trap, Q_bias, K_bias, angles, D, Z, chunk_size=chunk_size)[0]

    monkeypatch.setattr(mamba3, "mamba3_siso_combined", combined)
