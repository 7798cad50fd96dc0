"""One look-up, frame by frame, and which position an answer comes from."""

import matplotlib.pyplot as plt
import pytest
import torch
from figures import drawn, texts, ticks

from helpers import plots


def test_strip_has_a_column_per_token_and_marks_what_is_wanted():
    table = torch.rand(5, 2, 8)
    table[0] = torch.nan
    state = torch.randn(5, 6, 4)
    plots.recall_strip(list("a1b2a"), state, {"whole": table, "a part": table / 2}, ["a", "b"], (0, 1), written=2)
    axes = drawn()
    assert len(axes) == 15
    assert [one.get_title() for one in axes[:5]] == list("a1b2a")
    assert [axes[place].get_ylabel() for place in (0, 5, 10)] == ["state:\nchannels", "whole", "a\npart"]
    assert ticks(axes[5].yaxis) == {"a": 0, "b": 1}
    shown = torch.as_tensor(axes[7].images[0].get_array().data)
    torch.testing.assert_close(shown, table[2])
    scaled = torch.as_tensor(axes[3].images[0].get_array().data)
    torch.testing.assert_close(scaled * state.abs().amax((0, 2))[:, None], state[3])
    widths = [one.spines["left"].get_linewidth() for one in axes[:5]]
    assert widths.index(max(widths)) == 2 and widths.count(max(widths)) == 1, "the frame that writes"
    for number, one in enumerate(axes):
        frames = [patch for patch in one.patches if isinstance(patch, plt.Rectangle)]
        assert [patch.get_xy() for patch in frames] == ([(0.5, -0.5)] if number in (9, 14) else []), "the right answer"


def test_written_by_draws_medians_and_the_middle_of_the_sequences():
    shares = torch.stack([torch.linspace(0, 1, 101), torch.linspace(4, 6, 101)], 1)
    plots.written_by(shares, ["key", "value"])
    (axes,) = drawn()
    assert [bar.get_height() for bar in axes.patches] == pytest.approx([0.5, 5])
    whiskers = [line.get_ydata() for line in axes.lines[:2]]
    assert whiskers == [pytest.approx([0.05, 0.95]), pytest.approx([4.1, 5.9])]
    assert axes.patches[0].get_facecolor() != axes.patches[1].get_facecolor(), "the one that wrote"
    assert texts(axes.get_xticklabels()) == ["key", "value"]
