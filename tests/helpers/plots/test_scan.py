"""Costs against length, in the units that the axes name."""

import matplotlib.pyplot as plt
import pytest
from figures import curves, drawn, says, texts, ticks

from helpers import plots
from helpers.benchmark.report import Row


def test_against_length():
    here = {"slow": {100: 0.5, 1000: 5.0}, "until memory ends": {100: 0.25}}
    plots.against_length({"here": here, "there": {"fast": {500: 0.1}, "slow": {500: 0.2}}}, "seconds")
    left, right = drawn()
    (legend,) = plt.gcf().legends
    assert curves(left, legend) == {"slow": [[100, 1000], [0.5, 5]], "until memory ends": [[100], [0.25]]}
    assert curves(right, legend) == {"fast": [[500], [0.1]], "slow": [[500], [0.2]]}
    assert [axes.get_title() for axes in (left, right)] == ["here", "there"] and left.get_ylabel() == "seconds"
    assert ticks(left.xaxis) == {"100": 100, "1,000": 1000} and ticks(right.xaxis) == {"500": 500}
    for axes in (left, right):
        assert (axes.get_xscale(), axes.get_yscale(), axes.get_xlabel()) == ("log", "log", "length")


def test_doubling_fills_what_lies_before_every_place():
    plots.doubling(5)
    cells = [{(patch.get_x(), patch.get_y()) for patch in axes.patches} for axes in drawn()]
    assert [len(one) for one in cells] == [5, 9, 14, 15]  # in the third round only the last place lacks anything
    assert cells[-1] == {(i, t) for t in range(5) for i in range(t + 1)}


def test_every_index_writes_a_full_array():
    plots.gradients_of_indices(6)
    assert [len(axes.patches) for axes in drawn()] == [36, 6]


def test_moved_and_kept_in_multiples():
    plots.moved_and_kept({"loop": 54.0, "fused": 1.25}, {"loop": 12.0, "fused": 1.33}, ("must", "arguments"))
    left, right = drawn()
    for axes, widths, label in ((left, [54, 1.25], "times must"), (right, [12, 1.33], "times arguments")):
        assert [bar.get_width() for bar in axes.patches] == widths and axes.get_xlabel() == label
    assert list(ticks(left.yaxis)) == ["loop", "fused"]


def test_costs_in_microseconds_per_position_and_megabytes():
    rows = [
        Row("length", "", "ours", 2, 1000, seconds=0.004, peak_bytes=3_000_000),
        Row("length", "", "theirs", 2, 1000, seconds=0.04),  # its memory was not measured
        Row("length", "", "ours", 2, 4000, seconds=0.008, peak_bytes=12_000_000),
    ]
    plots.costs(rows)
    left, right = drawn()
    (legend,) = plt.gcf().legends
    assert texts(legend.get_texts()) == ["ours", "theirs"]
    time = curves(left, legend)
    assert time["ours"] == [[1000, 4000], pytest.approx([2, 1])] and time["theirs"] == [[1000], pytest.approx([20])]
    assert curves(right, legend) == {"ours": [[1000, 4000], [3, 12]], "theirs": [[], []]}
    assert [axes.get_ylabel() for axes in (left, right)] == ["microseconds per position", "peak memory (MB)"]
    for axes in (left, right):
        assert ticks(axes.xaxis) == {"1,000": 1000, "4,000": 4000} and axes.get_xlabel() == "length"
        assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log") and says(axes.yaxis, 2000) == "2,000"
