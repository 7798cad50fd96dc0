"""Of page 9."""

import math

import torch
import torch.nn.functional as F

from wrong_answers import wrong


def joined(read, pieces, state, dim=1):
    ys = []
    for piece in pieces:
        y, state = read(piece, state)
        ys.append(y)
    return torch.cat(ys, dim), state


@wrong("pieces", "the second begins with an empty state, y[:, 4]")
def state_dropped(read, x, size, state):
    ys = []
    for piece in x.split(size, 1):
        y, last = read(piece, state)
        ys.append(y)
    return torch.cat(ys, 1), last


@wrong("pieces", "of 10 positions, 4 a piece, it reads 8")
def last_piece_lost(read, x, size, state):
    return joined(read, [x[:, i * size : (i + 1) * size] for i in range(x.shape[1] // size)], state)


@wrong("pieces", "of 10 positions, 4 a piece, it reads 12")
def padded(read, x, size, state):
    y, state = joined(read, F.pad(x, (0, 0, 0, -x.shape[1] % size)).split(size, 1), state)
    return y[:, : x.shape[1]], state


@wrong("pieces", "y should have shape (2, 8, 5), yours has (4, 4, 5)")
def joined_along_the_batch(read, x, size, state):
    return joined(read, x.split(size, 1), state, dim=0)


@wrong("pieces", "y should have shape (2, 8, 5), yours has (2, 4, 5)")
def last_output_alone(read, x, size, state):
    for piece in x.split(size, 1):
        y, state = read(piece, state)
    return y, state


@wrong("pieces", "8 positions are read at once")
def all_at_once(read, x, size, state):
    return read(x, state)


@wrong("pieces", "of 4 positions, 4 a piece, it makes 4 pieces, and 1 will do")
def so_many_pieces(read, x, size, state):
    return joined(read, x.chunk(size, 1), state)


@wrong("pieces", "a piece of shape (2, 4, 3) is read as one of (1, 4, 3)")
def batch_cut(read, x, size, state):
    return joined(read, x.split(1, 0), state, dim=0)


@wrong("pieces", "a piece without any positions is read")
def one_piece_more(read, x, size, state):
    return joined(read, [x[:, i * size : (i + 1) * size] for i in range(x.shape[1] // size + 1)], state)


@wrong("pieces", "y[:, 0] is the first that is wrong")
def backwards(read, x, size, state):
    return joined(read, x.split(size, 1)[::-1], state)


@wrong("pieces", "isn't the one after the last of 8 positions")
def state_before_the_last(read, x, size, state):
    ys = []
    for piece in x.split(size, 1):
        before = state
        y, state = read(piece, state)
        ys.append(y)
    return torch.cat(ys, 1), before if len(ys) > 1 else state


@wrong("pieces", "begins with an empty state whatever state it is given")
def from_nothing(read, x, size, state):
    return joined(read, x.split(size, 1), None)


@wrong("pieces", "from another, y[:, 4] is the first that is wrong")
def begun_again(read, x, size, state):
    start, ys = state, []
    state = torch.zeros_like(state)
    for piece in x.split(size, 1):
        y, state = read(piece, state + start)
        ys.append(y)
    return torch.cat(ys, 1), state


@wrong("pieces", "they have no gradient")
def without_gradients(read, x, size, state):
    with torch.no_grad():
        return joined(read, x.split(size, 1), state)


@wrong("pieces", "is missing in the gradient")
def truncated(read, x, size, state):
    ys = []
    for piece in x.split(size, 1):
        y, state = read(piece, state.detach())
        ys.append(y)
    return torch.cat(ys, 1), state


def counted(delta, A, share=0.5, own=0):
    """By the product of the decays, as it should be."""
    time = delta.cumsum(0)
    begins = time - delta * own
    reached = torch.exp((time - begins[:, None]) * A) <= share
    steps = reached.int().argmax(1) - torch.arange(len(delta))
    return torch.where(reached.any(1), steps.double(), math.inf)


@wrong("half_life", "it says 11, and 10 steps would do")
def to_a_factor_e(delta, A):
    return counted(delta, A, math.exp(-1))


@wrong("half_life", "isn't negative, and yours is -6")
def sign_forgotten(delta, A):
    return torch.ceil(math.log(2) / (delta * A))


@wrong("half_life", "a time of 0.69; but a step takes 0.1, and it says 0.693")
def time(delta, A):
    return math.log(2) / -A.expand(len(delta))


@wrong("half_life", "6.93 is no whole number of steps")
def formula(delta, A):
    return math.log(2) / (delta * -A)


@wrong("half_life", "nan is no whole number of steps")
def logarithm_of_a_negative(delta, A):
    return torch.log(delta * A)


@wrong("half_life", "it says 6, and then 55% is left")
def own_step_counted(delta, A):
    return counted(delta, A, own=1)


@wrong("half_life", "it says inf, and at the end of the sequence 2% is left")
def never(delta, A):
    return torch.full_like(delta, math.inf)


@wrong("half_life", "instead of 7 steps it takes 7")
def rate_forgotten(delta, A):
    return torch.ceil(math.log(2) / delta)


@wrong("half_life", "wrong for others, though all steps are as long")
def from_the_beginning(delta, A):
    return counted(delta, A) + torch.arange(len(delta))


@wrong("half_life", "(55% is left), and it says 7")
def beyond_the_end(delta, A):
    return torch.ceil(math.log(2) / (delta * -A))


@wrong("half_life", "steps[0] is the first that is wrong: it says 3, and 2 steps would do")
def step_of_the_writer(delta, A):
    steps = torch.ceil(math.log(2) / (delta * -A))
    return torch.where(torch.arange(len(delta)) + steps < len(delta), steps, math.inf)
