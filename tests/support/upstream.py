"""Upstream's package ``mamba_ssm``, unmodified, for tests that have a process of their own.

There it calls our stand-in for its kernel, and where the CUDA kernel and a GPU are there, that. A process of their own,
because a module named ``selective_scan_cuda`` must not stay behind for other tests.
"""

import importlib
import importlib.util

import oracle
import own_process
import pytest
import torch
from scan_cases import arguments

from helpers.scan import mamba_ssm_kernel, mamba_ssm_shim

DEVICE = "cuda" if mamba_ssm_kernel.available("cuda") else "cpu"
BOUND = 1e-5 if DEVICE == "cpu" else 1e-4
on_the_stand_in = pytest.mark.skipif(DEVICE == "cuda", reason="the CUDA kernel is there, so there is no stand-in")

if importlib.util.find_spec("mamba_ssm") is None:
    pytest.skip("mamba-ssm is not installed: make install-mamba-ssm", allow_module_level=True)
if DEVICE == "cpu" and importlib.util.find_spec(mamba_ssm_kernel.KERNEL):
    pytest.skip("mamba-ssm's kernel is installed, and there is no GPU for it", allow_module_level=True)

mamba_simple = interface = generation = None  # where the tests are only collected
if own_process.inside():
    if DEVICE == "cpu":
        mamba_ssm_shim.install()
    names = ("modules.mamba_simple", "ops.selective_scan_interface", "utils.generation")
    mamba_simple, interface, generation = (importlib.import_module(f"mamba_ssm.{name}") for name in names)


def inputs(without=("initial_state",), **options):
    """Arguments in float32 of a scan that starts from nothing, as the kernel's does, on the kernel's device."""
    options = {"dtype": torch.float32, **options}
    return {name: x.to(DEVICE) for name, x in arguments(without=without, **options).items()}


class Oracle(torch.autograd.Function):
    """The float64 oracle and its hand-derived gradient, as a scan for the stand-in."""

    @staticmethod
    def forward(ctx, delta_softplus, names, *tensors):
        ctx.given = {name: x.double().numpy() for name, x in zip(names, tensors, strict=True)}
        ctx.given["delta_softplus"], ctx.dtypes = delta_softplus, [x.dtype for x in tensors]
        return tuple(torch.from_numpy(x).to(tensors[0].dtype) for x in oracle.selective_scan(**ctx.given))

    @staticmethod
    def backward(ctx, dy, dlast):
        grads = oracle.selective_scan_backward(dy.double().numpy(), dlast.double().numpy(), **ctx.given)
        return None, None, *(torch.from_numpy(g).to(dt) for g, dt in zip(grads.values(), ctx.dtypes, strict=True))


def by_the_oracle(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, softplus=False, return_last_state=False, *, initial_state=None
):
    given = dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias, initial_state=initial_state)
    given = {name: x for name, x in given.items() if x is not None}
    y, last = Oracle.apply(softplus, tuple(given), *given.values())
    return (y, last) if return_last_state else y


def stand_in(scan):
    """Let the stand-in compute on our own kernel, or on the oracle, and on the kernel again afterwards."""
    if DEVICE == "cuda":
        if scan == "oracle":
            pytest.skip("the CUDA kernel is there, so there is no stand-in")
        yield
    else:
        mamba_ssm_shim.install(**({"scan": by_the_oracle} if scan == "oracle" else {}))
        yield
        mamba_ssm_shim.install()
