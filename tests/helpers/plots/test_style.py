"""The style: what tells curves apart, and that it ends with the figure."""

import matplotlib.pyplot as plt
import pytest

from helpers.plots import style


def test_curves_differ_in_color_marker_and_dashes_and_after_six_in_the_pair():
    looks = [look for _, look in style.in_style(range(36))]
    assert looks[:6] == style.LINES and len(set(looks)) == 36
    assert all(len(set(parts)) == 6 for parts in zip(*looks[:6], strict=True))
    assert [item for item, _ in style.in_style("ab")] == ["a", "b"]


def test_settings_hold_while_a_figure_is_drawn_and_no_longer_even_if_it_fails():
    before = dict(plt.rcParams)

    @style.styled
    def draw():
        assert all(plt.rcParams[name] == value for name, value in style.STYLE.items())
        raise KeyError

    assert any(before[name] != value for name, value in style.STYLE.items())
    with pytest.raises(KeyError):
        draw()
    assert dict(plt.rcParams) == before
