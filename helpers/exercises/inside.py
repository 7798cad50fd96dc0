"""Exercises of page 7: a linear probe and its score, and the matrices that a scan multiplies with."""

import torch

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors, uniform


def _ridge(states, targets, penalty, others):
    """What a ridge regression with a free intercept predicts for other states."""
    mean, bias = states.mean(0), targets.mean(0)
    X = states - mean
    gram = X.mT @ X + penalty * torch.eye(X.shape[1], dtype=X.dtype)
    return (others - mean) @ torch.linalg.solve(gram, X.mT @ (targets - bias)) + bias


def _r_squared(predictions, targets, mean):
    return 1 - (targets - predictions).square().sum(0) / (targets - mean).square().sum(0)


@exercise
def check_probe(yours):
    """``probe(states, targets, penalty, new_states, new_targets) -> (predictions, r_squared)``.

    Fitted on ``states (n, d)`` and ``targets (n, k)``; ``predictions (m, k)`` and ``r_squared (k,)`` of the new ones.
    """
    n, m, d, k = 40, 30, 5, 2
    states, new_states = normal(n, d) + 1, normal(m, d, seed=1) + 1
    weights = normal(d, k, seed=2)
    targets = states @ weights + 4 + 2 * normal(n, k, seed=3)
    new_targets = new_states @ weights + 5 + 2 * normal(m, k, seed=4)

    def ask(penalty, targets=targets, new_states=new_states, new_targets=new_targets):
        shapes = {"predictions": new_targets.shape, "r_squared": (k,)}
        return tensors(yours, states, targets, penalty, new_states, new_targets, **shapes)

    threes = torch.full_like(targets, 3.0)
    got, _ = ask(0.0, threes)
    expect(close(got, torch.full_like(got, 3.0)), f"where every target is 3, it predicts {got[0, 0]:.3g}")
    got, _ = ask(1000.0, threes)
    expect(
        close(got, torch.full_like(got, 3.0)),
        f"where every target is 3, it predicts 3 without a penalty, and {got[0, 0]:.3g} with a penalty of 1000",
    )
    got, _ = ask(0.0)
    alone, _ = ask(0.0, new_states=new_states[:1], new_targets=new_targets[:1])
    expect(close(alone, got[:1]), "asked about one state alone, it predicts something else than among others")
    fitted, _ = ask(0.0, new_states=states, new_targets=targets)
    ours, least = ((targets - x).square().sum().item() for x in (fitted, _ridge(states, targets, 0.0, states)))
    expect(
        abs(ours - least) < 1e-6 * least,
        f"without a penalty its squared errors on the states it is fitted to add up to {ours:.4g},"
        f" and {least:.4g} is possible",
    )
    got, score = ask(7.0)
    expect(not close(got, _ridge(states, targets, 0.0, new_states)), "the penalty changes nothing")
    for other in (7.0 * n, 7.0 / n, 49.0):
        expect(
            not close(got, _ridge(states, targets, other, new_states)),
            f"a penalty of 7 does what a penalty of {other:.3g} should do",
        )
    expect(close(got, _ridge(states, targets, 7.0, new_states)), "right without a penalty, wrong with a penalty of 7")

    trained = _r_squared(_ridge(states, targets, 7.0, states), targets, targets.mean(0))
    expect(not close(score, trained), "the predictions are right; the score is of the states that it was fitted to")
    _, perfect = ask(7.0, new_targets=got.detach())
    expect(
        close(perfect, torch.ones_like(perfect)),
        f"the predictions are right; where new targets equal them, the score should be 1, and is {perfect[0]:.3g}",
    )
    _, useless = ask(1e12)
    expect(
        (useless.abs() < 1e-6).all(),
        "the predictions are right; a probe that predicts the mean of the targets it was fitted to should score 0,"
        f" and yours scores {useless[0]:.3g}",
    )
    expect(not close(score, score[:1].expand(k)), "the predictions are right; but both targets have the same score")
    wrong = first_wrong(score, _r_squared(got, new_targets, targets.mean(0)), 0)
    expect(wrong is None, f"the predictions are right; r_squared[{wrong}] is the first that is wrong")


