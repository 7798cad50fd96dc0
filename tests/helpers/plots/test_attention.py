"""Page 7's figures: what is looked back at, steps as pictures, ratios and half-lives, matrices, deletions."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures import curves, data, drawn, texts, ticks

from helpers import plots

IMAGE = torch.zeros(28, 28)
IMAGE[8:20, 12:16] = 255


def picture(axes):
    """The numbers of the one image of the axes, a tensor."""
    (image,) = axes.images
    return torch.as_tensor(image.get_array())


def test_looking_back_has_a_row_for_each_pixel_and_grays_out_what_was_not_read():
    shares = torch.rand(2, 3, 784)
    plots.looking_back(IMAGE, (30, 500), shares)
    axes = drawn()
    assert texts(one.title for one in axes)[:4] == ["a pixel", "layer 1", "layer 2", "layer 3"]
    for number, position in enumerate((30, 500)):
        for layer in range(3):
            one = axes[4 * number + 1 + layer]
            assert torch.equal(picture(one).flatten(), shares[number, layer])
            ((x, y),) = zip(*data(one.lines[0]), strict=True)
            assert 28 * y + x == position
            unread = [patch for patch in one.patches if isinstance(patch, plt.Rectangle)]
            assert sum(patch.get_width() * patch.get_height() for patch in unread) == 783 - position


def test_step_maps_leave_the_first_row_out_of_the_scale():
    values = torch.rand(784) + 1
    values[3] = 9.0
    plots.step_maps(IMAGE, {"layer 1, average": values, "other": torch.rand(784)})
    one = next(axes for axes in drawn() if axes.get_title() == "layer 1, average")
    assert torch.equal(picture(one).flatten(), values)
    assert one.images[0].get_clim() == (values[28:].min().item(), values[28:].max().item())


def test_ratios_in_order_with_their_intervals_and_half_lives_as_shares():
    ratios = torch.tensor([2.0, 0.5, 8.0, 1.0])
    lives = torch.tensor([100.0, 1.0, 10.0, 1000.0])
    plots.ink_and_memory({"small": {"layer 1": (ratios, ratios / 2, ratios * 2, 1.5)}}, {"small": lives})
    left, right = drawn()
    ((x, y),) = curves(left, left.get_legend()).values()
    assert x == [0.125, 0.375, 0.625, 0.875] and y == [0.5, 1, 2, 8] and left.get_yscale() == "log"
    band = left.collections[0].get_paths()[0].vertices
    assert band[:, 1].min() == 0.25 and band[:, 1].max() == 16
    assert [1.5] in [data(line)[1] for line in left.lines], "the average has its mark"
    assert curves(right, right.get_legend()) == {"small": [[1, 10, 100, 1000], x]} and right.get_xscale() == "log"
    assert left.get_ylabel() == "step on ink / step on paper" and right.get_xlabel() == "pixels"


def test_matrices_are_labeled_by_rows_of_the_digit_and_zero_is_white():
    matrix = torch.randn(60, 60).tril()
    plots.hidden_matrices({"Mamba": matrix, "S4D": -matrix}, 28)
    for axes, sign in zip(drawn(), (1, -1), strict=True):
        assert torch.equal(picture(axes), sign * matrix)
        low, high = axes.images[0].get_clim()
        inside = matrix[torch.ones(60, 60).tril().bool()].abs()
        assert low == -high == pytest.approx(-inside.quantile(0.995).item())
        assert list(ticks(axes.xaxis).values()) == list(ticks(axes.yaxis).values()) == [28, 56, 84]
        bottom, top = axes.get_ylim()
        assert (bottom, top) == (87.5, 27.5), "the first output is at the top"


def test_distances_with_bands_and_whole_rows():
    means = torch.rand(60) + 1
    plots.distances({f"layer {n}": {"published": (means * n, torch.full((60,), 0.5))} for n in (1, 2)})
    for n, axes in enumerate(drawn(), start=1):
        line = next(line for line in axes.lines if len(line.get_xdata()) == 60)
        assert data(line) == [list(range(60)), pytest.approx((means * n).tolist())]
        assert [line.get_xdata()[0] for line in axes.lines if line.get_linestyle() == ":"] == [28, 56]
        band = axes.collections[0].get_paths()[0].vertices
        assert band[:, 1].max() == pytest.approx((means * n).max().item() + 0.5)
    assert texts(axes.get_legend().get_texts() if axes.get_legend() else drawn()[0].get_legend().get_texts())


def test_deletion_maps_and_curves_with_their_intervals():
    values = torch.randn(784)
    kept = {"matrices": [(0.9, 0.8, 0.95), (0.4, 0.3, 0.5)], "at random": [(1.0, 0.99, 1.0), (0.7, 0.6, 0.8)]}
    plots.deletion(IMAGE, {"matrices": values}, [0.1, 0.5], kept)
    left, right = drawn()
    assert torch.equal(picture(left).flatten(), values) and left.images[0].get_clim()[1] == values.abs().max().item()
    assert curves(right, right.get_legend()) == {
        "matrices": [[0.1, 0.5], [0.9, 0.4]],
        "at random": [[0.1, 0.5], [1.0, 0.7]],
    }
    bands = [band.get_paths()[0].vertices[:, 1] for band in right.collections]
    assert [(band.min(), band.max()) for band in bands] == [(0.3, 0.95), (0.6, 1.0)]
    assert (right.get_xlabel(), right.get_ylabel()) == ("ink deleted", "answers kept")
