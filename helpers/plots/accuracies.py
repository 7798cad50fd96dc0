"""Pages 1 and 2: test accuracies with their 95 % intervals."""

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, ORANGE, styled
from helpers.train import wilson_interval


def _rows(named, digits):
    """Names downwards, and an axis of accuracies: the axes, and ``(place, accuracy, (below, above))`` of each."""
    _, axes = plt.subplots(figsize=(7, 0.36 * len(named) + 0.9))
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_yticks(range(len(named)), list(named))
    axes.set(xlabel="test accuracy, with 95 % interval", ylim=(len(named) - 0.5, -0.5))
    axes.grid(False, axis="y")
    rows = []
    for place, accuracy in enumerate(named.values()):
        low, high = wilson_interval(accuracy, digits)
        rows.append((place, accuracy, (accuracy - low, high - accuracy)))
    return axes, rows


@styled
def accuracy_dots(named, digits=10_000):
    """Test accuracies as dots with their intervals, on an axis that need not begin at zero: ``{name: accuracy}``."""
    axes, rows = _rows(named, digits)
    for place, accuracy, error in rows:
        axes.errorbar(accuracy, place, xerr=[[error[0]], [error[1]]], fmt="o", color=BLUE, markersize=5, capsize=3)
    axes.grid(True, axis="x")


@styled
def accuracy_bars(named, highlighted=(), digits=10_000):
    """Test accuracies as bars from zero, each with its interval and its value: ``{name: accuracy}``.

    ``highlighted``: the names of bars in another color.
    """
    axes, rows = _rows(named, digits)
    for name, (place, accuracy, error) in zip(named, rows, strict=True):
        color = ORANGE if name in highlighted else BLUE
        axes.barh(place, accuracy, height=0.66, color=color)
        axes.errorbar(accuracy, place, xerr=[[error[0]], [error[1]]], color="black", capsize=3, linewidth=1)
        axes.text(accuracy + error[1] + 0.015, place, f"{accuracy:.1%}", va="center_baseline", fontsize=9)
    axes.set(xlim=(0, 1.08), xticks=[0, 0.2, 0.4, 0.6, 0.8, 1])
