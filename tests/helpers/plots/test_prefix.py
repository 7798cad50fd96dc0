"""The rounds of parallel scans, and what they cost."""

import matplotlib.pyplot as plt
from figures import curves, data, drawn, texts

from helpers import plots

ORANGE = "#E69F00"


def test_joining_rounds_color_what_is_complete():
    plots.joining_rounds({"loop": [[(0, 1)], [(1, 2)]], "pairs first": [[(1, 2)], [(0, 2), (0, 1)]]}, 3)
    left, right = drawn()
    assert [axes.get_title() for axes in (left, right)] == ["loop", "pairs first"]

    def complete(axes):
        return {(x, y) for line in axes.lines if line.get_color() == ORANGE for x, y in zip(*data(line), strict=True)}

    assert complete(left) == {(0, 0), (1, 1), (2, 2)}
    assert complete(right) == {(0, 0), (2, 2), (1, 2)}, "a pair alone is not all positions up to its place"
    lines = [data(line) for line in left.lines]
    joins = [line for line in lines if len(line[0]) == 2 and line[0][0] != line[0][1]]
    assert joins == [[[0, 1], [0, 1]], [[1, 2], [1, 2]]]
    assert left.yaxis_inverted()


def test_depth_and_work():
    plots.depth_and_work([4, 8], {"one": ([2, 3], [8, 24]), "other": ([3, 5], [4, 12])})
    left, right = drawn()
    (legend,) = plt.gcf().legends
    assert texts(legend.get_texts()) == ["one", "other"]
    assert curves(left, legend) == {"one": [[4, 8], [2, 3]], "other": [[4, 8], [3, 5]]}
    assert curves(right, legend) == {"one": [[4, 8], [2, 3]], "other": [[4, 8], [1, 1.5]]}
    assert left.get_ylabel().startswith("rounds") and right.get_ylabel().startswith("joins per position")
