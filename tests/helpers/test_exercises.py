"""The exercises: on every page a stub that isn't right yet, an answer that is, and wrong answers that are told why."""

import math

import nbformat
import pytest
import torch
from repository import ROOT
from wrong_answers import WRONG

from helpers import exercises
from helpers.exercises.checking import exercise, expect, tensors, verdict

PAGES = sorted((ROOT / "notebooks").glob("*.ipynb"))


def cells(tag):
    """``{name of a check: source of the cell that calls it}`` of the cells with a tag, over all pages."""
    found = {}
    for path in PAGES:
        for cell in nbformat.read(path, as_version=4).cells:
            if tag in cell.metadata.get("tags", []):
                check = cell.source.rstrip().splitlines()[-1].partition("(")[0]
                assert check not in found, f"{check} twice"
                found[check] = cell.source
    return found


STUBS, ANSWERS = cells("exercise"), cells("answer")


def test_every_check_has_a_stub_an_answer_and_wrong_answers():
    checks = set(exercises.__all__)
    assert checks == set(STUBS) == set(ANSWERS) == set(WRONG)
    assert {name: len(answers) for name, answers in WRONG.items() if len(answers) < 3} == {}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.stem)
def test_every_page_has_two_to_four_exercises(path):
    stubs = [cell for cell in nbformat.read(path, as_version=4).cells if "exercise" in cell.metadata.get("tags", [])]
    assert len(stubs) in ((0, 1) if path.stem.startswith("A") else (2, 3, 4))


@pytest.mark.parametrize("name", exercises.__all__)
def test_stub_has_nothing_to_check(name, capsys):
    exec(STUBS[name], {"torch": torch, name: getattr(exercises, name)})
    assert (
        capsys.readouterr().out
        == f"○ {name.removeprefix('check_')}: nothing to check yet, your function returns None\n"
    )


@pytest.mark.parametrize("name", exercises.__all__)
def test_answer_passes(name, capsys):
    exec(ANSWERS[name], {"math": math, "torch": torch, name: getattr(exercises, name)})
    assert capsys.readouterr().out == f"✓ {name.removeprefix('check_')}\n"


@pytest.mark.parametrize(
    "name, answer, says",
    [(name, *pair) for name, pairs in WRONG.items() for pair in pairs],
    ids=lambda x: getattr(x, "__name__", None),
)
def test_wrong_answer_is_told_why(name, answer, says, capsys):
    getattr(exercises, name)(answer)
    said = capsys.readouterr().out
    assert said.startswith(f"✗ {name.removeprefix('check_')}: ") and said.count("\n") == 1
    assert says in said


@exercise
def check_twice(yours):
    x = torch.tensor([1.0, 2.0])
    expect(torch.equal(tensors(yours, x, y=(2,)), 2 * x), "not twice")


def stops(x):
    raise ValueError("one line\nand another")


@pytest.mark.parametrize(
    "yours, says",
    [
        (lambda x: 2 * x, "✓ twice"),
        (lambda x: x, "✗ twice: not twice"),
        (lambda x: None, "○ twice: nothing to check yet"),
        (lambda x: [2.0, 4.0], "y should be a tensor, yours is a list"),
        (lambda x: x[:1], "y should have shape (2,), yours has (1,)"),
        (lambda x: x.mul_(2), "changes one of its arguments"),
        (lambda x: x.no_such_thing, "AttributeError: 'Tensor' object has no attribute 'no_such_thing', at `"),
        (lambda x: torch.zeros(2) @ torch.zeros(3), "your code stops with RuntimeError"),
        (stops, "your code stops with ValueError: one line, at `raise ValueError"),
        (3, "hand over the function itself, not an int"),
    ],
)  # fmt: skip
def test_verdicts(yours, says, capsys):
    check_twice(yours)
    said = capsys.readouterr().out
    assert says in said and said.count("\n") == 1


def test_two_results(capsys):
    @exercise
    def check_both(yours):
        tensors(yours, a=(1,), b=())

    check_both(lambda: torch.zeros(1))
    assert "2 results are wanted, a, b; yours returns a Tensor" in capsys.readouterr().out
    check_both(lambda: (torch.zeros(1), torch.tensor(0)))
    assert capsys.readouterr().out == "✓ both\n"


@exercise
def check_positive(yours):
    expect(verdict(yours, torch.tensor([1.0, 2.0])), "they are")


@pytest.mark.parametrize(
    "yours, says",
    [
        (lambda x: bool((x > 0).all()), "✓ positive"),
        (lambda x: (x > 0).all(), "✓ positive"),
        (lambda x: (x > 0).all().numpy()[()], "✓ positive"),
        (lambda x: False, "✗ positive: they are"),
        (lambda x: None, "○ positive: nothing to check yet"),
        (lambda x: x > 0, "True or False is wanted; yours returns a Tensor"),
        (lambda x: 1, "True or False is wanted; yours returns an int"),
        (lambda x: bool(x.mul_(2).all()), "changes one of its arguments"),
    ],
)  # fmt: skip
def test_true_or_false(yours, says, capsys):
    check_positive(yours)
    said = capsys.readouterr().out
    assert says in said and said.count("\n") == 1


def test_a_verdict_by_chance_is_the_same_each_time_and_leaves_the_generator_alone():
    drawn = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        state = torch.get_rng_state()
        verdict(lambda: drawn.append(torch.rand(()).item()) or True)
        assert torch.equal(torch.get_rng_state(), state)
    assert drawn[0] == drawn[1]
