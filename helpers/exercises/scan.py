"""Exercises of page 4 and of A3: the loop, its gradients without indexing and by hand, joining, and gates."""

import torch

from helpers.exercises.checking import close, exercise, expect, first_wrong, normal, tensors, uniform


def _loop(u, delta, A, B, C, D, h):
    """The recurrence of page 4, with a state to start from: ``(y, h)``."""
    ys = []
    for t in range(u.shape[-1]):
        h = torch.exp(delta[..., t, None] * A) * h + (delta * u)[..., t, None] * B[:, None, :, t]
        ys.append((h * C[:, None, :, t]).sum(-1) + D * u[..., t])
    return torch.stack(ys, -1), h


@exercise
def check_loop(yours):
    """``loop(u, delta, A, B, C, D, h) -> (y, h)``: shapes as on page 4, ``D (dim,)``, ``h (batch, dim, d_state)``."""
    batch, dim, d_state, length = 2, 3, 4, 7
    u, delta = normal(batch, dim, length), uniform(batch, dim, length, seed=1)
    A = -uniform(dim, d_state, seed=2) - 0.1
    B, C = normal(batch, d_state, length, seed=3), normal(batch, d_state, length, seed=4)
    D, h = normal(dim, seed=5), normal(batch, dim, d_state, seed=6)
    nothing, empty = torch.zeros_like(D), torch.zeros_like(h)

    def ask(length, D, h):
        first = [x[..., :length] for x in (u, delta, B, C)]
        arguments = (first[0], first[1], A, first[2], first[3], D, h)
        return tensors(yours, *arguments, y=(batch, dim, length), h=h.shape), _loop(*arguments)

    (y, _), (expected, _) = ask(1, nothing, empty)
    expect(
        not close(y, torch.zeros_like(y)),
        "at the first position the output is zero: it is read before the input has entered",
    )
    expect(
        not close(y * delta[..., :1], expected),
        "at the first position the input enters in full, however short the step",
    )
    expect(close(y, expected), "wrong at the first position already, where the state starts at zero and D is zero")
    (y, last), (expected, last_expected) = ask(length, nothing, empty)
    fresh = torch.stack(
        [
            _loop(*(x[..., t : t + 1] for x in (u, delta)), A, *(x[..., t : t + 1] for x in (B, C)), nothing, empty)[0][
                ..., 0
            ]
            for t in range(length)
        ],
        -1,
    )
    expect(not close(y, fresh), "right for length 1; the state is not carried: y[1] ignores u[0]")
    wrong = first_wrong(y, expected, -1)
    expect(
        wrong is None, f"right for length 1; with D and the first state at zero, y[{wrong}] is the first that is wrong"
    )
    expect(
        close(last, last_expected), "y is right, but the state that is returned isn't the one after the last position"
    )
    (y, _), (expected, _) = ask(length, nothing, h)
    expect(not close(y, _loop(u, delta, A, B, C, nothing, empty)[0]), "it starts at zero whatever state it is given")
    expect(close(y, expected), "right when it starts at zero, wrong when it starts from a given state")
    (y, _), (expected, _) = ask(length, D, h)
    expect(not close(y, _loop(u, delta, A, B, C, nothing, h)[0]), "right without D; with it, the output stays the same")
    expect(close(y, expected), "right without D; D's share of the output is wrong")


@exercise
def check_unbind(yours):
    """``scan(A_bar, Bu, C) -> y``, which autograd can go back through in a time linear in the length.

    ``A_bar, Bu (batch, dim, length, d_state)`` and ``C (batch, d_state, length)``; ``y (batch, dim, length)``.
    """
    batch, dim, length, d_state = 2, 3, 12, 4
    A_bar = uniform(batch, dim, length, d_state).requires_grad_()
    Bu = normal(batch, dim, length, d_state, seed=1).requires_grad_()
    C = normal(batch, d_state, length, seed=2).requires_grad_()
    h, ys = torch.zeros(batch, dim, d_state, dtype=torch.float64), []
    for a, b, c in zip(A_bar.unbind(2), Bu.unbind(2), C.unbind(2), strict=True):
        h = a * h + b
        ys.append((h * c.unsqueeze(1)).sum(-1))
    expected = torch.stack(ys, -1)
    given = {}

    def keeping(*arguments):
        given.update(zip(("A_bar", "Bu", "C"), arguments, strict=True))
        return yours(*arguments)

    y = tensors(keeping, A_bar, Bu, C, y=expected.shape)
    wrong = first_wrong(y, expected, -1)
    expect(wrong is None, f"y[{wrong}] is the first that is wrong")
    expect(y.requires_grad, "the output is right, but it has no gradient: somewhere it leaves PyTorch's notes")
    got = torch.autograd.grad(y.sum(), list(given.values()), retain_graph=True, allow_unused=True)
    for name, ours, theirs in zip(given, torch.autograd.grad(expected.sum(), (A_bar, Bu, C)), got, strict=True):
        expect(theirs is not None and close(theirs, ours), f"the output is right, but the gradient of {name} isn't")
    for operation, says in _OPERATIONS.items():
        times = sum(name.endswith(operation) for name in _operations(y))
        expect(
            times < length,
            f"output and gradients are right, but for {length} positions autograd has noted {times} times that {says}",
        )


