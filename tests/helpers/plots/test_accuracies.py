"""Accuracies, each at its place and with its own interval."""

import pytest
from figures import drawn, says, texts, ticks

from helpers import plots
from helpers.train import wilson_interval

NAMED = {"one": 0.92, "other": 0.5}


def intervals(axes):
    """The ends of the error bars, from top to bottom."""
    (found,) = zip(*(one.lines[2] for one in axes.containers if hasattr(one, "lines")), strict=True)
    return [[float(x) for x, _ in bar.get_segments()[0]] for bar in found]


@pytest.mark.parametrize("draw", [plots.accuracy_dots, plots.accuracy_bars])
def test_each_has_its_name_and_its_interval(draw):
    draw(NAMED, digits=100)
    (axes,) = drawn()
    assert ticks(axes.yaxis) == {"one": 0, "other": 1} and axes.get_ylim() == (1.5, -0.5)
    expected = [pytest.approx(list(wilson_interval(accuracy, 100))) for accuracy in NAMED.values()]
    assert intervals(axes) == expected
    assert says(axes.xaxis, 0.5) == "50%" and axes.get_xlabel() == "test accuracy, with 95 % interval"


def test_bars_begin_at_zero_and_some_have_another_color():
    plots.accuracy_bars(NAMED, highlighted=["other"])
    (axes,) = drawn()
    first, second = axes.patches
    assert [(bar.get_x(), bar.get_width()) for bar in (first, second)] == [(0, 0.92), (0, 0.5)]
    assert first.get_facecolor() != second.get_facecolor() and axes.get_xlim()[0] == 0
    assert texts(axes.texts) == ["92.0%", "50.0%"]
