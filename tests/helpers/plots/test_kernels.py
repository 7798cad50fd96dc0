"""Kernels: what the figures say of memory, limits and speeds."""

from figures import curves, data, drawn, texts, ticks

from helpers import plots


def test_layouts_mark_the_same_position_in_both():
    plots.layouts(channels=3, positions=5, at=2)
    marked = []
    for axes in drawn():
        assert len(axes.patches) == 15
        white = axes.patches[0].get_facecolor()
        marked.append([(p.get_x(), p.get_y()) for p in axes.patches if p.get_facecolor() != white])
    assert marked == [[(2, 0), (2, 1), (2, 2)], [(0, 2), (1, 2), (2, 2)]]


def test_powers_of_two_draws_errors_and_roundings():
    plots.powers_of_two({2: 1e-3, 3: 1e-4}, {"float32": 6e-8})
    _, right = drawn()
    assert data(right.lines[0]) == [[2, 3], [1e-3, 1e-4]] and right.get_yscale() == "log"
    assert texts(right.texts) == ["rounding, float32"]


def test_roofline_has_limits_and_what_was_reached():
    plots.roofline([2, 4], {"memory": [1.0, 1.0], "exponentials": [2.0, 0.5]}, {"kernel": [0.3, 0.2]})
    (axes,) = drawn()
    found = curves(axes, axes.get_legend())
    assert found == {
        "memory": [[2, 4], [1, 1]],
        "exponentials": [[2, 4], [2, 0.5]],
        "kernel": [[2, 4], [0.3, 0.2]],
    }
    assert ticks(axes.xaxis) == {"2": 2, "4": 4}


def test_ladder_labels_its_bars():
    plots.ladder({"slow": 100.0, "fast": 2.5}, "ms")
    (axes,) = drawn()
    assert [bar.get_width() for bar in axes.patches] == [100, 2.5] and texts(axes.texts) == [" 100", " 2.5"]


def test_bounds_groups_its_bars():
    plots.bounds({"T4": {"memory": 3.0, "all": 1.0}, "A100": {"memory": 2.0, "all": 4.0}}, "microseconds")
    (axes,) = drawn()
    assert [[bar.get_height() for bar in bars] for bars in axes.containers] == [[3, 2], [1, 4]]
    assert ticks(axes.xaxis) == {"T4": 0, "A100": 1} and axes.get_ylabel() == "microseconds"


def test_way_back_goes_through_every_block():
    plots.way_back(blocks=3, block=2)
    (axes,) = drawn()
    rows = [text for text in texts(axes.texts) if text]  # arrows are texts without a word
    assert rows[:4] == ["forward", "backward, block 3", "backward, block 2", "backward, block 1"]
    assert [text[2:] for text in rows[4:]] == ["kept state", "states, forward", "gradient, backward"]
