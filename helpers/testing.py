"""What a scan is held against: inputs of the size that a block makes, the exact results, and what "equal" means.

"Equal" has one meaning in this tutorial: ``max|x - y| / max|y|`` of a tensor is within a bound, which is given.
"""

import torch

from helpers.scan import selective_scan


class WrongResult(Exception):
    """A result is not what it should be."""


def relative_error(x, y) -> float:
    """``max|x - y| / max|y|``, computed in y's dtype; NaN if there is one in x, 0 if both are all zeros.

    Raises:
        WrongResult: if the shapes differ.
    """
    if x.shape != y.shape:
        raise WrongResult(f"wrong: {tuple(x.shape)} instead of {tuple(y.shape)}")
    if not y.numel():
        return 0.0
    error = (x.to(y.dtype) - y).abs().max()
    return 0.0 if error == 0 else (error / y.abs().max()).item()


def worst_error(results, expected) -> float:
    """The largest :func:`relative_error` of several tensors; NaN if there is one in any of them.

    Raises:
        WrongResult: if there are more or fewer of them than expected, or a shape differs.
    """
    if len(results) != len(expected):
        raise WrongResult(f"wrong: {len(results)} tensors instead of {len(expected)}")
    errors = [relative_error(x, y) for x, y in zip(results, expected, strict=True)]
    return torch.tensor(errors, dtype=torch.float64).max().item()  # Python's max would lose a NaN


def check(claim: str, x, y=None, bound: float = 1e-6) -> None:
    """Check a claim of a page, and say so in one line; where it does not hold, the page stops.

    Args:
        claim: what should hold, such as ``"numba equals the loop"``.
        x: whether it holds; or, with ``y``, a tensor or several.
        y: what ``x`` should equal: as many tensors, of the same shapes.
        bound: on the largest :func:`relative_error`.

    Raises:
        WrongResult: if it does not hold.
    """
    holds = x
    if y is not None:
        one = isinstance(y, torch.Tensor)
        error = relative_error(x, y) if one else worst_error(x, y)
        holds = error <= bound  # never, if it is NaN
        claim = f"{claim}: differs by {error:.0e}, at most {bound:.0e}"
    if not holds:
        raise WrongResult(f"✗ {claim}")
    print(f"✓ {claim}")


def scan_inputs(batch, length, device, dim=128, d_state=16):
    """The arguments of a scan by name, and a gradient of its output: float32, of the size they have in a new block.

    In memory the sequences are ``(batch, length, channels)``: this is how the projections of a block write them.
    """
    random = torch.Generator().manual_seed(0)

    def sequence(channels):
        return torch.randn(batch, length, channels, generator=random).to(device).mT

    inputs = {
        "u": sequence(dim),
        "delta": sequence(dim),
        "A": -torch.arange(1.0, d_state + 1, device=device).repeat(dim, 1),
        "B": sequence(d_state),
        "C": sequence(d_state),
        "D": torch.ones(dim, device=device),
        "z": sequence(dim),
        "delta_bias": torch.full((dim,), -4.0, device=device),  # steps of about 0.02
    }
    return {name: x.requires_grad_() for name, x in inputs.items()}, sequence(dim)


def with_gradients(function, inputs, dy) -> list:
    """The output of ``function()``, and then the gradients of ``inputs``, ``{name: tensor}``, in their order."""
    y = function()
    # At length 1 nothing decays: A is not used, and its gradient is zero.
    return [y.detach(), *torch.autograd.grad(y, list(inputs.values()), dy, allow_unused=True, materialize_grads=True)]


def exact_scan(inputs, dy) -> list:
    """What :func:`with_gradients` should give for a scan: the reference in float64, a sequence at a time."""
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    ys = []
    for one in range(len(dy)):  # all at once would take much more memory
        part = {name: x[one : one + 1] if x.dim() == 3 else x for name, x in exact.items()}
        y = selective_scan(**part, delta_softplus=True, backend="reference")
        y.backward(dy[one : one + 1].double())
        ys.append(y.detach())
    return [torch.cat(ys), *(x.grad for x in exact.values())]
