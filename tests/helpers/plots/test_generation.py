"""Figures of page 8: what they say of the data that they are given."""

import pytest
import torch
from figures import curves, data, drawn, texts, ticks

from helpers import plots


def test_rows_of_digits_are_named_and_shaded_down_to_what_was_given():
    images = torch.zeros(3, 28, 28)
    plots.digit_rows({"a": images, "b": images[:1]}, titles={"a": ["x", "y", "z"]}, given=14)
    axes = [one for one in drawn() if one.axison]
    assert len(axes) == 4
    assert [one.get_title() for one in axes] == ["x", "y", "z", ""]
    assert [one.get_ylabel() for one in axes] == ["a", "", "", "b"]
    for one in axes:
        (patch,) = one.patches
        rows = patch.get_extents().transformed(one.transData.inverted()).extents[[1, 3]]
        assert sorted(rows) == pytest.approx([-0.5, 13.5])


def test_a_prediction_says_what_came_and_what_it_cost():
    image = torch.zeros(28, 28)
    image[2, 3] = 7
    probabilities = torch.full((1, 256), 0.75 / 255)
    probabilities[0, 7] = 0.25
    plots.predicted_levels(image, [2 * 28 + 3], probabilities)
    above, below = drawn()
    assert (above.get_title(), below.get_title()) == ("row 2, column 3", "it was 7: 2 bits")
    assert [bar.get_height() for bar in below.patches[:8]] == pytest.approx([0.75 / 255] * 7 + [0.25])
    assert data(below.lines[0])[0] == [7.0, 7.0]


def test_bars_of_bits_have_a_color_for_each_group():
    plots.bits_per_pixel(
        {"gzip": 1.6, "Mamba": 0.9, "S4": 0.5}, {"gzip": "no network", "Mamba": "ours", "S4": "theirs"}
    )
    (axes,) = drawn()
    bars = [bar for bar in axes.patches if bar.get_width() > 0]
    assert [bar.get_width() for bar in bars] == [1.6, 0.9, 0.5]
    assert len({bar.get_facecolor() for bar in bars}) == 3
    assert texts(axes.texts) == ["1.60", "0.90", "0.50"]
    assert texts(axes.get_legend().get_texts()) == ["no network", "ours", "theirs"]
    assert list(ticks(axes.yaxis)) == ["gzip", "Mamba", "S4"]


def test_surprise_is_drawn_below_its_digit_on_one_scale():
    images, bits = torch.zeros(2, 28, 28), torch.rand(2, 28, 28)
    plots.surprise(images, bits, ["cheap", "dear"])
    axes = drawn()
    assert [one.get_title() for one in axes[:2]] == ["cheap", "dear"]
    for one, costs in zip(axes[2:4], bits, strict=True):
        (shown,) = one.images
        assert torch.equal(torch.as_tensor(shown.get_array().data), costs)
        assert shown.get_clim() == (0, 8)


def test_every_picture_of_a_kind_is_a_dot_in_its_row():
    named = {"digits": torch.rand(30) + 0.5, "blank page": torch.tensor([0.09])}
    plots.bits_of_digits(named)
    (axes,) = drawn()
    assert list(ticks(axes.yaxis)) == list(named)
    for place, (dots, bits) in enumerate(zip(axes.collections, named.values(), strict=True)):
        x, y = dots.get_offsets().data.T
        assert x == pytest.approx(bits.numpy()) and abs(y - place).max() < 0.5
    assert ticks(axes.xaxis)["0.1"] == 0.1


def test_memory_begins_at_zero():
    plots.memory_kept([1, 784], {"Mamba": [70, 70], "attention": [1.5, 1200]})
    (axes,) = drawn()
    assert curves(axes, axes.get_legend()) == {"Mamba": [[1, 784], [70, 70]], "attention": [[1, 784], [1.5, 1200]]}
    assert axes.get_ylim()[0] == 0


def test_palettes_count_gray_pixels_from_one():
    plots.palettes(torch.tensor([5, 80]), torch.tensor([0.1, 1.2]), {"few": torch.tensor([6.0, 2.0])})
    left, right = drawn()
    assert left.collections[0].get_offsets().data.tolist() == [[5, pytest.approx(0.1)], [80, pytest.approx(1.2)]]
    assert curves(right, right.get_legend()) == {"few": [[1, 2], [6.0, 2.0]]}
