"""The kernels of :func:`helpers.conv.causal_conv1d` on the CPU, and the operators around them.

Backwards, with ``s = bias + sum_k weight[k] x[t - width + 1 + k]``, ``y = s sigmoid(s)`` and a gradient dy::

    ds = dy sigmoid(s) (1 + s (1 - sigmoid(s)))
    dweight[k] = sum_t ds[t] x[t - width + 1 + k]        dx[t] = sum_k weight[k] ds[t + width - 1 - k]
"""

import numpy as np
import torch
import torch.nn.functional as F

from helpers.conv import reference
from helpers.derivatives import differentiate_again, gradients, refuse_batched
from helpers.jit import cached_kernel
from helpers.simd import (
    LANES,
    array,
    load,
    prefetch,
    sigmoid,
    splat,
    store,
    tensor,
)
from helpers.threads import parallel_for

BLOCK = 16  # positions whose inputs are gathered, with the width - 1 before them, before anything is computed


# --- the kernels: x is (batch, length, dim), weight (width, dim), initial_states (batch, width - 1, dim) --------------


@cached_kernel
def _forward(first, last, x, weight, bias, initial_states, y):
    _, length, dim = x.shape
    before = initial_states.shape[1]
    xs = np.empty((before + BLOCK) * LANES, weight.dtype)
    for task in range(first, last):  # sixteen channels of one sequence
        b, c = task // (dim // LANES), task % (dim // LANES) * LANES
        for j in range(before):
            store(xs, j * LANES, load(initial_states, (b * before + j) * dim + c))
        for start in range(0, length, BLOCK):
            count = min(BLOCK, length - start)
            top = (b * length + start) * dim + c
            for i in range(count):
                prefetch(x, top + (i + BLOCK) * dim)
                prefetch(y, top + (i + BLOCK) * dim)
                store(xs, (before + i) * LANES, load(x, top + i * dim))
            for i in range(count):
                s = load(bias, c)
                for k in range(before + 1):
                    s = s + load(weight, k * dim + c) * load(xs, (i + k) * LANES)
                store(y, top + i * dim, s * sigmoid(s))
            for j in range(before):
                store(xs, j * LANES, load(xs, (count + j) * LANES))


