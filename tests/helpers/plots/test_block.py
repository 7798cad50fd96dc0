"""The block: its widths where they belong, its step sizes, its ablations."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures import curves, data, drawn, says, texts, ticks

from helpers import plots


def test_mamba_block_has_every_width_where_it_flows():
    plots.mamba_block(d_model=16, d_inner=33, d_state=8, dt_rank=2, d_conv=5)
    (axes,) = drawn()
    places = {text.get_text(): text.get_position() for text in axes.texts if text.get_text()}
    ends = sorted(text.get_position()[0] for text in axes.texts if text.get_text() == "16")
    assert len(ends) == 2 and ends[0] < -1 and ends[1] > 21, "what comes in is as wide as what goes out"
    widths = {"x: 33", "z: 33", "u: 33", "dt: 2", "Δ: 33", "B, C:\n8 each", "y: 33"}
    meet = ("conv1d\n5 taps,\nSiLU", "selective scan\nand skip")
    boxes = (*meet, "RMSNorm", "linear\nin_proj", "SiLU", "linear\nx_proj", "linear\ndt_proj,\nsoftplus",
             "linear\nout_proj")  # fmt: skip
    assert set(places) == {"16", *widths, *boxes, "A, D", "×", "+", "the Mamba block", "residual connection"}
    order = ["RMSNorm", "linear\nin_proj", "x: 33", meet[0], "linear\nx_proj", "dt: 2",
             "linear\ndt_proj,\nsoftplus", meet[1], "y: 33", "×", "linear\nout_proj", "+"]  # fmt: skip
    assert order == sorted(order, key=lambda name: places[name][0]), "from the left to the right"
    assert places["x: 33"][1] > places["z: 33"][1], "the gate goes below"
    patches = {tuple(p.get_center().round(3)): p for p in axes.patches if isinstance(p, plt.Rectangle)}
    assert sorted(patches) == sorted(places[name] for name in boxes), "every part has its box"
    edges = {name: patches[places[name]].get_edgecolor() for name in boxes}
    assert {name for name in boxes if edges[name] == edges[meet[0]]} == set(meet), "where positions meet has one color"


def test_reach_marks_what_a_change_reaches():
    plots.reach({"alone": torch.eye(9)[4], "all later": torch.tensor([0.0] * 4 + [2.0] * 5)}, 4)
    first, second = drawn()
    assert [axes.get_ylabel() for axes in (first, second)] == ["alone", "all later"]
    for axes, places in ((first, [4]), (second, [4, 5, 6, 7, 8])):
        bars = axes.collections[0].get_segments()
        assert [bar[:, 0].tolist() for bar in bars] == [[place, place] for place in places]
        assert all(bar[:, 1].tolist() == [0, 1] for bar in bars), "relative to the largest"
    colors = [axes.collections[0].get_colors()[0].tolist() for axes in (first, second)]
    assert colors[0] != colors[1], "positions meet in one of them"


def test_step_functions_have_a_panel_each_for_step_slope_and_what_is_kept():
    x = torch.tensor([-1.0, 0.0, 1.0])
    plots.step_functions(x, {"exp": (x.exp(), x + 1)}, {"exp": x + 2})
    panels = drawn()
    values = [data(axes.lines[0])[1] for axes in panels]
    assert values == [pytest.approx(y.tolist()) for y in (x.exp(), x + 1, x + 2)]
    assert [axes.get_title() for axes in panels[:2]] == ["step size Δ", "slope dΔ/dx"]
    assert texts(plt.gcf().legends[0].get_texts()) == ["exp"]


def test_carried_marks_where_the_cache_passes_a_state():
    plots.carried([1, 10, 100], [4, 40, 400], {"one": 20, "two": 40})
    (axes,) = drawn()
    assert data(axes.lines[0]) == [[1, 10, 100], [4, 40, 400]]
    assert texts(axes.get_legend().get_texts())[1:] == ["one", "two"]
    crossings = [data(line) for line in axes.lines if line.get_marker() == "o"]
    assert crossings == [[[5], [20]], [[10], [40]]] and {"5", "10"} <= set(texts(axes.texts))


def test_initial_steps_are_sorted_and_every_span_has_its_name():
    spans = {"A = -1": torch.tensor([30.0, 10.0]), "A = -16": torch.tensor([4.0, 5.0])}
    plots.initial_steps(torch.tensor([0.1, 0.02]), spans)
    left, right = drawn()
    assert data(left.lines[0]) == [[0.25, 0.75], pytest.approx([0.02, 0.1])]
    assert curves(right, right.get_legend()) == {
        "A = -1": [[0.25, 0.75], [10, 30]],
        "A = -16": [[0.25, 0.75], [4, 5]],
    }
    assert data(right.lines[-1])[1] == [784, 784], "all positions of a digit"
    assert (left.get_ylabel(), right.get_ylabel()) == ("step size Δ", "positions until 1/e is left")
    for axes in (left, right):
        assert axes.get_xlabel() == "channels, in order" and says(axes.xaxis, 0.25) == "25%"
        assert axes.get_yscale() == "log"


def test_ablations_have_a_row_each_from_the_top_and_a_mark_a_seed():
    plots.ablations({"whole": [0.9, 0.8, 0.7], "no gate": [0.5, 0.25]}, {"linear": 0.923, "chance": 0.1})
    (axes,) = drawn()
    assert ticks(axes.yaxis) == {"whole": 0, "no gate": 1} and axes.yaxis_inverted()
    bars = [(bar.get_y() + bar.get_height() / 2, bar.get_width()) for bar in axes.patches]
    assert bars == [pytest.approx((0, 0.8)), pytest.approx((1, 0.375))], "the means"
    assert [data(line) for line in axes.lines[:2]] == [[[0.9, 0.8, 0.7], [0] * 3], [[0.5, 0.25], [1] * 2]]
    legend = axes.get_legend()
    assert texts(legend.get_texts()) == ["linear: 92.3%", "chance: 10.0%"]
    assert [x for x, _ in curves(axes, legend).values()] == [[0.923] * 2, [0.1] * 2]
    assert axes.get_xlabel() == "right answers" and axes.get_xlim() == (0, 1) and says(axes.xaxis, 0.5) == "50%"
