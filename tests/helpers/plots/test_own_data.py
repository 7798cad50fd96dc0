"""Signals of several classes, a row each."""

import pytest
import torch
from figures import data, drawn, ticks

from helpers import plots


def test_signals_are_in_the_row_of_their_class_and_point_up():
    plots.signals({"low": torch.tensor([[0.0, 1.0], [0.0, -1.0]]), "high": torch.tensor([[2.0, 0.0]])})
    (axes,) = drawn()
    assert ticks(axes.yaxis) == {"low": 0, "high": 1} and axes.yaxis_inverted(), "the first row is at the top"
    zero, one, other, base, high = map(data, axes.lines)
    assert zero[1] == [0, 0] and base[1] == [1, 1]
    assert one == [[0, 1], pytest.approx([0, -0.35])]  # up, as the axis is upside down; all in one scale
    assert other == [[0, 1], pytest.approx([0, 0.35])]
    assert high == [[0, 1], pytest.approx([0.3, 1])]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("position in the sequence", "class")


def test_signals_draws_all_of_them():
    plots.signals({"many": torch.ones(9, 5)})
    assert len(drawn()[0].lines) == 1 + 9
