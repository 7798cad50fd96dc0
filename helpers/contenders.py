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
from torch import nn

from helpers import measure
from helpers.mamba import Mamba
from helpers.scan import backends, selective_scan
from helpers.scan.official import KERNEL

DIM, D_STATE, D_MODEL = 128, 16, 64  # a block of width 64 has 128 channels
FUSED = ("mamba_ssm", "triton", "numba")  # backends that do not write all states to memory
COMPILED = "transformers (compiled)"
COMPILING = 50  # seconds, measured: 12 to 50
# How many tensors of the size of all its states a scan holds at once, forward and with backward: measured on a CPU,
# rounded up. The fused ones hold none; of the public ones mambapy holds the most, because it works on a power of two.
STATES_HELD = {**dict.fromkeys(FUSED, (0, 0)), "associative": (3, 9), "reference": (1, 5)}
MOST_STATES_HELD = (7, 13)


class NotHere(Exception):
    """A contender cannot be made on this machine; the message says what to do about it."""


class Work:
    """A computation with inputs of its own, to be run as often as one likes.

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
        y = self.function()
        return [y.detach(), *torch.autograd.grad(y, list(self.inputs.values()), self.dy)]


def scan_inputs(batch, length, device, dim=DIM, d_state=D_STATE):
    """The arguments of a scan by name, and a gradient of its output: float32, of the size they have in a new block.

    In memory the sequences are ``(batch, length, channels)``: this is how the projections of a block write them.
    """
    random = torch.Generator().manual_seed(0)

    def sequence(channels):
        return torch.randn(batch, length, channels, generator=random).to(device).mT

    inputs = {
        "u": sequence(dim),
        "delta": sequence(dim),
        "A": -torch.arange(1.0, d_state + 1, device=device).repeat(dim, 1),
        "B": sequence(d_state),
        "C": sequence(d_state),
        "D": torch.ones(dim, device=device),
        "z": sequence(dim),
        "delta_bias": torch.full((dim,), -4.0, device=device),  # steps of about 0.02
    }
    return {name: x.requires_grad_() for name, x in inputs.items()}, sequence(dim)


def expected(inputs, dy) -> list:
    """What :meth:`Work.both` should give for a scan: our reference in float64, a sequence at a time to save memory."""
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    ys = []
    for one in range(len(dy)):
        part = {name: x[one : one + 1] if x.dim() == 3 else x for name, x in exact.items()}
        y = selective_scan(**part, delta_softplus=True, backend="reference")
        y.backward(dy[one : one + 1].double())
        ys.append(y.detach())
    return [torch.cat(ys), *(x.grad for x in exact.values())]


# --- public packages -------------------------------------------------------------------------------------------------


def _installed(package, advice):
    if not importlib.util.find_spec(package):
        raise NotHere(f"not installed: {advice}")


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
        raise NotHere(f"transformers {version} has no associative scan: pip install --upgrade transformers")
    compiled = torch.compile(scan, dynamic=False)
    return functools.partial(compiled, use_associative_scan=True)


PUBLIC = {"selective_scan_ref": _upstream, "mambapy": _mambapy, COMPILED: _transformers}


def scan_work(name, batch, length, device, dim=DIM, d_state=D_STATE) -> Work:
    """A scan: one of ``helpers.scan.backends(device)`` or of ``PUBLIC``.

    Raises:
        NotHere: if its package is not installed.
    """
    inputs, dy = scan_inputs(batch, length, device, dim, d_state)
    scan = PUBLIC[name]() if name in PUBLIC else selective_scan
    chosen = {} if name in PUBLIC else {"backend": name}
    return Work(lambda: scan(*inputs.values(), delta_softplus=True, **chosen), inputs, dy)


# --- layers ----------------------------------------------------------------------------------------------------------


class Attention(nn.Module):
    """Causal attention with its projections, ``(batch, length, d_model)`` to the same: heads as wide as the model."""

    def __init__(self, d_model=D_MODEL, heads=4):
        super().__init__()
        self.heads = heads
        self.in_proj = nn.Linear(d_model, 3 * heads * d_model, bias=False)
        self.out_proj = nn.Linear(heads * d_model, d_model, bias=False)

    def forward(self, x):
        q, k, v = self.in_proj(x).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (batch, heads, length, width)
        return self.out_proj(y.transpose(1, 2).flatten(2))


class Recurrent(nn.LSTM):
    """An LSTM with as many channels as a Mamba block: ``(batch, length, d_model)`` to ``(batch, length, DIM)``."""

    def __init__(self):
        super().__init__(D_MODEL, DIM, batch_first=True)

    def forward(self, x):
        return super().forward(x)[0]


LAYERS = {"Mamba block": lambda: Mamba(D_MODEL), "LSTM": Recurrent, "attention": Attention}


def layer_work(name, batch, length, device) -> Work:
    """A layer of ``LAYERS``; its inputs are the sequence and its weights."""
    torch.manual_seed(0)
    layer = LAYERS[name]().to(device)
    x = torch.randn(batch, length, D_MODEL, device=device, requires_grad=True)
    width = DIM if name == "LSTM" else D_MODEL
    dy = torch.randn(batch, length, width, device=device)
    return Work(lambda: layer(x), {"x": x, **dict(layer.named_parameters())}, dy)


def call(length, *, name, batch, device, backward, dim=DIM):
    """A scan or a layer by its name, as a function without arguments that runs it forward, or also backward."""
    if name in LAYERS:
        work = layer_work(name, batch, length, device)
    else:
        work = scan_work(name, batch, length, device, dim)
    return work.both if backward else work.forward


def bytes_held(name, batch, length, backward, dim=DIM) -> int:
    """About how much memory a scan takes beside its inputs. Layers are not known: 0."""
    states = 0 if name in LAYERS else STATES_HELD.get(name, MOST_STATES_HELD)[backward]
    return states * 4 * batch * length * dim * D_STATE


def cost(name, batch, length, device, threads):
    """Of one call, forward and backward: the peak of memory in bytes (or None), and the bytes of the inputs."""
    torch.set_num_threads(threads)
    backends(device)  # with the fused CPU scan comes how freed memory is kept: the same for all
    call(min(length, 256), name=name, batch=1, device=device, backward=True)()  # what is loaded or compiled only once
    both = call(length, name=name, batch=batch, device=device, backward=True)
    return measure.peak_bytes(both, device), sum(x.nbytes for x in both.__self__.inputs.values())


# --- nothing but exps ------------------------------------------------------------------------------------------------

SIZE = 4096  # floats that stay in a core's nearest cache


def polynomial_exps(rows, times):
    """Our own exp, ``times`` over each of ``rows`` buffers of ``SIZE`` floats: on all threads, and on one alone."""
    from numba import njit

    from helpers import cpu
    from helpers.cpu import LANES, exp2, load, store

    @njit(nogil=True, fastmath=cpu.CONTRACT)
    def kernel(first, last, times, x, y):
        for row in range(first, last):
            for _ in range(times):
                for i in range(row * SIZE, (row + 1) * SIZE, LANES):
                    store(y, i, exp2(load(x, i)))

    x = -torch.rand(rows * SIZE).numpy()
    y = x.copy()
    return lambda: cpu.run(kernel, rows, times, x, y), lambda: kernel(0, rows, times, x, y)


def torch_exps(times):
    """``torch.exp``, ``times`` over a buffer of ``SIZE`` floats, on one thread: for so few, more would only wait."""
    x, y = -torch.rand(SIZE), torch.empty(SIZE)

    def exps():
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        for _ in range(times):
            torch.exp(x, out=y)
        torch.set_num_threads(threads)

    return exps