@cached_kernel
def _backward(first, last, x, weight, bias, initial_states, dy, dx, dweight, dbias, dstates):
    _, length, dim = x.shape
    before = initial_states.shape[1]
    zero, one = splat(weight.dtype.type(0)), weight.dtype.type(1)
    xs, slopes = np.empty((before + BLOCK) * LANES, weight.dtype), np.empty((before + BLOCK) * LANES, weight.dtype)
    sums = np.empty((before + 1) * LANES, weight.dtype)
    for task in range(first, last):
        b, c = task // (dim // LANES), task % (dim // LANES) * LANES
        sum_bias = zero
        for k in range(before + 1):
            store(sums, k * LANES, zero)
            store(slopes, k * LANES, zero)  # there is nothing after the end
        for start in range((length - 1) // BLOCK * BLOCK, -1, -BLOCK):
            count = min(BLOCK, length - start)
            top = (b * length + start) * dim + c
            for j in range(before - 1, -1, -1):  # those of the block that comes after this one
                store(slopes, (count + j) * LANES, load(slopes, j * LANES))
            for j in range(before):
                t = start - before + j
                if t >= 0:
                    store(xs, j * LANES, load(x, top + (j - before) * dim))
                else:
                    store(xs, j * LANES, load(initial_states, (b * before + before + t) * dim + c))
            for i in range(count):
                prefetch(x, top + (i - BLOCK) * dim)
                prefetch(dy, top + (i - BLOCK) * dim)
                prefetch(dx, top + (i - BLOCK) * dim)
                store(xs, (before + i) * LANES, load(x, top + i * dim))
            for i in range(count):
                s = load(bias, c)
                for k in range(before + 1):
                    s = s + load(weight, k * dim + c) * load(xs, (i + k) * LANES)
                opened = sigmoid(s)
                slope = load(dy, top + i * dim) * opened * (one + s * (one - opened))
                store(slopes, i * LANES, slope)
                sum_bias = sum_bias + slope
            for k in range(before + 1):
                total = load(sums, k * LANES)
                for i in range(count):
                    total = total + load(slopes, i * LANES) * load(xs, (i + k) * LANES)
                store(sums, k * LANES, total)
            for i in range(count):
                grad = zero
                for k in range(before + 1):
                    grad = grad + load(weight, k * dim + c) * load(slopes, (i + before - k) * LANES)
                store(dx, top + i * dim, grad)
        for j in range(before):
            grad = zero
            for k in range(j + 1):
                grad = grad + load(weight, k * dim + c) * load(slopes, (j - k) * LANES)
            store(dstates, (b * before + j) * dim + c, grad)
        for k in range(before + 1):
            store(dweight, (b * (before + 1) + k) * dim + c, load(sums, k * LANES))
        store(dbias, b * dim + c, sum_bias)


# --- the operators: x is (batch, dim, length), weight (dim, width), initial_states (batch, dim, width - 1) ------------
#
# Fewer channels than lanes would leave most lanes empty. So the channels of all sequences are put side by side, as if
# they were those of a single sequence.


def _sequences(x):
    """``(batch, dim, n)`` as the kernels want it, filled up to whole vectors."""
    x, dim = x.mT, x.shape[1]
    return _channels(x if dim >= LANES else x.transpose(0, 1).flatten(1).unsqueeze(0))


def _channels(x):
    return array(F.pad(x, (0, -x.shape[-1] % LANES)) if x.shape[-1] % LANES else x)


def _inputs(x, weight, bias, initial_states):
    batch, dim, _ = x.shape
    bias = weight.new_zeros(dim) if bias is None else bias
    initial_states = weight.new_zeros(batch, dim, weight.shape[1] - 1) if initial_states is None else initial_states
    copies = 1 if dim >= LANES else batch
    return [
        _sequences(x),
        _channels(weight.T.repeat(1, copies)),
        _channels(bias.repeat(copies)),
        _sequences(initial_states),
    ]


def _outputs(batch, dim, *arrays):
    """Back from the kernels: ``(batch, n, dim)`` each."""
    for x in map(tensor, arrays):
        if dim >= LANES:
            yield x[..., :dim].contiguous()
        else:
            yield x[0, :, : batch * dim].unflatten(1, (batch, dim)).transpose(0, 1).contiguous()


@torch.library.custom_op("one_pixel::causal_conv1d", mutates_args=(), device_types="cpu")
def _conv(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, initial_states: torch.Tensor | None
) -> torch.Tensor:
    inputs = _inputs(x, weight, bias, initial_states)
    y = np.empty_like(inputs[0])
    parallel_for(_forward, y.shape[0] * y.shape[2] // LANES, *inputs, y)
    return next(_outputs(*x.shape[:2], y)).mT


@_conv.register_fake
def _(x, weight, bias, initial_states):
    batch, dim, length = x.shape
    return x.new_empty(batch, length, dim).mT


@torch.library.custom_op("one_pixel::causal_conv1d_backward", mutates_args=(), device_types="cpu")
def _conv_backward(
    dy: torch.Tensor,
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    initial_states: torch.Tensor | None,
) -> list[torch.Tensor]:
    """The gradients of x, weight, bias and initial_states, whether they were given or not."""
    inputs = _inputs(x, weight, bias, initial_states)
    (rows, _, lanes), width = inputs[0].shape, weight.shape[1]
    dy = _sequences(dy)
    real = inputs[1].dtype
    dx, dstates = np.empty_like(dy), np.empty((rows, width - 1, lanes), real)
    dweight, dbias = np.empty((rows, width, lanes), real), np.empty((rows, 1, lanes), real)
    parallel_for(_backward, rows * lanes // LANES, *inputs, dy, dx, dweight, dbias, dstates)
    dx, dweight, dbias, dstates = _outputs(*x.shape[:2], dx, dweight, dbias, dstates)
    # Summed over the batch at the end, in its order: the number of threads cannot change the result.
    dweight, dbias = (torch.from_numpy(x.numpy().sum(0)) for x in (dweight, dbias))
    return [dx.mT, dweight.T.contiguous(), dbias[0], dstates.mT]


@_conv_backward.register_fake
def _(dy, x, weight, bias, initial_states):
    batch, dim, length = x.shape
    width = weight.shape[1]
    dstates = weight.new_empty(batch, width - 1, dim).mT
    return [x.new_empty(batch, length, dim).mT, weight.new_empty(dim, width), weight.new_empty(dim), dstates]


def _keep_for_backward(ctx, inputs, output):
    ctx.given = [tensor is not None for tensor in inputs]
    ctx.save_for_backward(*inputs)


def _differentiate(ctx, dy):
    refuse_batched(dy)
    gradients = _conv_backward(dy, *ctx.saved_tensors)
    return tuple(g if given else None for g, given in zip(gradients, ctx.given, strict=True))


def _gradients(dy, *tensors):
    return gradients(lambda *tensors: (reference.causal_conv1d(*tensors, "silu"),), tensors, (dy,))


_conv.register_autograd(_differentiate, setup_context=_keep_for_backward)
differentiate_again(_conv_backward, _gradients)


def causal_conv1d(x, weight, bias, initial_states):
    """:func:`helpers.conv.causal_conv1d` with SiLU, fused. ``bias`` and ``initial_states`` may be None.

    All tensors are float32, or all float64; or x is bfloat16 and the rest is float32, in which all is computed.
    """
    return _conv(x, weight, bias, initial_states)
