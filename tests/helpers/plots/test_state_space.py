"""States, kernels and the copying task."""

import pytest
import torch
from figures import curves, data, drawn, says, texts, ticks

from helpers import plots


def test_discretizations():
    versions = {"Euler": [0.5, 0.25], "zero-order hold": [0.625, 0.375]}
    plots.discretizations([0.0, 0.5, 1.0], [1.0, 0.6, 0.4], [0.5, 1.0], versions, {"block": torch.tensor([2.0, 1.0])})
    axes, shares = drawn()
    assert texts(axes.get_legend().get_texts()) == ["continuous", *versions]
    found = curves(axes, axes.get_legend())
    assert found["continuous"] == [[0, 0.5, 1], [1, 0.6, 0.4]]
    assert all(found[name] == [[0.5, 1], states] for name, states in versions.items())
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("time", "state")
    factors, share = curves(shares, shares.get_legend())["block"]
    assert factors[0] == 1 and factors[-1] == 2 and sorted(factors) == factors, "in order"
    assert share[0] == 0 and share[-1] == 1 and says(shares.yaxis, 0.5) == "50%"


def test_spiral():
    times, exact, C = torch.arange(3.0), torch.tensor([[1.0, 0.0], [0.0, 0.5], [-0.25, 0.0]]), torch.tensor([1.0, 2.0])
    plots.spiral(times, exact, times[:2], {"hold": exact[:2]}, C)
    plane, course = drawn()[:2]
    segments = [axes.collections[0].get_segments() for axes in (plane, course)]
    assert [one.tolist() for one in segments[0]] == [exact[:2].tolist(), exact[1:].tolist()]
    assert [one.tolist() for one in segments[1]] == [[[0, 1], [1, 1]], [[1, 1], [2, -0.25]]]
    marks = [axes.collections[1].get_offsets().tolist() for axes in (plane, course)]
    assert marks == [exact[:2].tolist(), [[0, 1], [1, 1]]]


def test_two_views():
    u, K = torch.tensor([0.0, 2.0, 0.0, -1.0]), torch.tensor([1.0, 0.5, 0.25, 0.125])
    y = torch.tensor([0.0, 2.0, 1.0, -0.5])
    plots.two_views(u, K, torch.stack([y, -y], -1), y, (1, 2))
    sliding, plane, course = (row[1] for row in (drawn()[:2], drawn()[2:4], drawn()[4:]))
    assert data(sliding.lines[0]) == [[0, 1, 2], [0.25, 0.5, 1]], "the kernel, backwards, its newest weight at t"
    assert data(plane.lines[0]) == [[0, 0, 2, 1], [0, 0, -2, -1]]
    assert data(course.lines[0]) == [[0, 1, 2], [0, 2, 1]]


def test_step_sizes():
    steps = {"before": torch.full((3, 2), 0.1), "after": torch.tensor([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]])}
    plots.step_sizes(torch.tensor([0, 3, 9]), steps, 9)
    top, *panels = drawn()[:3]
    assert texts(top.texts) == ["3", "?"]
    assert [one.get_title() for one in panels] == list(steps)
    assert torch.equal(torch.as_tensor(panels[1].images[0].get_array().data), steps["after"].T), (
        "positions to the right"
    )


def test_gates():
    plots.gates({"seed": {"Mamba": (torch.tensor([1e-9, 0.1]), torch.tensor([0.5, 0.1]))}})
    (axes,) = drawn()
    assert data(axes.lines[1])[0] == pytest.approx([1e-7, 0.1]) and data(axes.lines[1])[1] == pytest.approx([0.5, 0.1])
    assert axes.get_xscale() == axes.get_yscale() == "log"


def test_impulse_responses_in_reading_order():
    kernels = {"fast": torch.tensor([1.0, 0.5]), "slow": torch.tensor([2.0, 1.5]), "none": torch.zeros(2)}
    parts = {"all": torch.tensor([1.0, 0.25]), "some": torch.tensor([0.5, 0.5])}
    plots.impulse_responses(kernels, parts)
    axes = drawn()[:4]
    assert [one.get_title() for one in axes] == [*kernels, ""]
    assert [data(one.lines[0]) for one in axes[:3]] == [[[0, 1], kernel.tolist()] for kernel in kernels.values()]
    assert curves(axes[3], axes[3].get_legend()) == {name: [[0, 1], part.tolist()] for name, part in parts.items()}
    places = [(spec.rowspan.start, spec.colspan.start) for spec in (one.get_subplotspec() for one in axes)]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert axes[2].get_xlabel() == "steps since the input" and axes[0].get_ylabel() == "response / Δ"


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
    by_answer = {"Mamba": [[0.9, 0.5, 0.25]], "S4D": [[0.2, 0.3, 0.4]]}
    plots.copying(by_answer, [10, 1000], {"S4D": [[0.75, 0.125], [0.5, 0.25]]})
    left, right = drawn()
    legend = left.get_legend()
    assert curves(left, legend) == {name: [[1, 2, 3], seeds[0]] for name, seeds in by_answer.items()}
    assert [data(line) for line in right.lines[:2]] == [[[10, 1000], [0.75, 0.125]], [[10, 1000], [0.5, 0.25]]]
    assert [data(axes.lines[-1])[1] for axes in (left, right)] == [[1 / 8] * 2] * 2, "chance"
    assert left.get_ylim() == pytest.approx((0, 1.03)) and list(left.get_xticks()) == [1, 2, 3]
    assert ticks(right.xaxis) == {"10": 10, "1000": 1000} and right.get_xscale() == "log"
    assert (left.get_xlabel(), left.get_ylabel()) == ("answer", "accuracy") and says(left.yaxis, 0.5) == "50%"
    assert right.get_xlabel() == "positions before the questions"
