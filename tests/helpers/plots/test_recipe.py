"""Page 2's figures: what untrained blocks hand on, and where positions meet."""

import torch
from figures import curves, data, drawn, texts

from helpers import plots

IMAGE = torch.arange(784).reshape(28, 28) % 251


def test_untrained_outputs_each_on_its_own_scale():
    plots.untrained_outputs(IMAGE, {"one": IMAGE / 1000, "other": -IMAGE / 10})
    shown = [axes for axes in drawn() if axes.images and axes.get_title()]
    assert [axes.get_title() for axes in shown] == ["the pixels", "one", "other"]
    for axes, image in zip(shown, (IMAGE, IMAGE / 1000, -IMAGE / 10), strict=True):
        (picture,) = axes.images
        assert (picture.get_array() == image.numpy()).all()
        assert picture.get_clim() == (image.min(), image.max())


def test_spectra_begin_with_the_largest():
    plots.spectra({"one": torch.tensor([3.0, 1.0]), "two": torch.tensor([0.2, 0.1, 0.05])})
    (axes,) = drawn()
    (legend,) = axes.figure.legends
    assert list(curves(axes, legend)) == ["one", "two"] and axes.get_yscale() == "log"
    assert data(axes.lines[0]) == [[1, 2], [3, 1]]


def test_where_positions_meet_says_what_differs():
    plots.where_positions_meet()
    flat, pooled = drawn()
    assert "Linear(784, 10)" in texts(flat.texts) and "Linear(784, 10)" not in texts(pooled.texts)
    assert "mean over positions" in texts(pooled.texts)