def _matrices(delta, A, B, C, D):
    """What every input does to every output, by the recurrence: ``(dim, length, length)``."""
    (length, dim), d_state = delta.shape, A.shape[1]
    h = torch.zeros(dim, length, d_state, dtype=A.dtype)  # [:, s]: what is left of an input of 1 at s
    rows = []
    for t in range(length):
        h = torch.exp(delta[t, :, None] * A)[:, None] * h
        h[:, t] += delta[t, :, None] * B[t]
        rows.append(h @ C[t])
    return torch.stack(rows, 1) + D[:, None, None] * torch.eye(length, dtype=D.dtype)


def _first(matrix):
    """Where the first entry is that isn't zero, a list of indices, or None."""
    return next(iter(matrix.nonzero().tolist()), None)


@exercise
def check_implicit_matrix(yours):
    """``matrices(delta, A, B, C, D) -> M``, so that ``M[c] @ u[:, c]`` is all of the scan's output in channel c.

    ``delta (length, dim)``, ``A (dim, d_state)``, ``B, C (length, d_state)``, ``D (dim,)``; M has one matrix a channel.
    """
    length, dim, d_state = 6, 3, 4
    delta, A = 0.1 + uniform(length, dim), -0.2 - uniform(dim, d_state, seed=1)
    B, C, D = normal(length, d_state, seed=2), normal(length, d_state, seed=3), normal(dim, seed=4)

    def ask(length, dim, d_state, D, delta=delta):
        arguments = (delta[:length, :dim], A[:dim, :d_state], B[:length, :d_state], C[:length, :d_state], D[:dim])
        return tensors(yours, *arguments, M=(dim, length, length)), _matrices(*arguments)

    nothing = torch.zeros_like(D)
    M, expected = ask(1, 1, 1, nothing)
    step, decay = delta[0, 0], torch.exp(delta[0, 0] * A[0, 0])
    expect(not close(M * step, expected), "with a single position, an input counts in full, however short the step")
    expect(
        not close(M, expected * decay),
        f"with a single position nothing lies between input and output, and yet {1 - decay:.0%} is lost on the way",
    )
    expect(close(M, expected), "wrong with a single position already, where one channel's state is one number")

    M, expected = ask(length, 1, 1, nothing)
    expect(not close(M, expected.mT), "M[0, 0, 1] should be what output 0 gets from input 1, and it is the reverse")
    above = _first(M.triu(1))
    expect(above is None, f"M{above} isn't zero: an output gets something of an input that comes after it")
    d, a = delta[:, 0], torch.exp(delta[:, 0] * A[0, 0])
    forms = (C[:, None, 0] * B[:, 0] * d).tril()
    expect(not close(M[0], forms), "nothing decays on the way: M[0, 1, 0] is what it would be with A = 0")
    expect(
        not close(M[0], expected[0] * a / a[:, None]),
        "the diagonal is right; but on its way to output 1, what input 0 wrote decays by another step",
    )
    expect(
        not close(M[0], expected[0] * d[:, None] / d),
        "M[0, 1, 0] is scaled by the step of position 1, and the input entered at position 0",
    )
    swapped = torch.where(forms == 0, 0, expected[0] * (B[:, None, 0] * C[:, 0]) / (C[:, None, 0] * B[:, 0]))
    expect(not close(M[0], swapped), "it writes with C and reads with B")
    wrong = first_wrong(M, expected, 1)
    expect(wrong is None, f"right for one position; with six, the row M[0, {wrong}] is the first that is wrong")
    M, expected = ask(length, 1, d_state, nothing)
    expect(close(M, expected), f"right for a state of one number, wrong for one of {d_state}")
    M, expected = ask(length, dim, d_state, nothing)
    wrong = first_wrong(M, expected, 0)
    expect(wrong is None, f"right for one channel; with three, M[{wrong}] is the first that is wrong")

    M, with_D = ask(length, dim, d_state, D)
    expect(not close(M, expected), "right without a skip connection; whatever D is, M stays the same")
    expect(
        not close(M, expected + D[:, None, None]),
        "right without a skip connection; with it, D also carries inputs to outputs at other positions",
    )
    expect(close(M, with_D), "right without a skip connection; D's share of M is wrong")
    long = delta.clone()
    long[3] = 5000.0
    M, expected = ask(length, dim, d_state, D, long)
    infinite = _first(~M.isfinite())
    expect(infinite is None, f"right for short steps; with a step of 5000 at position 3, M{infinite} isn't finite")
    expect(close(M, expected), "right for short steps; with a step of 5000 at position 3 it is wrong")
