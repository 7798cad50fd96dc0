"""Exercises of page 9: a sequence read in pieces, and half-lives when steps differ."""

import math

import torch

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors


def _read(piece, state):
    """A layer: of ``(batch, length, 3)`` and a state ``(batch, 4)`` or None, ``(batch, length, 5)`` and a state."""
    write, look, decay = normal(3, 4, seed=1), normal(4, 5, seed=2), torch.tensor([0.9, 0.7, -0.5, 0.3]).double()
    state = torch.zeros(len(piece), 4, dtype=piece.dtype) if state is None else state
    ys = []
    for x in piece.unbind(1):
        state = decay * state + x @ write
        ys.append(state @ look)
    return torch.stack(ys, 1), state


@exercise
def check_pieces(yours):
    """``piece_by_piece(read, x, size, state) -> (y, state)``, where ``read(piece, state) -> (y, state)``.

    Pieces are ``(batch, at most size, dim)``; ``x`` is longer, and ``y`` what ``read(x, state)`` would return of it.
    """
    batch, dim, size = 2, 3, 4
    given = []  # the last sequence and state that it was called with

    def ask(x, state):
        length, lengths = x.shape[1], []
        whole = f"of {length} positions, {size} a piece,"

        def read(piece, state):
            shape, wanted = tuple(piece.shape), (batch, size, dim)
            expect(
                len(shape) == 3 and shape[::2] == wanted[::2], f"a piece of shape {wanted} is read as one of {shape}"
            )
            expect(shape[1] <= size, f"{shape[1]} positions are read at once, and pieces of {size} are wanted")
            expect(shape[1], "a piece without any positions is read")
            lengths.append(shape[1])
            return _read(piece, state)

        def counted(x, size, state):
            given[:] = x, state
            results = yours(read, x, size, state)
            if results is not None:
                expect(sum(lengths) == length, f"{whole} it reads {sum(lengths)}")
                enough = math.ceil(length / size)
                expect(len(lengths) == enough, f"{whole} it makes {len(lengths)} pieces, and {enough} will do")
            return results

        return tensors(counted, x, size, state, y=(batch, length, 5), state=(batch, 4))

    nothing = torch.zeros(batch, 4, dtype=torch.float64)
    for length in (size, 2 * size, 2 * size + 2):
        x = normal(batch, length, dim)
        (y, last), (expected, last_expected) = ask(x, nothing), _read(x, nothing)
        fresh = torch.cat([_read(piece, None)[0] for piece in x.split(size, 1)], 1)
        expect(
            length == size or not close(y, fresh),
            f"right for one piece; the second begins with an empty state, y[:, {size}] is the first that is wrong",
        )
        wrong = first_wrong(y, expected, 1)
        expect(wrong is None, f"of {length} positions, {size} a piece, y[:, {wrong}] is the first that is wrong")
        expect(
            close(last, last_expected),
            f"y is right; but the state that is returned isn't the one after the last of {length} positions",
        )
    x, start = x.requires_grad_(), normal(batch, 4, seed=3).requires_grad_()
    (y, last), (expected, last_expected) = ask(x, start), _read(x, start)
    expect(not close(y, _read(x, None)[0]), "it begins with an empty state whatever state it is given")
    wrong = first_wrong(y, expected, 1)
    expect(wrong is None, f"right from an empty state; from another, y[:, {wrong}] is the first that is wrong")

    def gradients(y, last, inputs):
        loss = (y * normal(*y.shape, seed=4)).sum() + last.sum()
        return torch.autograd.grad(loss, inputs, allow_unused=True)

    expect(y.requires_grad and last.requires_grad, "outputs and state are right, but they have no gradient")
    ours, theirs = gradients(expected, last_expected, (x, start)), gradients(y, last, given)
    expect(
        all(g is not None and close(g, e) for g, e in zip(theirs, ours, strict=True)),
        "outputs and state are right, but what a piece says of inputs before it is missing in the gradient",
    )


def _steps_to_half(delta, A):
    steps = []
    for s in range(len(delta)):
        left = torch.exp(A * delta[s + 1 :].cumsum(0))  # of what s wrote, after one step more, two, ...
        steps.append(next((n for n, share in enumerate(left.tolist(), 1) if share <= 0.5), math.inf))
    return torch.tensor(steps, dtype=torch.float64)


@exercise
def check_half_life(yours):
    """``steps_to_half(delta, A) -> steps``: ``delta (length,)``, A a number below zero, ``steps (length,)``.

    After so many steps at most half is left of what each position wrote; inf if the sequence ends before.
    """

    def ask(delta, A):
        A = torch.tensor(A, dtype=torch.float64)
        return tensors(yours, delta, A, steps=delta.shape), _steps_to_half(delta, A)

    def explain(delta, A, s, n):
        """What is wrong with n steps for position s."""
        after = torch.exp(A * delta[s + 1 :].cumsum(0)).tolist()
        if n == math.inf:
            return f"it says inf, and at the end of the sequence {after[-1]:.0%} is left"
        if not 1 <= n <= len(after):
            return f"it says {n:g}, and {len(after)} positions follow"
        if after[int(n) - 1] > 0.5:
            return f"it says {n:g}, and then {after[int(n) - 1]:.0%} is left"
        return f"it says {n:g}, and {'a step' if n == 2 else f'{n - 1:g} steps'} would do"

    same = torch.full((40,), 0.1, dtype=torch.float64)
    steps, expected = ask(same, -1.0)
    first = steps[0].item()
    expect(not first < 0, f"a number of steps isn't negative, and yours is {first:.3g}")
    expect(
        not 0.65 < first < 0.75,
        f"with A = -1, half is left after a time of {math.log(2):.2f}; but a step takes 0.1, and it says {first:.3g}",
    )
    expect(first == math.inf or first % 1 == 0, f"{first:.3g} is no whole number of steps")
    expect(
        first == expected[0],
        "all steps are 0.1 long, A = -1, and half is to be left of what position 0 wrote: "
        + explain(same, -1.0, 0, first),
    )
    slowed = ask(same, -0.25)[0][0].item()
    expect(
        slowed == 28,
        f"right for A = -1; with A = -0.25 time passes a quarter as fast, and instead of {first:.0f} steps it takes"
        f" {slowed:g}",
    )
    late = expected.isinf().nonzero()[0].item()
    left = torch.exp(-same[late + 1 :].sum()).item()
    expect(
        torch.equal(steps[:late].double(), expected[:late]),
        "right for what position 0 wrote, wrong for others, though all steps are as long",
    )
    expect(
        steps[late:].isinf().all(),
        f"the sequence ends before what position {late} wrote has halved ({left:.0%} is left), and it says"
        f" {steps[late]:g}",
    )
    differ = torch.tensor([0.3, 0.05, 0.9, 0.02, 0.4, 0.1, 0.2, 1.5, 0.01, 0.6, 0.3, 0.1], dtype=torch.float64)
    steps, expected = ask(differ, -1.0)
    wrong = first_wrong(torch.nan_to_num(steps.double(), posinf=-1.0), expected.nan_to_num(posinf=-1.0), 0)
    expect(
        wrong is None,
        f"right where all steps are as long; where they differ, steps[{wrong or 0}] is the first that is wrong: "
        + explain(differ, -1.0, wrong or 0, steps[wrong or 0].item()),
    )
