"""What is compared: every way at hand to run a selective scan, the short convolution, and layers of equal width.

:func:`call` makes a contender from its name. Our own backends are always there; the public packages are optional. From
each package we take what it would use itself, and only the scan, so that all do the same work: bias, softplus,
recurrence, skip connection, gate.
"""

import contextlib
import functools
import importlib.util
import inspect
import sys
from types import ModuleType

import torch
import torch.nn.functional as F

from helpers import conv, layers
from helpers.benchmark import measure
from helpers.scan import selective_scan
from helpers.scan.mamba_ssm_kernel import KERNEL
from helpers.testing import scan_inputs, with_gradients
from helpers.threads import keep_freed_memory

DIM, D_STATE, D_MODEL = 128, 16, 64  # a block of width 64 has 128 channels
COMPILED = "transformers (compiled)"
COMPILING = 50  # seconds, measured: 12 to 50
# Temporaries, in tensors of the size of all states, forward and with backward: measured on a CPU, rounded up. Fused
# scans write no states to memory; of the public packages mambapy takes the most, because it pads to a power of two.
TEMPORARIES = {"mamba_ssm": (0, 0), "triton": (0, 0), "numba": (0, 0), "associative": (3, 9), "reference": (1, 5)}
MOST_TEMPORARIES = (7, 13)


def _imported(module, name, advice):
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise measure.NotRun(f"not installed: {advice}") from error


def _upstream():
    """``selective_scan_ref``, upstream's definition in PyTorch. To import it, a module of its kernel's name will do."""
    nameless = KERNEL not in sys.modules and not importlib.util.find_spec(KERNEL)
    if nameless:
        sys.modules[KERNEL] = ModuleType(KERNEL)
    try:
        return _imported("mamba_ssm.ops.selective_scan_interface", "selective_scan_ref", "make install-mamba-ssm")
    finally:
        if nameless:
            del sys.modules[KERNEL]


def _mambapy():
    """mamba.py's parallel scan, with what its block does around it."""
    block = _imported("mambapy.mamba", "MambaBlock", "pip install mambapy")

    def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        steps = F.softplus(delta.mT + delta_bias)
        y = block.selective_scan(None, u.mT, steps, A, B.mT, C.mT, D)  # it does not use the block
        return (y * F.silu(z.mT)).mT

    return scan


def _transformers():
    """transformers' scan in PyTorch, compiled: only then is it an associative scan and not a loop."""
    module, advice = "transformers.models.mamba.modeling_mamba", "pip install --upgrade transformers"
    scan = inspect.unwrap(_imported(module, "mamba_selective_scan", advice))  # its wrapper prefers mamba_ssm's kernel
    return functools.partial(torch.compile(scan, dynamic=False), use_associative_scan=True)


PUBLIC = {"selective_scan_ref": _upstream, "mambapy": _mambapy, COMPILED: _transformers}
CONVOLUTIONS = {f"convolution, {backend}": backend for backend in conv.BACKENDS}
LAYERS = {
    "Mamba block": layers.Mamba,
    "Mamba-2 block": functools.partial(layers.Mamba2, d_state=64),
    "Mamba-3 block": functools.partial(layers.Mamba3, d_state=64),
    "LSTM": layers.LSTM,
    "attention": layers.Attention,
}


def convolutions(device) -> list[str]:
    """Those of ``CONVOLUTIONS`` that run on ``device``."""
    inputs, found = convolution_inputs(1, 1, device, 8)[0], []
    for name, backend in CONVOLUTIONS.items():
        with contextlib.suppress(ValueError):
            conv.causal_conv1d(**inputs, activation="silu", backend=backend)
            found.append(name)
    return found


def convolution_inputs(batch, length, device, dim=DIM):
    """The arguments of the convolution by name, and a gradient of its output; sequences lie channels last."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=random).to(device)

    inputs = {"x": normal(batch, length, dim).mT, "weight": normal(dim, 4), "bias": normal(dim)}
    return {name: x.requires_grad_() for name, x in inputs.items()}, normal(batch, length, dim).mT


def exact_convolution(inputs, dy) -> list:
    """Output and gradients of the convolution and its SiLU in float64."""
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    function = functools.partial(conv.causal_conv1d, **exact, activation="silu", backend="reference")
    return with_gradients(function, exact, dy.double())


def call(length, *, name, batch, device, backward, dim=DIM):
    """Make a function without arguments that runs a scan, a convolution or a layer, and returns ``[y]``.

    Args:
        length, batch, device: of the sequences.
        name: one of ``helpers.scan.backends(device)``, of ``PUBLIC``, ``CONVOLUTIONS`` or ``LAYERS``.
        backward: whether the function also returns the gradients of all inputs, after ``y``.
        dim: channels of a scan or a convolution; layers are of width ``D_MODEL``.

    Raises:
        helpers.benchmark.measure.NotRun: if its package is not installed.
    """
    if name in LAYERS:
        torch.manual_seed(0)
        layer = LAYERS[name](D_MODEL).to(device)
        x, dy = (torch.randn(batch, length, D_MODEL, device=device) for _ in range(2))
        inputs = {"x": x.requires_grad_(), **dict(layer.named_parameters())}
        function = functools.partial(layer, x)
    elif name in CONVOLUTIONS:
        inputs, dy = convolution_inputs(batch, length, device, dim)
        options = {"activation": "silu", "backend": CONVOLUTIONS[name]}
        function = functools.partial(conv.causal_conv1d, *inputs.values(), **options)
    else:
        scan = PUBLIC[name]() if name in PUBLIC else functools.partial(selective_scan, backend=name)
        inputs, dy = scan_inputs(batch, length, device, dim)
        function = functools.partial(scan, *inputs.values(), delta_softplus=True)
    if backward:
        return functools.partial(with_gradients, function, inputs, dy)
    return torch.no_grad()(lambda: [function()])


def bytes_needed(name, batch, length, backward, dim=DIM) -> int:
    """About how much memory a scan takes in addition to its inputs. Of convolutions and layers it is not known: 0."""
    states = 0 if name in (*CONVOLUTIONS, *LAYERS) else TEMPORARIES.get(name, MOST_TEMPORARIES)[backward]
    return states * 4 * batch * length * dim * D_STATE


def peak_bytes(name, batch, length, device, threads) -> int | None:
    """Peak memory of one call, forward and backward, for a process of its own. ``None`` where it cannot be measured."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # for all, whether or not their kernels ask for it
    call(min(length, 256), name=name, batch=1, device=device, backward=True)()  # what is loaded or compiled only once
    return measure.peak_bytes(call(length, name=name, batch=batch, device=device, backward=True), device)
