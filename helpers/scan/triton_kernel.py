"""The selective scan fused on the GPU: one Triton kernel forward, one backward, one to split the length.

The loop of ``reference``, with the states in registers (:mod:`helpers.scan.triton_passes`). A program is one warp. It
holds the states of some channels and walks through the positions; softplus, skip connection and gate happen on the way.
No array of size length times d_state is in memory but the states before every ``CHUNK``-th position, from which the
backward finds the states between again. Of a gradient that programs share (A, B, C, D, delta_bias) each writes its
part, and the parts are summed afterwards in a fixed order, so the result is the same every time.

Where batch * dim channels do not fill the GPU, the length is split. A first pass scans every segment from zero, all at
once, and keeps its last state and the sum of its steps: a state h before the segment would have added
exp(A * sum) * h to it. So in the second pass, the scan proper, a program joins what the segments before its own carry,
and begins with the right state. The backward pass does the same from the end, with the gradient of the state.

Why no associative scan over the positions: the loop has the fewest operations, never subtracts states to find a
gradient, and reads channels-last tensors as they lie.

What bounds it at (dim 128, length 784, d_state 16), float32, channels last, in microseconds. This is a prediction from
shapes, data sheets and compiled code (tests/support/compile_triton_kernel.py); no GPU has run these kernels yet::

                                              T4, batch 16        H100, batch 16      H100, batch 256
                                              forward  backward   forward  backward   forward  backward
    segments                                        5         1        16        16         1         1
    DRAM, 320 and 3350 GB/s                       177       352        18        41       200       538
    SFU, 16 a clock and SM, 1.59, 1.98 GHz         55        63        14        23       123       260
    instructions, 1 a clock and scheduler          54       192        14        53       140       754

At batch 16 one segment would be 64 warps forward and 256 backward on 528 schedulers: 72 and 97 microseconds at best.
Two warps a scheduler do not hide all latency: expect 1.5 to 2 times the largest number of a column. What was measured
(``experiments/gpu``) are the kernels before these, without segments, and forward with 8 channels a program as backward,
which took 2.3 times the instructions.

Source: Gu and Dao, "Mamba: Linear-Time Sequence Modeling with Selective State Spaces", arXiv 2312.00752, section 3.3.2.
"""

import functools

import torch
from torch import Tensor

from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.scan import plain, triton_passes

CHUNK = 7  # positions from one kept state to the next: the most that the backward has registers for; divides 784
SHORTEST, MOST_SEGMENTS = 4, 64  # chunks of a segment, at least; segments, which are joined one after another


