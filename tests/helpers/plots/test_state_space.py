"""States, kernels and the copying task."""

import pytest
import torch
from figures import curves, data, drawn, says, texts, ticks

from helpers import plots


def test_discretizations():
    versions = {"Euler": [0.5, 0.25], "zero-order hold": [0.625, 0.375]}
    plots.discretizations([0.0, 0.5, 1.0], [1.0, 0.6, 0.4], [0.5, 1.0], versions)
    (axes,) = drawn()
    assert texts(axes.get_legend().get_texts()) == ["continuous", *versions]
    found = curves(axes, axes.get_legend())
    assert found["continuous"] == [[0, 0.5, 1], [1, 0.6, 0.4]]
    assert all(found[name] == [[0.5, 1], states] for name, states in versions.items())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time", "state")


def test_impulse_responses_in_reading_order():
    kernels = {"fast": torch.tensor([1.0, 0.5]), "slow": torch.tensor([2.0, 1.5]), "none": torch.zeros(2)}
    plots.impulse_responses(kernels)
    axes = drawn()[:3]
    assert [one.get_title() for one in axes] == list(kernels)
    assert [data(one.lines[0]) for one in axes] == [[[0, 1], kernel.tolist()] for kernel in kernels.values()]
    places = [(spec.rowspan.start, spec.colspan.start) for spec in (one.get_subplotspec() for one in axes)]
    assert places == [(0, 0), (0, 1), (1, 0)]
    assert axes[2].get_xlabel() == "steps since the input" and axes[0].get_ylabel() == "response"


def test_token_sequences():
    plots.token_sequences(torch.tensor([[0, 3, 0, 9], [1, 0, 2, 9]]), ["first", "second"], 9)
    (axes,) = drawn()
    written = {(int(y), int(x)): text.get_text() for text in axes.texts for x, y in [text.get_position()]}
    assert written == {(0, 1): "3", (0, 3): "?", (1, 0): "1", (1, 2): "2", (1, 3): "?"}
    shades = axes.images[0].get_array()
    assert (shades == [[0, 1, 0, shades[0, 3]], [1, 0, 1, shades[0, 3]]]).all() and 0 < shades[0, 3] < 1
    assert axes.images[0].get_extent() == [-0.5, 3.5, 1.5, -0.5]
    assert ticks(axes.yaxis) == {"first": 0, "second": 1} and axes.get_xlabel() == "position"


def test_copying():
    by_answer = {"Mamba": [0.9, 0.5, 0.25], "S4D": [0.2, 0.3, 0.4]}
    plots.copying(by_answer, [10, 1000], {"S4D": [0.75, 0.125]})
    left, right = drawn()
    legend = left.get_legend()
    assert curves(left, legend) == {name: [[1, 2, 3], values] for name, values in by_answer.items()}
    assert curves(right, legend) == {"S4D": [[10, 1000], [0.75, 0.125]]}
    assert [data(axes.lines[-1])[1] for axes in (left, right)] == [[1 / 8] * 2] * 2, "chance"
    assert left.get_ylim() == pytest.approx((0, 1.03)) and list(left.get_xticks()) == [1, 2, 3]
    assert ticks(right.xaxis) == {"10": 10, "1000": 1000} and right.get_xscale() == "log"
    assert (left.get_xlabel(), left.get_ylabel()) == ("answer", "accuracy") and says(left.yaxis, 0.5) == "50%"
    assert right.get_xlabel() == "positions before the questions"
