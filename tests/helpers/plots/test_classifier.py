"""The confusion matrix: rows are labels, columns are answers."""

import numpy as np
import pytest
import torch
from figures import drawn, texts, ticks

from helpers import plots


def confusion(labels, predictions):
    """The axes, the image in percent, and ``{(row, column): what is written there}``."""
    plots.confusion(torch.tensor(labels), torch.tensor(predictions))
    (axes,) = drawn()
    written = {(int(y), int(x)): text.get_text() for text in axes.texts for x, y in [text.get_position()]}
    assert len(written) == len(axes.texts)
    return axes, axes.images[0].get_array().filled(np.nan) ** 2, written


def test_rows_are_classes_and_columns_are_answers():
    axes, shares, written = confusion([0, 0, 0, 1], [0, 1, 1, 1])
    np.testing.assert_allclose(shares, [[100 / 3, 200 / 3], [0, 100]], atol=1e-4)
    assert written == {(0, 0): "33.3", (0, 1): "66.7", (1, 1): "100.0"}
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("answer", "class", "percent of each class")
    assert axes.images[0].get_extent() == [-0.5, 1.5, 1.5, -0.5] and axes.images[0].get_clim() == (0, 10)


@pytest.mark.parametrize("classes", [1, 2, 10, 12, 30])
def test_any_number_of_classes_each_with_its_label_and_room_for_it(classes):
    labels = list(range(classes))
    axes, shares, written = confusion(labels, [*labels[1:], 0])
    assert np.array_equal(shares, 100 * np.roll(np.eye(classes), 1, axis=1))
    assert written == {(c, (c + 1) % classes): "100.0" for c in labels}
    for axis in (axes.xaxis, axes.yaxis):
        assert ticks(axis) == {str(c): c for c in labels}
    cell = axes.get_window_extent().width / classes
    assert all(text.get_window_extent().width < cell for text in [*axes.texts, *axes.get_xticklabels()])


def test_a_class_that_never_occurs_has_an_empty_row_and_an_answer_that_never_occurs_an_empty_column():
    axes, shares, written = confusion([0, 0, 2, 2], [0, 3, 2, 2])
    assert np.isnan(shares[[1, 3]]).all() and not shares[0, 1] and not shares[2, 1]
    assert written == {(0, 0): "50.0", (0, 3): "50.0", (2, 2): "100.0"}
    assert texts(axes.get_yticklabels()) == ["0", "1", "2", "3"]


def test_what_would_be_written_as_zero_is_not_written():
    _, _, written = confusion([0] * 2001 + [1], [1, *[0] * 2001])
    assert written == {(0, 0): "100.0", (1, 0): "100.0"}
