"""What all checks share: how an answer is called, what is expected of it, and how the verdict is said.

A check asks one thing after another, the simplest first, and stops at the first that is wrong: ``expect`` what is true
of a right answer, in a sentence that says what is wrong with this one and not how to mend it.
"""

import contextlib
import functools
import traceback
from pathlib import Path

import torch

HERE = Path(__file__).parent

BOUND = 1e-6  # of the largest relative error, in float64


class Mistake(Exception):
    """What is wrong with an answer, in a sentence."""


class Untouched(Exception):
    """An answer that hasn't been written yet."""


def exercise(check):
    """Make a check say its verdict in one line, whatever the answer does, and never stop the notebook.

    ✓ right, ✗ what is wrong, or ○ if the function still returns None.
    """

    @functools.wraps(check)
    def checked(yours):
        name = check.__name__.removeprefix("check_")
        try:
            if not callable(yours):
                raise Mistake(f"hand over the function itself, not {_kind(yours)}")
            check(yours)
        except Untouched:
            print(f"○ {name}: nothing to check yet, your function returns None")
        except Mistake as mistake:
            print(f"✗ {name}: {mistake}")
        except Exception as error:  # of the answer: what is expected of its results has been asked for
            says = str(error).partition("\n")[0]
            print(f"✗ {name}: your code stops with {type(error).__name__}: {says}{_line(error)}")
        else:
            print(f"✓ {name}")

    return checked


def expect(true, otherwise: str) -> None:
    """Raise :class:`Mistake` with the sentence unless it is true."""
    if not true:
        raise Mistake(otherwise)


def tensors(yours, *arguments, **shapes):
    """Call an answer, and see that it returns tensors of the right shapes and leaves its arguments alone.

    Args:
        arguments: what it is called with; tensors are copied first.
        shapes: the names of its results in their order, with the shape that each must have.

    Returns:
        The result, or a tuple of them.
    """
    given = [_copy(argument) for argument in arguments]
    results = yours(*given)
    if results is None:
        raise Untouched
    several = len(shapes) > 1
    expect(
        not several or (isinstance(results, tuple | list) and len(results) == len(shapes)),
        f"{len(shapes)} results are wanted, {', '.join(shapes)}; yours returns {_kind(results)}",
    )
    for (name, shape), result in zip(shapes.items(), results if several else [results], strict=True):
        expect(isinstance(result, torch.Tensor), f"{name} should be a tensor, yours is {_kind(result)}")
        wanted = tuple(shape)
        expect(tuple(result.shape) == wanted, f"{name} should have shape {wanted}, yours has {tuple(result.shape)}")
    _unchanged(arguments, given)
    return tuple(results) if several else results


def verdict(yours, *arguments) -> bool:
    """Call an answer that says True or False, each time with the same random numbers to draw from.

    Args:
        arguments: what it is called with; tensors are copied first, and must be left alone.
    """
    given = [_copy(argument) for argument in arguments]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        says = yours(*given)
    if says is None:
        raise Untouched
    number = says
    with contextlib.suppress(AttributeError, RuntimeError, ValueError):
        number = says.item()  # of a tensor or an array that holds one
    expect(isinstance(number, bool), f"True or False is wanted; yours returns {_kind(says)}")
    _unchanged(arguments, given)
    return number


def close(x, y, bound: float = BOUND) -> bool:
    """Whether two tensors agree: ``max|x - y|`` is at most ``bound`` of ``max|y|``."""
    x, y = x.detach().to(torch.promote_types(x.dtype, y.dtype)), y.detach()
    scale = y.abs().max() if y.numel() else torch.tensor(0.0)
    return bool(((x - y).abs() <= bound * scale + 1e-300).all())


def first_wrong(x, y, dim: int, bound: float = BOUND) -> int | None:
    """The first index along a dimension at which two tensors differ, or None."""
    for i, (a, b) in enumerate(zip(x.unbind(dim), y.unbind(dim), strict=True)):
        if not close(a, b, bound):
            return i
    return None


def normal(*shape, seed: int = 0) -> torch.Tensor:
    """Random numbers from a normal distribution, float64, the same each time."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def uniform(*shape, seed: int = 0) -> torch.Tensor:
    """Random numbers between 0 and 1, float64, the same each time."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def _copy(argument):
    if not isinstance(argument, torch.Tensor):
        return argument
    return argument.detach().clone().requires_grad_(argument.requires_grad)


def _unchanged(arguments, given):
    """Expect that the tensors an answer was given are still those that were copied for it."""
    for argument, copy in zip(arguments, given, strict=True):
        changed = isinstance(argument, torch.Tensor) and not torch.equal(argument, copy.to(argument.dtype))
        expect(not changed, "it changes one of its arguments; leave them as they are")


def _kind(thing) -> str:
    kind = type(thing).__name__
    return f"{'an' if kind[0].lower() in 'aeiou' else 'a'} {kind}"


def _line(error) -> str:
    """Where in the answer it stopped: the last line that is neither a library's nor ours."""
    places = [str(HERE), "site-packages"]
    frames = [f for f in traceback.extract_tb(error.__traceback__) if not any(place in f.filename for place in places)]
    return f", at `{frames[-1].line}`" if frames and frames[-1].line else ""