# What makes the backward pass quadratic: each of these has a gradient as large as the whole sequence.
_OPERATIONS = {
    "SelectBackward0": "one position is picked out of a sequence: the gradient of each pick is as long as the sequence",
    "SliceBackward0": "a piece is cut out of a sequence: the gradient of each cut is as long as the sequence",
    "IndexBackward0": "one position is picked out of a sequence: the gradient of each pick is as long as the sequence",
    "CopySlices": "something is written into a tensor as long as the sequence, whose gradient it copies each time",
    "CatBackward0": "an output that grows is copied once more",
}


def _operations(y) -> list[str]:
    """The names of what autograd has noted on the way to ``y``."""
    seen, todo = set(), [y.grad_fn]
    while todo:
        node = todo.pop()
        if node is not None and node not in seen:
            seen.add(node)
            todo += [other for other, _ in node.next_functions]
    return [node.name() for node in seen]


@exercise
def check_join(yours):
    """``join(earlier, later) -> (l, b)``: of pairs ``(l, b)`` that stand for ``h -> exp(l) h + b``; all ``(n,)``."""
    n = 5
    parts = [(-uniform(n, seed=i), normal(n, seed=10 + i)) for i in range(3)]

    def ask(earlier, later):
        return tensors(lambda *numbers: yours(numbers[:2], numbers[2:]), *earlier, *later, l=(n,), b=(n,))

    (l1, b1), (l2, b2), third = parts
    l, b = ask(*parts[:2])  # noqa: E741
    expect(
        not close(l, l1 * l2), "l is the logarithm of a factor. What becomes of logarithms when factors are multiplied?"
    )
    expect(close(l, l1 + l2), "l is wrong: started at h and without any input, the two steps leave exp(l) of h")
    expect(
        not close(b, b1 + b2), "started at zero, the two steps end at b, but on the way what entered first has decayed"
    )
    expect(not close(b, b1 + l1.exp() * b2), "it takes the later part for the earlier one")
    expect(close(b, b1 * l2.exp() + b2), "b is wrong: started at zero, the two steps should end at b")
    left, right = ask((l, b), third), ask(parts[0], ask(parts[1], third))
    expect(close(left[1], right[1]), "it isn't associative: with three parts it matters which two are joined first")


@exercise
def check_gates(yours):
    """``as_scan(f, i, c) -> (delta, u)``, all ``(length,)``: a scan with A = -1, B = 1 then keeps f and lets in i c."""
    length = 6
    f, i, c = 0.05 + 0.9 * uniform(length), uniform(length, seed=1), normal(length, seed=2)
    delta, u = tensors(yours, f, i, c, delta=(length,), u=(length,))
    expect((delta > 0).all(), "a step size should be positive")
    keeps = torch.exp(-delta)
    expect(not close(keeps, 1 - f), "the scan now keeps 1 - f of the state")
    expect(close(keeps, f), f"where f is {f[0]:.2f}, a scan with your step size keeps {keeps[0]:.2f} of the state")
    expect(
        not close(u, i * c),
        "the state keeps f; but the scan multiplies u by the step size, and lets in something else than i c",
    )
    expect(close(delta * u, i * c), "the state keeps f; but what the scan lets in isn't i c")


@exercise
def check_scan_backward(yours):
    """``backward(a, h, dh) -> (da, db)`` of ``h[t] = a[t] h[t-1] + b[t]`` from zero; all ``(length, n)``."""
    length, n = 6, 3
    a, b = uniform(length, n).requires_grad_(), normal(length, n, seed=1).requires_grad_()
    states = [torch.zeros(n, dtype=torch.float64)]
    for a_t, b_t in zip(a, b, strict=True):
        states.append(a_t * states[-1] + b_t)
    h, dh = torch.stack(states[1:]), normal(length, n, seed=2)
    da_expected, db_expected = torch.autograd.grad(h, (a, b), dh)
    da, db = tensors(yours, a.detach(), h.detach(), dh, da=a.shape, db=b.shape)
    expect(close(db[-1], db_expected[-1]), "db is wrong at the last position, which nothing comes after")
    expect(
        not close(db, dh),
        "db is right at the last position only: an earlier state also counts by way of all later ones",
    )
    wrong = first_wrong(db.flip(0), db_expected.flip(0), 0)
    expect(
        wrong is None,
        f"going back from the end, db[{-1 - (wrong or 0)}] is the first that is wrong: by which a does it come back?",
    )
    expect(
        not close(da, db * h.detach()),
        "db is right; da multiplies it by the state after the step, and a[t] acts on another",
    )
    expect(close(da[1:], da_expected[1:]), "db is right, da isn't")
    expect(close(da, da_expected), "right but for da[0]: the state before the first position is zero")
