"""What the states of a classifier know, and what happens when they are changed.

Three tools. A digit is read in parts (:func:`read_on`), so that its states can be looked at, exchanged or reset in
between. Linear probes (:func:`fit_probes`) say what can be read off the states: ridge regression, solved exactly (Alain
and Bengio, "Understanding intermediate layers using linear classifier probes", arXiv 1610.01644, had the idea). And
states can be made to forget (:func:`forgetting`), or the input's choices taken away (:func:`fixed_choices`).
"""

import copy
from contextlib import contextmanager
from typing import NamedTuple

import torch
import torch.nn.functional as F

from helpers.inspect.hooks import forward_hooks
from helpers.models import Memory


class Reading(NamedTuple):
    """How far a batch of digits has been read: all that the rest of the reading, and the answer, depend on."""

    memory: Memory  # the states of all blocks
    total: torch.Tensor  # (batch, d_model), what the answer is made from: the sum over the positions read


def read_on(model, pixels, reading=None) -> Reading:
    """Read the next pixels of a batch of digits.

    Args:
        model: a :class:`~helpers.models.PixelClassifier`, in evaluation mode.
        pixels: ``(batch, length, channels)``, in the order in which they are read.
        reading: how far the digits have been read before, or None for a new beginning.
    """
    memory = None if reading is None else reading.memory
    x, memory = model.read(pixels, memory, return_memory=True)  # (batch, length, d_model)
    if model.pooling != "sum":
        x = model.norm(x)
    total = x[:, -1] if model.pooling == "last" else x.sum(1)
    if reading is not None and model.pooling != "last":
        total = reading.total + total
    return Reading(memory, total)


def answer(model, reading: Reading) -> torch.Tensor:
    """The logits after what has been read, ``(batch, classes)``: those of ``model(pixels)`` after all of it."""
    return model.answer(reading.total, reading.memory.position)


def state_numbers(memory: Memory) -> torch.Tensor:
    """The recurrent states of all state space models in one row per digit: ``(batch, numbers)``, in the states' dtype.

    Of a Mamba the state of its scan alone: its convolution keeps the last few inputs as they were. A complex number
    counts as two.
    """
    tensors = []
    for state in memory.states:
        tensors.append(getattr(state, "ssm_state", state))  # S4D's is a tensor
    real = [torch.view_as_real(tensor) if tensor.is_complex() else tensor for tensor in tensors]
    return torch.cat([tensor.flatten(1) for tensor in real], 1)


def reorder(reading: Reading, order) -> Reading:
    """The same readings of a state space model in another order, or some of them: ``order`` is int64 ``(n,)``."""

    def taken(state):
        if isinstance(state, torch.Tensor):
            return state[order]
        return type(state)(*map(taken, state)) if isinstance(state, tuple) else state  # a position, or None

    states = tuple(map(taken, reading.memory.states))
    return Reading(Memory(states, reading.memory.position), reading.total[order])


def reset(memory: Memory) -> Memory:
    """A memory in which all states of Mambas are zero, though their clocks go on: the position stays."""
    blank = [
        type(state)(*(part.new_zeros(part.shape) if isinstance(part, torch.Tensor) else part for part in state))
        for state in memory.states
    ]
    return Memory(tuple(blank), memory.position)


class Probe(NamedTuple):
    """A linear map from states to something that they may know: ``(n, numbers)`` to ``(n, targets)`` when called."""

    mean: torch.Tensor  # (numbers,), of the states
    weights: torch.Tensor  # (numbers, targets)
    bias: torch.Tensor  # (targets,), the mean of the targets
    penalty: float  # that was chosen

    def __call__(self, states):
        return (states - self.mean) @ self.weights + self.bias


def fit_probes(states, targets, validation_states, validation_targets, penalties=(1e-3, 1e-2, 0.1, 1, 10, 100)):
    """Ridge regressions from the same states to several things, each with the penalty that suits it best.

    Every number of the state is centered and scaled to a standard deviation of 1. (One that hardly ever changes is
    scaled to less: it is divided by a tenth of the median deviation at least. Those that never change are left out.)
    Then ``weights = X.T (X X.T + penalty * numbers * I)^-1 (Y - mean)``, the usual closed form, but with a matrix as
    large as the number of digits, not the number of states.

    Args:
        states: ``(n, numbers)``, of training digits.
        targets: ``{name: (n, targets)}``.
        validation_states, validation_targets: the same of other digits; the penalty with the smallest squared error on
            them is taken, for each name.
        penalties: to choose from.

    Returns:
        ``{name: Probe}``.
    """
    mean, scale = states.mean(0), states.std(0)
    scale = torch.where(scale > 0, scale.clamp(min=0.1 * scale.median()), torch.inf)  # a rare outlier stays one
    X, held_out = (states - mean) / scale, (validation_states - mean) / scale
    gram = (X @ X.T / X.shape[1]).double()  # (n, n)
    across = (held_out @ X.T / X.shape[1]).double()  # (validation digits, n)
    widths = [target.shape[1] for target in targets.values()]
    Y = torch.cat(list(targets.values()), 1)  # all at once: there may be a hundred of them
    right = torch.cat([validation_targets[name] for name in targets], 1)
    bias, found = Y.mean(0), {}
    for penalty in penalties:
        factor = torch.linalg.cholesky(gram + penalty * torch.eye(len(gram), dtype=gram.dtype, device=gram.device))
        solutions = torch.cholesky_solve((Y - bias).double(), factor)  # (n, all targets)
        errors = (across @ solutions + bias - right).square().mean(0)
        for name, error, solution in zip(targets, errors.split(widths), solutions.split(widths, 1), strict=True):
            error = error.mean().item()
            if name not in found or error < found[name][0]:
                found[name] = error, penalty, solution
    probes = {}
    for name, (_, penalty, solution) in found.items():
        weights = X.T @ solution.to(X.dtype) / X.shape[1] / scale[:, None]
        probes[name] = Probe(mean, weights, targets[name].mean(0), penalty)
    return probes


