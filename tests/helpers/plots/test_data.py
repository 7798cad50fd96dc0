"""Digits as pictures and as signals: every pixel in its place."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures import data, drawn, texts

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
    assert right.get_xlabel() == "position in the sequence (one line per row)"
    assert right.get_ylabel() == "ink (0 to 255)"


def test_strokes_are_signals_one_below_the_other():
    plots.strokes({"one": IMAGE, "other": IMAGE.flip(0)})
    axes = drawn()
    for left, right, image in zip(axes[::2], axes[1::2], (IMAGE, IMAGE.flip(0)), strict=True):
        assert shows(left, image)
        assert data(right.lines[-1]) == [list(range(784)), image.flatten().tolist()]
    assert [left.get_title() for left in axes[::2]] == ["one", "other"]


def test_correlation_begins_at_lag_1_and_marks_what_it_is_told():
    plots.correlation([0.8, 0.5, -0.1, 0.7], (2, 4))
    (axes,) = drawn()
    _, curve, *marks = map(data, axes.lines)
    assert curve == [[1, 2, 3, 4], [0.8, 0.5, -0.1, 0.7]]
    assert marks == [[[2], [0.5]], [[4], [0.7]]] and texts(axes.texts) == ["2 steps", "4 steps"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("lag (steps)", "correlation")


def test_reading_hides_what_was_not_read_and_shows_the_leading_answer():
    answers = torch.tensor([[0.9, 0.1], [0.4, 0.6]])
    plots.reading(IMAGE, answers, (8, 28))
    frames, bars = drawn()[:2], drawn()[2:]
    for frame, row in zip(frames, (8, 28), strict=True):
        assert shows(frame, IMAGE)
        (cover,) = frame.patches
        assert (cover.get_y(), cover.get_height()) == (row - 0.5, 28 - row)
    for axes, answer, said in zip(bars, answers, ("90%", "60%"), strict=True):
        assert [bar.get_width() for bar in axes.patches] == pytest.approx(answer.tolist())
        assert texts(axes.texts) == [said] and axes.texts[0].get_position()[1] == answer.argmax()
        first, second = (bar.get_facecolor() for bar in axes.patches)
        assert first != second
    assert bars[0].get_ylim() == (1.5, -0.5), "the first class on top"
