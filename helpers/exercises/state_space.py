"""Exercises of page 3: a step of zero-order hold, the kernel of a state space model, a task for a selective one."""

import torch
import torch.nn.functional as F

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors


@exercise
def check_zero_order_hold(yours):
    """``zero_order_hold(delta, A, B) -> (A_bar, B_bar)``: ``delta`` a number, the rest ``(n,)``; A may be zero."""

    def ask(delta, A, B=1.0):
        A = torch.tensor([A], dtype=torch.float64)
        return tensors(
            yours, torch.tensor(delta, dtype=torch.float64), A, torch.full_like(A, B), A_bar=(1,), B_bar=(1,)
        )

    A_bar, B_bar = ask(1e-4, -1.0)
    expect(abs(A_bar - 1) < 1e-3, f"in a step of 0.0001 hardly anything leaks, but your A_bar is {A_bar.item():.3g}")
    expect(B_bar < 1e-3, f"in a step of 0.0001 hardly anything enters, but your B_bar is {B_bar.item():.3g}")
    A_bar, B_bar = ask(3.0, -1.0)
    expect(
        A_bar >= 0,
        f"after a step of 3 a leaking bucket (A = -1) isn't below empty, but your A_bar is {A_bar.item():.3g}",
    )
    expect(close(A_bar, torch.tensor([-3.0]).double().exp()), "A_bar is right for small steps, not for a step of 3")
    settled = (B_bar / (1 - A_bar)).item()
    expect(
        abs(settled - 1) < 1e-6,
        f"held at 1, with A = -1 and B = 1, the state should settle at 1; yours goes to {settled:.3g}",
    )
    A_bar, B_bar = ask(0.7, -2.5, 3.0)
    expect(close(A_bar, torch.tensor([-1.75]).double().exp()), "A_bar is right for A = -1, but not for A = -2.5")
    expect(
        close(B_bar / ask(0.7, -2.5)[1], torch.tensor([3.0])),
        "B three times as large should let in three times as much",
    )
    settled = (B_bar / (1 - A_bar)).item()
    expect(
        abs(settled - 1.2) < 1e-6,
        f"held at 1, with A = -2.5 and B = 3, the state should settle at 1.2; yours goes to {settled:.3g}",
    )
    A_bar, B_bar = ask(0.7, 0.0, 3.0)
    expect(
        close(B_bar, torch.tensor([2.1]).double()),
        f"a bucket without a leak (A = 0) should fill by 2.1 in a step of 0.7 with B = 3, not by {B_bar.item():.3g}",
    )


@exercise
def check_kernel(yours):
    """``kernel(A_bar, B_bar, C, length) -> K``: ``(n, n), (n,), (n,)`` to ``(length,)``."""
    n, length = 3, 9
    A_bar, B_bar, C = 0.5 * normal(n, n), normal(n, seed=1), normal(n, seed=2)

    def ask(A_bar):
        return tensors(yours, A_bar, B_bar, C, length, K=(length,))

    def right(A_bar):
        return torch.stack([C @ torch.linalg.matrix_power(A_bar, s) @ B_bar for s in range(length)])

    diagonal = torch.diag(torch.tensor([0.9, -0.5, 0.2], dtype=torch.float64))
    K, expected = ask(diagonal), right(diagonal)
    expect(
        not close(K, expected.flip(0)), "it runs backwards: K[0] belongs to the newest input, and yours to the oldest"
    )
    expect(
        not close(K[:-1], expected[1:]),
        "it is one step ahead: an input counts at once, before it has decayed, and K[0] says by how much",
    )
    expect(
        close(K[0], expected[0]),
        "K[0] is what an input of 1 adds to the output of the same step, and yours is something else",
    )
    wrong = first_wrong(K, expected, 0)
    expect(wrong is None, f"K[{wrong}] is the first that is wrong: what is left of an input after {wrong} steps?")
    K, expected = ask(A_bar), right(A_bar)
    expect(
        not close(K, right(A_bar.mT)),
        "it is right where A_bar equals its transpose, so somewhere rows and columns are exchanged",
    )
    wrong = first_wrong(K, expected, 0)
    expect(wrong is None, f"it is right for a diagonal A_bar; for a full one K[{wrong}] is the first that is wrong")


@exercise
def check_selective_task(yours):
    """``rule(tokens) -> answers``: ``(n, 24)``, whole numbers, 0 for a blank or 1 to 8, to whole numbers ``(n,)``."""
    generator = torch.Generator().manual_seed(0)
    tokens = torch.randint(1, 9, (6000, 24), generator=generator)
    tokens *= torch.rand(tokens.shape, generator=generator) < 0.25
    answers = tensors(yours, tokens, answers=(len(tokens),))
    expect(
        not answers.is_floating_point() and not answers.is_complex(),
        f"answers should be whole numbers, yours are {answers.dtype}",
    )
    expect(
        torch.equal(answers, tensors(yours, tokens, answers=(len(tokens),))),
        "asked twice about the same sequences, it answers differently: a rule needs no chance",
    )
    alone = tensors(yours, tokens[:50], answers=(50,))
    expect(torch.equal(alone, answers[:50]), "the answer for a sequence depends on the others of its batch")
    kinds, classes = answers.unique(return_inverse=True)
    common = (classes.bincount().max() / len(classes)).item()
    expect(common < 0.7, f"{common:.0%} of the sequences have the same answer, so nothing need be read")
    earlier = torch.cat([tokens[:, :12].roll(1, 0), tokens[:, 12:]], 1)
    moved = (tensors(yours, earlier, answers=(len(tokens),)) != answers).double().mean().item()
    expect(
        moved > 0.05,
        f"exchange the first half of the sequence, and {1 - moved:.0%} of the answers stay: nothing need be remembered",
    )
    seen = F.one_hot(tokens, 9).flatten(1).double()
    seen = torch.cat([seen, torch.ones(len(seen), 1, dtype=torch.float64)], 1)
    wanted = F.one_hot(classes, len(kinds)).double()
    ridge = seen[:5000].mT @ seen[:5000] + 1e-3 * torch.eye(seen.shape[1], dtype=torch.float64)
    # By a score for each answer; and by a number, to which the nearest answer is taken: that finds a sum.
    targets = torch.cat([wanted, kinds[classes].double().unsqueeze(1)], 1)
    found = seen[5000:] @ torch.linalg.solve(ridge, seen[:5000].mT @ targets[:5000])
    named = (found[:, :-1].argmax(1), (found[:, -1:] - kinds.double()).abs().argmin(1))
    fixed = max((answer == classes[5000:]).double().mean().item() for answer in named)
    expect(
        fixed < (1 + common) / 2,
        f"a weight for each token at each position answers {fixed:.0%} of them, so fixed dynamics are enough",
    )