def probe_errors(probe: Probe, states, targets):
    """Squared errors of a probe, and of the training digits' mean: two tensors, each ``(n, targets)``."""
    return (probe(states) - targets).square(), (probe.bias - targets).square()


def bootstrap_r_squared(errors, of_the_mean, draws=300, seed=0):
    """``R² = 1 - errors / errors of the mean``, with the ends of its 95 % interval: three floats.

    Args:
        errors, of_the_mean: ``(n, ...)``, of n digits. The interval is that of a bootstrap over the digits.
        draws: of the bootstrap.
        seed: of the draws.
    """
    ours, mean = errors.flatten(1).sum(1).double().cpu(), of_the_mean.flatten(1).sum(1).double().cpu()
    random = torch.Generator().manual_seed(seed)
    drawn = torch.randint(len(ours), (draws, len(ours)), generator=random)
    low, high = (1 - ours[drawn].sum(1) / mean[drawn].sum(1)).quantile(torch.tensor([0.025, 0.975]).double()).tolist()
    return 1 - (ours.sum() / mean.sum()).item(), low, high


def forgetting(model, lost):
    """A copy of a model of Mambas, some of whose states are reset at every step, as page 6 resets them all.

    Args:
        model: with Mambas or MambaRoPEs, unchanged.
        lost: for each block bool in the shape of its ``A_log``: ``(d_inner, d_state)``, or with RoPE
            ``(d_inner, d_state / 2)``, where both numbers of a pair are lost.
    """
    model = copy.deepcopy(model)
    for block, mask in zip(model.blocks, lost, strict=True):
        block.A_log.data[mask] = 30.0  # A = -exp(30)
    return model


def stopping(model, pair):
    """A copy of a model of MambaRoPEs in which one pair of each state isn't turned any more, and still decays."""
    model = copy.deepcopy(model)
    for block in model.blocks:
        angles = block.angles
        angles[pair] = 0
        block._angles = lambda device, angles=angles: angles.to(device)
    return model


class Choices(NamedTuple):
    """What one block chose for its inputs, or the mean of it."""

    step: torch.Tensor  # (..., d_inner), the step sizes
    BC: torch.Tensor  # (..., 2 * d_state), B and C as the block's projection makes them: before bias and turn


@torch.no_grad()
def mean_choices(model, pixels, over=(0, 1)) -> list[Choices]:
    """What each block of a model of Mambas chooses on average.

    Args:
        model: with Mambas or MambaRoPEs, in evaluation mode.
        pixels: ``(batch, length, channels)``.
        over: the mean is taken over digits and positions, (0, 1), or digits alone, (0,).
    """
    steps, rest = {}, {}

    def keep(kept, number, change):
        return lambda _, inputs, result: kept.__setitem__(number, change(result).mean(over))

    hooks = []
    for number, block in enumerate(model.blocks):
        hooks.append((block.dt_proj, keep(steps, number, F.softplus)))
        hooks.append((block.x_proj, keep(rest, number, lambda result, rank=block.dt_rank: result[..., rank:])))
    with forward_hooks(hooks):
        model.read(pixels)
    return [Choices(steps[number], rest[number]) for number in range(len(model.blocks))]


@contextmanager
def fixed_choices(model, choices, step=True, BC=True):
    """Within this context the blocks don't choose: step sizes, or B and C, or all of them are those given.

    Args:
        model: with Mambas or MambaRoPEs. A block calls its projections if they have hooks; so nothing else is changed.
        choices: for each block, a mean over digits and positions, or over digits alone, as :func:`mean_choices` gives.
        step, BC: which of them to fix.
    """
    hooks = []
    for block, chosen in zip(model.blocks, choices, strict=True):
        before_softplus = chosen.step + torch.log(-torch.expm1(-chosen.step))
        if step:
            hooks.append((block.dt_proj, lambda _, inputs, result, fixed=before_softplus: fixed.expand_as(result)))
        if BC:
            rank = block.dt_rank
            hooks.append((block.x_proj, lambda _, inputs, result, fixed=chosen.BC, rank=rank:
                          torch.cat([result[..., :rank], fixed.expand_as(result[..., rank:])], -1)))  # fmt: skip
    with forward_hooks(hooks):
        yield model
