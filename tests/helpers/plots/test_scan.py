"""Costs against length, in the units that the axes name."""

import matplotlib.pyplot as plt
import pytest
from figures import curves, drawn, says, texts, ticks

from helpers import plots
from helpers.benchmark.report import Row


def test_against_length():
    plots.against_length([100, 1000], {"slow": [0.5, 5.0], "until memory ends": [0.25]}, "seconds", "forward")
    (axes,) = drawn()
    found = curves(axes, axes.get_legend())
    assert found == {"slow": [[100, 1000], [0.5, 5]], "until memory ends": [[100], [0.25]]}
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("length", "seconds", "forward")
    assert (axes.get_xscale(), axes.get_yscale()) == ("log", "log")
    assert ticks(axes.xaxis) == {"100": 100, "1000": 1000}


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