def scan(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The scan of :func:`helpers.scan.selective_scan`, fused.

    Args:
        u, delta, z: ``(batch, dim, length)``, any strides, float32, float16 or bfloat16; ``z`` may be None.
        A: ``(dim, d_state)``, float32.
        B, C: ``(batch, groups, d_state, length)``, any strides, floating point; groups divides dim.
        D, delta_bias: ``(dim,)``, float32, or None.
        initial_state: ``(batch, dim, d_state)``, float32, or None for zero.
        delta_softplus: apply softplus to ``delta + delta_bias``.

    Returns:
        ``y``, ``(batch, dim, length)``, with the dtype and memory layout of ``u``, and the last state,
        ``(batch, dim, d_state)``, float32. All arithmetic is float32.
    """
    A, D, delta_bias, initial_state = (x if x is None else x.contiguous() for x in (A, D, delta_bias, initial_state))
    tensors = (u, delta, A, B, C, D, z, delta_bias, initial_state)
    keep_states = torch.is_grad_enabled() and any(x is not None and x.requires_grad for x in tensors)
    return _forward(*tensors, delta_softplus, keep_states)[:2]


# How the work is divided: tiles of channels times states for a program, and segments of the length.


def _cdiv(x, y):  # as triton.cdiv and triton.next_power_of_2, which take longer than all the rest of a launch
    return -(-x // y)


def _power_of_2(x):
    return 1 << (x - 1).bit_length()


def _wide(A, B):
    """The tile of a forward pass: states (padded), channels and warps of a program, and how many programs a group has.

    16 numbers a lane, and a channel for every lane: what belongs to a channel, as the step, is computed once.
    """
    (dim, d_state), groups = A.shape, B.shape[1]
    n, channels = _power_of_2(d_state), min(32, _power_of_2(dim // groups))
    return n, channels, min(max(n * channels // 512, 1), 16), _cdiv(dim // groups, channels)


def _narrow(A, B):
    """The same for the backward pass, which has registers for 4 numbers a lane.

    At most 16 channels. Beyond 16 states it is more channels and warps: each program has 2 * d_state numbers of dB and
    dC for every position, and with few programs that stays comparable to u.
    """
    (dim, d_state), groups = A.shape, B.shape[1]
    n = _power_of_2(d_state)
    channels = min(max(min(128 // n, 16), min(n // 4, 32)), _power_of_2(dim // groups))
    return n, channels, min(max(n * channels // 128, 1), 16), _cdiv(dim // groups, channels)


@functools.cache
def _schedulers(device):
    """How many warps ``device`` can serve at once. Triton's interpreter does as a T4 would."""
    return 4 * (torch.cuda.get_device_properties(device).multi_processor_count if device.type == "cuda" else 40)


def _split(u, A, B, tile):
    """How many segments the length is split into for programs of that tile, and how many chunks a segment has.

    Where they are too few for every scheduler to have two, so that one computes while the other waits. As the first
    pass computes the exponentials once more, it is one segment where fewer than four would do.
    """
    chunks = _cdiv(u.shape[2], CHUNK)

    def wanted(tile):
        _, _, warps, blocks = tile(A, B)
        return 2 * _schedulers(u.device) // max(u.shape[0] * B.shape[1] * blocks * warps, 1)

    if wanted(tile) < 4:
        return 1, chunks
    per_segment = max(_cdiv(chunks, min(wanted(_wide), MOST_SEGMENTS)), SHORTEST)  # as the first pass needs them
    return _cdiv(chunks, per_segment), per_segment


# The operators: make room, launch, add up the parts.


def _launch(kernel, u, A, B, delta_softplus, tile, segments, per_segment, arguments, strided, **constants):
    n, channels, warps, blocks = tile
    (batch, dim, length), groups = u.shape, B.shape[1]
    strides = [None if x is None else x.stride() for x in strided]
    sizes = (dim, groups, length, batch, _cdiv(length, CHUNK), per_segment)
    # With two warps on a scheduler, each may have all the registers that a thread can. Left alone, the compiler makes
    # room for three warps, and spills.
    options = {"num_warps": warps, "maxnreg": min(255, 2048 // warps), "enable_fp_fusion": True}
    constants |= {"SOFTPLUS": delta_softplus, "CHUNK": CHUNK, "d_state": A.shape[1], "N": n, "CHANNELS": channels}
    with torch.cuda.device_of(u):  # no effect on a CPU, where Triton's interpreter can run the kernels
        kernel[(batch * groups * blocks, segments)](*arguments, *strides, *sizes, **constants, **options)


def _carries(x, delta, A, B, R, gate, delta_bias, delta_softplus, segments, per_segment, backward):
    """What each segment but the last passes on, a state and then the sums of the steps; None if there is but one."""
    if segments == 1:
        return None
    carries = A.new_empty(segments - 1, len(x), A.numel() + len(A))
    arguments = (x, delta, A, R, gate, delta_bias, carries)
    split = (_wide(A, B), segments - 1, per_segment)
    strided = (x, delta, _group_last(R), gate)
    _launch(triton_passes.carry_kernel, x, A, B, delta_softplus, *split, arguments, strided, BACKWARD=backward)
    return carries


def _results(u, A, keep_states):
    """Room for y, the last state, and the states before every chunk."""
    batch, dim, length = u.shape
    state = (dim, A.shape[1])
    states = (batch, _cdiv(length, CHUNK), *state) if keep_states else (0,)
    return torch.empty_like(u), A.new_empty(batch, *state), A.new_empty(states)


@torch.library.custom_op("one_pixel::scan_triton", mutates_args=())
def _forward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, initial_state: Tensor | None, delta_softplus: bool, keep_states: bool,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    y, last_state, states = _results(u, A, keep_states)
    split = _split(u, A, B, _wide)
    carries = _carries(u, delta, A, B, B, None, delta_bias, delta_softplus, *split, False)
    kept = states if keep_states else None
    arguments = (u, delta, A, B, C, D, z, delta_bias, initial_state, carries, y, last_state, kept)
    strided = (u, delta, _group_last(B), _group_last(C), z, y)
    _launch(triton_passes.forward_kernel, u, A, B, delta_softplus, _wide(A, B), *split, arguments, strided)
    return y, last_state, states


@_forward.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, keep_states):
    return _results(u, A, keep_states)


def _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, segments, fill):
    """Make room for the gradients of the arguments that are there, ``fill`` it, and add up the parts."""
    batch, dim, length = u.shape
    (groups, d_state), blocks = B.shape[1:3], _narrow(A, B)[-1]
    du, ddelta, dz = (None if x is None else torch.empty_like(x) for x in (u, delta, z))
    dinitial_state = None if initial_state is None else A.new_empty(batch, dim, d_state)
    dA = A.new_empty(segments * batch, dim, d_state)
    dB, dC = (A.new_empty(batch, groups, blocks, length, d_state) for _ in "BC")
    dD, ddelta_bias = (None if x is None else A.new_empty(segments * batch, dim) for x in (D, delta_bias))
    fill(du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state)
    dA, dD, ddelta_bias = (None if x is None else x.sum(0) for x in (dA, dD, ddelta_bias))
    dB, dC = (part.sum(2).transpose(2, 3).to(x.dtype) for part, x in ((dB, B), (dC, C)))
    return [x for x in (du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state) if x is not None]


@torch.library.custom_op("one_pixel::scan_triton_backward", mutates_args=())
def _backward(
    u: Tensor, delta: Tensor, A: Tensor, B: Tensor, C: Tensor, D: Tensor | None, z: Tensor | None,
    delta_bias: Tensor | None, initial_state: Tensor | None, delta_softplus: bool,
    states: Tensor, dy: Tensor, dlast_state: Tensor | None,
) -> list[Tensor]:  # fmt: skip
    split = _split(u, A, B, _narrow)
    carries = _carries(dy, delta, A, B, C, z, delta_bias, delta_softplus, *split, True)

    def fill(du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state):
        arguments = (u, delta, A, B, C, D, z, delta_bias, states, dy, dlast_state, carries)
        gradients = (du, ddelta, dA, dB, dC, dD, dz, ddelta_bias, dinitial_state)
        strided = (u, delta, _group_last(B), _group_last(C), z, dy, du, ddelta, dz)
        arguments = (*arguments, *gradients)
        _launch(triton_passes.backward_kernel, u, A, B, delta_softplus, _narrow(A, B), *split, arguments, strided)

    return _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, split[0], fill)


