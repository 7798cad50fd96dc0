"""Arguments for a scan, its results and gradients by name, and how far two results are from each other."""

import torch

from helpers.scan import selective_scan

BATCH, DIM, D_STATE = 2, 4, 3
WIDE = dict(dim=40, d_state=5)  # here the fused kernels compute channels side by side, and fill up the last vectors
NARROW = dict(dim=4, d_state=18)  # and here states
FORMS = ["fixed", "varying", "groups"]  # of B and C
BOUND = 2e-5  # float32, the largest error over the largest number of a tensor


def arguments(
    length=9, form="varying", complex_A=False, dtype=torch.float64, seed=0, *, batch=BATCH, dim=DIM, d_state=D_STATE,
    groups=2, channels_last=False, without=(),
):  # fmt: skip
    """All arguments of a scan by name, but for those in ``without``; in memory channels come first, or last."""
    random = torch.Generator().manual_seed(seed)

    def normal(*shape, dtype=dtype):
        return torch.randn(*shape, generator=random, dtype=dtype)

    A = -torch.rand(dim, d_state, generator=random, dtype=dtype) - 0.1
    if complex_A:
        A = torch.complex(A, normal(dim, d_state))
    entries = length * (2 if complex_A else 1)
    groups = {"varying": (), "groups": (groups,)}.get(form)
    B_shape = (dim, d_state) if form == "fixed" else (batch, *groups, d_state, entries)
    B_dtype = A.dtype if form == "fixed" else dtype
    given = {
        "u": normal(batch, dim, length),
        "delta": normal(batch, dim, length),
        "A": A,
        "B": normal(*B_shape, dtype=B_dtype),
        "C": normal(*B_shape, dtype=B_dtype),
        "D": normal(dim),
        "z": normal(batch, dim, length),
        "delta_bias": normal(dim),
        "initial_state": normal(batch, dim, d_state, dtype=A.dtype),
    }
    if channels_last:
        sequences = ("u", "delta", "z", *("BC" if form != "fixed" else ""))
        given |= {name: given[name].movedim(-1, 1).contiguous().movedim(1, -1) for name in sequences}
    return {name: x for name, x in given.items() if name not in without}


def scan(given, backend, **options):
    return selective_scan(**given, delta_softplus=True, return_last_state=True, backend=backend, **options)


def gradients(given, backend, weights):
    """The gradients of a weighted sum of outputs and last state, by the name of the argument."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    total = sum((x * w).sum() for x, w in zip(scan(leaves, backend), weights, strict=True))
    return dict(zip(leaves, torch.autograd.grad(total, list(leaves.values())), strict=True))


def error(x, y):
    """``max|x - y| / max|y|``, in the wider precision of the two."""
    assert x.shape == y.shape
    dtype = torch.promote_types(x.dtype, y.dtype)
    x, y = x.detach().cpu().to(dtype), y.detach().cpu().to(dtype)
    if not y.numel() or torch.equal(x, y):  # both may be zero
        return 0.0
    return ((x - y).abs().max() / y.abs().max()).item()


def assert_equal(found, expected, bound=BOUND):
    """Two dictionaries have the same names, and each pair of their tensors is equal within the bound."""
    assert found.keys() == expected.keys()
    errors = {name: error(x, expected[name]) for name, x in found.items()}
    assert all(value < bound for value in errors.values()), errors


def random_sum(y):
    """A sum of y's numbers with random weights, the same for one shape: its gradient tells the numbers apart."""
    return (y * torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)).sum()


def with_gradients(function, given):
    """Every result of ``function(**given)``, and the gradients of a random sum of the first, by name."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    results = function(**leaves)
    results = results if isinstance(results, tuple) else (results,)
    found = torch.autograd.grad(random_sum(results[0]), list(leaves.values()))
    names = [*("y", "last_state")[: len(results)], *(f"d{name}" for name in leaves)]
    return dict(zip(names, [*results, *found], strict=True))
