"""The selective scan fused on the CPU: how tensors become the arrays of its kernels, and its gradients autograd's.

The kernels are in :mod:`helpers.scan.numba_passes`, which has channels side by side, and, where there are fewer
channels than lanes, in :mod:`helpers.scan.numba_few_channels`, which has states side by side instead. Sequences are
(batch, dim, length) here, B and C (batch, groups, d_state, length or 1).
"""

import numpy as np
import torch
import torch.nn.functional as F

from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.scan import numba_few_channels, numba_passes, plain
from helpers.scan.numba_passes import BLOCK, LOG2E
from helpers.simd import LANES, array, tensor
from helpers.threads import parallel_for

STRIP = 16  # vectors of channels that a task computes at most, so that what it keeps of them stays in the cache
TASKS = 4  # at least, if there are vectors enough


class _Layout:
    """How the operator's tensors lie in the kernels' arrays, and which kernels they are."""

    def __init__(self, u, A, B, C):
        self.batch, self.dim, self.length = u.shape
        self.d_state = A.shape[1]
        self.groups = B.shape[1]
        self.width = self.dim // self.groups
        channels = -(-self.width // LANES) * LANES * self.d_state  # lanes that are computed, filled or not
        states = -(-self.d_state // LANES) * LANES * self.width
        varies = min(B.shape[3], C.shape[3]) == self.length
        self.by_channels = varies and channels <= numba_few_channels.COST * states
        self.kernels = numba_passes if self.by_channels else numba_few_channels
        self.more_channels = -self.width % LANES if self.by_channels else 0  # a group, to fill whole vectors
        self.more_states = -self.d_state % (2 if self.by_channels else LANES)
        channels, states = self.dim + self.groups * self.more_channels, self.d_state + self.more_states
        self.copies = (self.batch, -(-self.length // BLOCK), channels, states)
        # A task is a strip of channels of one group of one sequence. More strips are work for more threads, and more
        # to add up: each of them sums dB and dC over its own channels. How many there are depends on the shape alone,
        # since it decides the order of additions.
        self.strips = 1
        if self.by_channels:
            vectors, sequences = (self.width + self.more_channels) // LANES, max(1, self.batch * self.groups)
            self.strips = min(vectors, max(-(-TASKS // sequences), -(-vectors // STRIP)))
        self.tasks = self.batch * self.groups * self.strips

    def channels(self, x):
        """``(..., dim)``, every group filled up."""
        if self.more_channels:
            x = F.pad(x.unflatten(-1, (self.groups, self.width)), (0, self.more_channels)).flatten(-2)
        return array(x)

    def sequence(self, x):
        """``(batch, dim, length)`` as ``(batch, length, channels)``; in bfloat16 only where the kernel can read it."""
        return self.channels((x if self.by_channels or x.dtype != torch.bfloat16 else x.float()).mT)

    def states(self, x):
        """``(..., d_state)``, filled up."""
        return array(F.pad(x, (0, self.more_states)) if self.more_states else x)

    def per_channel(self, x):
        """``(..., dim, d_state)``, in the order of the kernel."""
        if not self.by_channels:
            return self.states(x)
        return self.channels((F.pad(x, (0, self.more_states)) if self.more_states else x).mT)

    def without_padding(self, x):
        """The inverse of :meth:`channels`."""
        x = tensor(x)
        if self.more_channels:
            x = x.unflatten(-1, (self.groups, -1))[..., : self.width].flatten(-2).contiguous()
        return x

    def per_channel_back(self, x):
        x = self.without_padding(x).mT if self.by_channels else torch.from_numpy(x)
        return x[..., : self.d_state].contiguous()

    def inputs(self, u, delta, A, B, C, D, z, delta_bias):
        zeros = A.new_zeros(self.dim)
        u = self.sequence(u)
        return (
            u,
            self.sequence(delta),
            self.per_channel(A * LOG2E),
            self.states(B.permute(0, 3, 1, 2)),
            self.states(C.permute(0, 3, 1, 2)),
            self.channels(zeros if D is None else D),
            u if z is None else self.sequence(z),
            self.channels(zeros if delta_bias is None else delta_bias),
        )


_OPTIONAL = torch.Tensor | None


@torch.library.custom_op("one_pixel::scan_numba", mutates_args=(), device_types="cpu")
def _scan(
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: _OPTIONAL,
    z: _OPTIONAL,
    delta_bias: _OPTIONAL,
    initial_state: _OPTIONAL,
    delta_softplus: bool,
    keep: bool,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """``y``, the last state, and, if they are to be kept for the backward pass, copies of the states."""
    layout = _Layout(u, A, B, C)
    inputs = layout.inputs(u, delta, A, B, C, D, z, delta_bias)
    if initial_state is None:
        initial_state = A.new_zeros(layout.batch, layout.dim, layout.d_state)
    initial = layout.per_channel(initial_state)
    batch, blocks, *state = layout.copies
    copies = np.empty((batch, blocks if keep else 0, *state), initial.dtype)
    y, final = np.empty_like(inputs[0]), np.empty_like(initial)
    tasks = layout.tasks if layout.by_channels else batch * layout.dim
    given = (*inputs, initial, delta_softplus, z is not None)
    parallel_for(layout.kernels.forward, tasks, layout.strips, *given, y, copies, final)
    return layout.without_padding(y).mT.to(u.dtype), layout.per_channel_back(final), torch.from_numpy(copies)


@_scan.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep):
    layout = _Layout(u, A, B, C)
    batch, blocks, *state = layout.copies
    return (
        u.new_empty(batch, layout.length, layout.dim).mT,
        A.new_empty(batch, layout.dim, layout.d_state),
        A.new_empty(batch, blocks if keep else 0, *state),
    )


@torch.library.custom_op("one_pixel::scan_numba_backward", mutates_args=(), device_types="cpu")
def _scan_backward(
    dy: torch.Tensor,
    dlast: torch.Tensor,
    u: torch.Tensor,
    delta: torch.Tensor,
    A: torch.Tensor,
    B: torch.Tensor,
    C: torch.Tensor,
    D: _OPTIONAL,
    z: _OPTIONAL,
    delta_bias: _OPTIONAL,
    initial_state: _OPTIONAL,
    delta_softplus: bool,
    copies: torch.Tensor,
) -> list[torch.Tensor]:
    """The gradients of u, delta, A, B, C, D, z, delta_bias and initial_state, whether they were given or not."""
    layout = _Layout(u, A, B, C)
    inputs = layout.inputs(u, delta, A, B, C, D, z, delta_bias)
    dtype = dy.dtype
    dy, dfinal = layout.sequence(dy), layout.per_channel(dlast)
    real, (batch, dim) = dfinal.dtype, dy.shape[::2]
    du, ddelta = np.empty_like(dy), np.empty_like(dy)
    dz = du if z is None else np.empty_like(dy)  # not written to
    dA, dinitial = np.empty_like(dfinal), np.empty_like(dfinal)
    dD, dbias = np.empty((batch, dim), real), np.empty((batch, dim), real)
    strips = layout.strips
    dB, dC = (np.empty((strips, *x.shape), real) for x in inputs[3:5])
    given = (*inputs, delta_softplus, z is not None, copies.numpy(), dy, dfinal)
    gradients = (du, ddelta, dA, dB, dC, dD, dz, dbias, dinitial)
    parallel_for(layout.kernels.backward, layout.tasks, strips, *given, *gradients)
    du, ddelta, dD, dz, dbias = (
        layout.without_padding(x) for x in (du, ddelta, dD.sum(0), dz[:0] if z is None else dz, dbias.sum(0))
    )
    dB, dC = (
        torch.from_numpy(x.sum(0) if strips > 1 else x[0])[..., : layout.d_state].permute(0, 2, 3, 1) for x in (dB, dC)
    )
    dA = layout.per_channel_back(dA.sum(0))
    du, ddelta, dz = (x.mT.to(dtype) for x in (du, ddelta, dz))
    return [du, ddelta, dA, dB, dC, dD, dz, dbias, layout.per_channel_back(dinitial)]


@_scan_backward.register_fake
def _(dy, dlast, u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, copies):
    def sequence(batch):
        return u.new_empty(batch, u.shape[2], u.shape[1]).mT

    def varying(form):
        batch, groups, d_state, length = form.shape
        return form.new_empty(batch, length, groups, d_state).permute(0, 2, 3, 1)

    batch, dim, _ = u.shape
    vectors = A.new_empty(dim), A.new_empty(dim)
    dz = sequence(0 if z is None else batch)
    state = A.new_empty(batch, dim, A.shape[1])
    return [
        sequence(batch),
        sequence(batch),
        torch.empty_like(A),
        varying(B),
        varying(C),
        vectors[0],
        dz,
        vectors[1],
        state,
    ]


def _keep_for_backward(ctx, inputs, output):
    *tensors, delta_softplus, _ = inputs
    ctx.delta_softplus, ctx.given = delta_softplus, [x is not None for x in tensors]
    ctx.save_for_backward(*tensors, output[2])


def _differentiate(ctx, dy, dlast, _):
    refuse_batched(dy)
    *tensors, copies = ctx.saved_tensors
    gradients = _scan_backward(dy, dlast, *tensors, ctx.delta_softplus, copies)
    return *(g if given else None for g, given in zip(gradients, ctx.given, strict=True)), None, None


def _gradients(dy, dlast, *rest):
    *tensors, delta_softplus, _ = rest
    return gradients(lambda *tensors: plain.scan(*tensors, delta_softplus), tensors, (dy, dlast))


_scan.register_autograd(_differentiate, setup_context=_keep_for_backward)
differentiate_again(_scan_backward, _gradients)


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The whole selective scan, fused: the arguments of :func:`helpers.scan.selective_scan`, on the CPU.

    All are float32, or all float64; or u, delta and z are bfloat16 and the rest is float32, in which all is computed.

    Args:
        u, delta, z: ``(batch, dim, length)``; z or None. In memory the kernels want ``(batch, length, dim)``: a
            transposed view of such a tensor is taken as it is, anything else is copied.
        A: ``(dim, d_state)``.
        B, C: ``(batch, groups, d_state, length)``, or ``(batch, groups, d_state, 1)`` for what does not vary.
        D, delta_bias: ``(dim,)``, or None.
        initial_state: ``(batch, dim, d_state)``, or None for zeros.

    Returns:
        ``y``, of u's dtype, a transposed view of ``(batch, length, dim)``; the last state, ``(batch, dim, d_state)``.
    """
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    y, last_state, _ = _scan(*tensors, delta_softplus, keep)
    return y, last_state
