"""Page 10's figures: blocks, masks, chunks, times, orders, turns and lengths, each where it belongs."""

import math

import matplotlib.pyplot as plt
import pytest
import torch
from figures import curves, data, drawn, says, texts, ticks

from helpers import plots


def test_three_blocks_from_the_input_to_the_output():
    plots.three_blocks()
    columns = drawn()
    assert [axes.get_title() for axes in columns] == ["Mamba", "Mamba-2", "Mamba-3"]
    for axes, scan, gate in zip(columns, (3, 2, 3), ("SiLU(z)", "SiLU(z), norm", "SiLU(z)"), strict=True):
        placed = sorted((t.get_position()[1], t.get_text()) for t in axes.texts if t.get_text())
        names = [name for _, name in placed]
        assert names[0].startswith("linear: x, z") and names[-1] == "linear" and names[-2] == f"gate: {gate}"
        assert names[scan].startswith("scan: ")
        boxes = [patch.get_y() for patch in axes.patches if isinstance(patch, plt.Rectangle)]
        assert [y + 0.36 for y in sorted(boxes)] == pytest.approx([y for y, _ in placed]), "every part has its box"
    assert any("trapezoidal" in text.get_text() for text in columns[2].texts)
    assert not any("convolution" in text.get_text() for text in columns[2].texts)


def test_matrices_rows_downwards_and_zero_is_white():
    one, other = torch.rand(3, 3).tril(), torch.randn(4, 4)
    other[0, 0] = -9.0
    plots.matrices({"mask": one, "product": other})
    for axes, (title, matrix) in zip(drawn(), {"mask": one, "product": other}.items(), strict=True):
        (image,) = axes.images
        assert axes.get_title() == title and torch.equal(torch.as_tensor(image.get_array()), matrix)
        low, high = image.get_clim()
        assert high == pytest.approx(matrix.abs().max().item()) and low == (0 if title == "mask" else -high)
        assert (axes.get_xlabel(), axes.get_ylabel()) == ("input, position", "output, position")
        bottom, top = axes.get_ylim()
        assert bottom > top, "the first output is at the top"


def test_blocks_on_and_below_the_diagonal():
    plots.blocks_of_a_matrix(4)
    (axes,) = drawn()
    corners = [len(patch.get_xy()) for patch in axes.patches]
    assert (corners.count(4), corners.count(5)) == (4, 6), "four triangles, six squares, each closed"
    assert all(x <= y for patch in axes.patches for x, y in patch.get_xy()), "nothing is above the diagonal"
    assert texts(axes.texts).count("C h B") == 6 and axes.yaxis_inverted()
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("chunk of the input", "chunk of the output")


def test_times_label_every_point():
    plots.times({"one": {4: 2.0, 8: 3.0}, "other": {8: 1.0, 100: 5.0}}, "states")
    (axes,) = drawn()
    assert curves(axes, axes.get_legend()) == {"one": [[4, 8], [2, 3]], "other": [[8, 100], [1, 5]]}
    assert list(ticks(axes.xaxis)) == ["4", "8", "100"] and axes.get_xscale() == axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("states", "milliseconds")


def test_error_orders():
    plots.error_orders([0.1, 0.2], {"Euler": [0.01, 0.02], "trapezoid": [0.001, 0.004]})
    (axes,) = drawn()
    assert curves(axes, axes.get_legend()) == {
        "Euler": [[0.1, 0.2], [0.01, 0.02]],
        "trapezoid": [[0.1, 0.2], [0.001, 0.004]],
    }
    assert axes.get_xscale() == axes.get_yscale() == "log"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("step size Δ", "largest error of the state")


def test_turning_pairs():
    points = torch.polar(torch.tensor([1.0, 0.9]), torch.tensor([0.0, 3.0]))
    plots.turning_pairs({"still": points.real + 0j, "turns": points})
    still, turns, *below = drawn()
    assert [data(axes.lines[0])[1] for axes in below] == [pytest.approx([1.0, 0.9 * math.cos(3.0)])] * 2
    assert (still.get_title(), turns.get_title()) == ("still", "turns")
    for line in turns.lines[:2]:
        assert data(line) == [pytest.approx(points.real.tolist()), pytest.approx(points.imag.tolist())]
    assert data(turns.lines[2]) == [[1], [0]], "where it starts"
    assert turns.get_aspect() == 1


def test_by_length_has_a_line_a_seed_and_a_name_a_kind():
    plots.by_length({"Mamba": [{8: 0.9, 16: 0.5}, {8: 0.8, 16: 0.6}], "Mamba-3": [{8: 1.0, 16: 1.0}]}, trained=(9, 12))
    (axes,) = drawn()
    assert [data(line) for line in axes.lines[:3]] == [[[8, 16], [0.9, 0.5]], [[8, 16], [0.8, 0.6]], [[8, 16], [1, 1]]]
    assert axes.lines[0].get_color() == axes.lines[1].get_color() != axes.lines[2].get_color()
    assert texts(axes.get_legend().get_texts()) == ["lengths trained on", "Mamba", "Mamba-3"]
    band = axes.patches[0].get_extents().transformed(axes.transData.inverted())
    assert (band.x0, band.x1) == (pytest.approx(9), pytest.approx(12))
    assert says(axes.yaxis, 0.5) == "50%" and (axes.get_xlabel(), axes.get_ylabel()) == ("bits read", "right answers")


def test_clocks_one_below_the_other_with_the_rows_of_a_digit_marked():
    waves = {"still": torch.ones(60), "turning": torch.cos(torch.arange(60.0))}
    plots.clocks(waves)
    for axes, (title, values) in zip(drawn(), waves.items(), strict=True):
        assert axes.get_title(loc="right") == title
        marks = [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"]
        assert marks == [28, 56], "whole rows"
        (curve,) = (line for line in axes.lines if len(line.get_ydata()) == 60)
        assert curve.get_ydata() == pytest.approx(values.tolist())
