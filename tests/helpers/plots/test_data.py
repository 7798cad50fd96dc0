"""Digits as pictures and as signals: every pixel in its place."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures import curves, data, drawn, says, texts

from helpers import plots

IMAGE = torch.arange(784).reshape(28, 28) % 251  # no row, column or diagonal is like another


def shows(axes, image):
    """Whether the axes show the image, upright and ink dark."""
    (shown,) = axes.images
    upright = shown.get_extent() == [-0.5, 27.5, 27.5, -0.5]
    return upright and shown.get_cmap().name == "gray_r" and (shown.get_array() == image.numpy()).all()


def test_digits_in_reading_order_each_with_its_title():
    images = torch.stack([IMAGE + i for i in range(5)])
    plots.digits(images, list("abcde"), columns=3)
    axes = drawn()
    assert [one.get_title() for one in axes] == list("abcde")
    assert all(shows(one, image) for one, image in zip(axes, images, strict=True))
    places = [(spec.rowspan.start, spec.colspan.start) for spec in (one.get_subplotspec() for one in axes)]
    assert places == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1)]
    assert len(plt.gcf().axes) == 6, "of which the last is not shown"


def test_digits_ten_to_a_row_and_a_title_for_each():
    plots.digits(torch.stack([IMAGE] * 11), [""] * 11)
    assert drawn()[-1].get_subplotspec().rowspan.start == 1 and drawn()[9].get_subplotspec().rowspan.start == 0
    with pytest.raises(ValueError):
        plots.digits(torch.stack([IMAGE] * 2), ["one"])


def test_signal_is_the_picture_row_after_row():
    plots.signal(IMAGE)
    left, right = drawn()
    assert shows(left, IMAGE)
    *rows, signal = map(data, right.lines)
    assert signal == [list(range(784)), IMAGE.flatten().tolist()]
    assert [x[0] for x, _ in rows] == list(range(0, 785, 28)) and right.get_xlim() == (0, 784)
    assert right.get_xlabel() == "position in the sequence (a line a row)"
    assert right.get_ylabel() == "ink (0 to 255)"


def test_neighbors_are_marked_where_they_are_in_the_picture_and_in_the_sequence():
    places = {"here": (10, 19), "right": (10, 20), "below": (11, 19)}
    plots.neighbors(IMAGE, places)
    left, right = drawn()
    assert shows(left, IMAGE)
    legend = right.get_legend()
    assert texts(legend.get_texts()) == ["here: 299", "right: 300", "below: 327"]
    assert data(right.lines[0]) == [list(range(784)), IMAGE.flatten().tolist()]
    assert list(curves(right, legend).values()) == [[[n], [n % 251]] for n in (299, 300, 327)]
    assert list(curves(left, legend).values()) == [[[column], [row]] for row, column in places.values()]
    assert right.get_xlim() == (287, 343), "all three, and a row and a half after the first"
    assert (right.get_xlabel(), right.get_ylabel()) == ("position in the sequence", "ink (0 to 255)")


def test_class_balance_of_two_sets():
    sets = {"training": torch.tensor([0, 0, 0, 9]), "test": torch.tensor([1, 9])}
    plots.class_balance(sets)
    (axes,) = drawn()
    assert texts(axes.get_legend().get_texts()) == ["training (4)", "test (2)"]
    training, test = axes.containers
    assert [bar.get_height() for bar in training] == [0.75, *[0] * 8, 0.25]
    assert [bar.get_height() for bar in test] == [0, 0.5, *[0] * 7, 0.5]
    handles = axes.get_legend().legend_handles
    for bars, handle, side in ((training, handles[0], -0.4), (test, handles[1], 0)):
        assert {bar.get_facecolor() for bar in bars} == {handle.get_facecolor()}
        assert [bar.get_x() for bar in bars] == pytest.approx([digit + side for digit in range(10)])
    assert data(axes.lines[0])[1] == [0.1, 0.1] and says(axes.yaxis, 0.1) == "10%"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("digit", "share of the set")
    assert list(axes.get_xticks()) == list(range(10))
