"""What is compared: every way at hand to run a selective scan, and the layers that do the work of a Mamba block.

A contender is made by its name. Our own backends are always there; the public packages are optional. From each of them
comes what it would itself use, and of that the scan alone, so that all do the same work: bias, softplus, recurrence,
skip connection, gate.
"""

import functools
import importlib.metadata
import importlib.util
import inspect
import sys
from types import ModuleType

import torch
import torch.nn.functional as F

from helpers import layers
from helpers.benchmark import measure
from helpers.scan import selective_scan
from helpers.scan.mamba_ssm_kernel import KERNEL
from helpers.testing import scan_inputs, with_gradients
from helpers.threads import keep_freed_memory

DIM, D_STATE, D_MODEL = 128, 16, 64  # a block of width 64 has 128 channels
FUSED = ("mamba_ssm", "triton", "numba")  # backends that do not write all states to memory
COMPILED = "transformers (compiled)"
COMPILING = 50  # seconds, measured: 12 to 50
# How many tensors of the size of all its states a scan holds at once, forward and with backward: measured on a CPU,
# rounded up. The fused ones hold none; of the public ones mambapy holds the most, because it works on a power of two.
STATES_HELD = {**dict.fromkeys(FUSED, (0, 0)), "associative": (3, 9), "reference": (1, 5)}
MOST_STATES_HELD = (7, 13)


class NotInstalled(Exception):
    """A contender cannot be made on this machine; the message says what to do about it."""


class Computation:
    """A function with inputs of its own, to be run as often as one likes.

    Args:
        function: called without arguments, returns the output.
        inputs: ``{name: tensor}``, all that the output depends on.
        dy: the gradient of the output, in its shape.
    """

    def __init__(self, function, inputs, dy):
        self.function, self.inputs, self.dy = function, inputs, dy

    def forward(self) -> list:
        """The output, in a list."""
        with torch.no_grad():
            return [self.function()]

    def both(self) -> list:
        """The output, and then the gradients of the inputs in their order."""
        return with_gradients(self.function, self.inputs, self.dy)


# --- public packages -------------------------------------------------------------------------------------------------


def _installed(package, advice):
    if not importlib.util.find_spec(package):
        raise NotInstalled(f"not installed: {advice}")


def _upstream():
    """``selective_scan_ref``, upstream's own definition in PyTorch. To import it, its kernel need only have a name."""
    _installed("mamba_ssm", "make mamba-ssm")
    nameless = KERNEL not in sys.modules and not importlib.util.find_spec(KERNEL)
    if nameless:
        sys.modules[KERNEL] = ModuleType(KERNEL)
    try:
        from mamba_ssm.ops.selective_scan_interface import selective_scan_ref
    finally:
        if nameless:
            del sys.modules[KERNEL]
    return selective_scan_ref


def _mambapy():
    """mamba.py's parallel scan, with what its block does around it."""
    _installed("mambapy", "pip install mambapy")
    from mambapy.mamba import MambaBlock

    def scan(u, delta, A, B, C, D, z, delta_bias, delta_softplus):
        steps = F.softplus(delta.mT + delta_bias)
        y = MambaBlock.selective_scan(None, u.mT, steps, A, B.mT, C.mT, D)  # it does not look at the block
        return (y * F.silu(z.mT)).mT

    return scan


def _transformers():
    """transformers' scan in PyTorch, compiled: only then it is an associative scan and not a loop."""
    _installed("transformers", "pip install transformers")
    from transformers.models.mamba import modeling_mamba

    # Unwrapped: the wrapper would call mamba_ssm's kernel where there is one.
    scan = inspect.unwrap(getattr(modeling_mamba, "mamba_selective_scan", None) or (lambda: None))
    if "use_associative_scan" not in inspect.signature(scan).parameters:
        version = importlib.metadata.version("transformers")
        raise NotInstalled(f"transformers {version} has no associative scan: pip install --upgrade transformers")
    compiled = torch.compile(scan, dynamic=False)
    return functools.partial(compiled, use_associative_scan=True)


PUBLIC = {"selective_scan_ref": _upstream, "mambapy": _mambapy, COMPILED: _transformers}


def scan_computation(name, batch, length, device, dim=DIM) -> Computation:
    """A scan: one of ``helpers.scan.backends(device)`` or of ``PUBLIC``.

    Raises:
        NotInstalled: if its package is not installed.
    """
    inputs, dy = scan_inputs(batch, length, device, dim, D_STATE)
    scan = PUBLIC[name]() if name in PUBLIC else selective_scan
    chosen = {} if name in PUBLIC else {"backend": name}
    return Computation(lambda: scan(*inputs.values(), delta_softplus=True, **chosen), inputs, dy)


# --- layers ----------------------------------------------------------------------------------------------------------


LAYERS = {"Mamba block": layers.Mamba, "LSTM": layers.LSTM, "attention": layers.Attention}


def layer_computation(name, batch, length, device) -> Computation:
    """A layer of ``LAYERS``; its inputs are the sequence and its weights."""
    torch.manual_seed(0)
    layer = LAYERS[name](D_MODEL).to(device)
    x = torch.randn(batch, length, D_MODEL, device=device, requires_grad=True)
    dy = torch.randn(batch, length, D_MODEL, device=device)
    return Computation(lambda: layer(x), {"x": x, **dict(layer.named_parameters())}, dy)


def call(length, *, name, batch, device, backward, dim=DIM):
    """A scan or a layer by its name, as a function without arguments that runs it forward, or also backward."""
    if name in LAYERS:
        work = layer_computation(name, batch, length, device)
    else:
        work = scan_computation(name, batch, length, device, dim)
    return work.both if backward else work.forward


def bytes_held(name, batch, length, backward, dim=DIM) -> int:
    """About how much memory a scan takes beside its inputs. Layers are not known: 0."""
    states = 0 if name in LAYERS else STATES_HELD.get(name, MOST_STATES_HELD)[backward]
    return states * 4 * batch * length * dim * D_STATE


def cost(name, batch, length, device, threads):
    """Of one call, forward and backward: the peak of memory in bytes (or None), and the bytes of the inputs."""
    torch.set_num_threads(threads)
    keep_freed_memory()  # the same for all, whether their kernels ask for it or not
    call(min(length, 256), name=name, batch=1, device=device, backward=True)()  # what is loaded or compiled only once
    both = call(length, name=name, batch=batch, device=device, backward=True)
    return measure.peak_bytes(both, device), sum(x.nbytes for x in both.__self__.inputs.values())