@_backward.register_fake
def _(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus, states, dy, dlast_state):
    return _room_for_gradients(u, delta, A, B, C, D, z, delta_bias, initial_state, 1, lambda *gradients: None)


def _group_last(x):
    return x.movedim(1, -1)  # for its strides: batch, n and position as with u, then group


def _remember(ctx, inputs, output):
    *tensors, ctx.delta_softplus, _ = inputs
    ctx.save_for_backward(*tensors, output[2])
    ctx.set_materialize_grads(False)


def _differentiate(ctx, dy, dlast_state, _):
    *tensors, states = ctx.saved_tensors
    if dy is None:
        dy = tensors[0].new_zeros(()).expand_as(tensors[0])
    refuse_batched(dy)
    dlast_state = None if dlast_state is None else dlast_state.contiguous()
    gradients = iter(_backward(*tensors, ctx.delta_softplus, states, dy, dlast_state))
    return *(None if x is None else next(gradients) for x in tensors), None, None


def _gradients(*arguments):
    *tensors, delta_softplus, _, dy, dlast_state = arguments
    found = gradients(lambda *tensors: plain.scan(*tensors, delta_softplus), tensors, (dy, dlast_state))
    return [g for g, x in zip(found, tensors, strict=True) if x is not None]


_forward.register_autograd(_differentiate, setup_context=_remember)
differentiate_again(_backward, _gradients)
