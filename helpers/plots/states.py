"""Page 7: what can be read off a state, and what happens when it is exchanged, reset or damaged."""

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import in_style, show_image, styled


@styled
def banded(panels, xlabel, ylabel, percent=False, ticks=None):
    """Curves with their 95 % bands, a panel for each title.

    Args:
        panels: ``{title: {name: {x: (value, low, high)}}}``; a name has the same color in all panels.
        xlabel, ylabel: of the axes.
        percent: whether the values are shares.
        ticks: of the x axis.
    """
    rows = -(-len(panels) // 2)
    size = (8, 2.5 * rows + 0.5) if len(panels) > 1 else (7, 3.2)
    _, grid = plt.subplots(rows, min(2, len(panels)), figsize=size, sharex=True, sharey=True, squeeze=False)
    names = list(dict.fromkeys(name for curves in panels.values() for name in curves))
    styles, shown = dict(in_style(names)), {}
    for axes, (title, curves) in zip(grid.flat, panels.items(), strict=True):
        for name, points in curves.items():
            (color, marker, dashes), x = styles[name], list(points)
            value, low, high = zip(*points.values(), strict=True)
            marker = marker if len(x) < 40 else None
            axes.fill_between(x, low, high, color=color, alpha=0.2, linewidth=0)
            (shown[name],) = axes.plot(x, value, color=color, marker=marker, linestyle=dashes, markersize=4)
        axes.set(title=title, xticks=ticks if ticks is not None else axes.get_xticks())
        if percent:
            axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
            axes.set_ylim(-0.02, 1.02)
    if ticks is None:
        first = next(iter(next(iter(panels.values())).values()))
        grid[0, 0].set_xlim(min(first), max(first))
    for axes in grid[:, 0]:
        axes.set_ylabel(ylabel)
    for axes in grid[-1]:
        axes.set_xlabel(xlabel)
    grid[0, 0].figure.legend(shown.values(), shown, loc="outside upper center", ncols=min(4, len(shown)), fontsize=9)


@styled
def redrawn(images, named, by_row):
    """Digits, and below each what was redrawn of it; on the right how well, row by row.

    Args:
        images: ``(n, 28, 28)``, ink from 0 to 1.
        named: ``{name: (n, 28, 28)}``, what was redrawn.
        by_row: ``{name: {row: (value, low, high)}}``, R² of the rows, which are counted from 1.
    """
    figure = plt.figure(figsize=(8, 0.8 * (len(named) + 1) + 0.3))
    left, right = figure.subfigures(1, 2, width_ratios=[2.1, 1])
    grid = left.subplots(len(named) + 1, len(images), squeeze=False)
    for row, (name, pictures) in zip(grid, {"read": images, **named}.items(), strict=True):
        for axes, picture in zip(row, pictures, strict=True):
            show_image(axes, picture.clamp(0, 1))
        row[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)
    axes = right.subplots()
    for (name, rows), (color, _, dashes) in in_style(by_row.items()):
        value, low, high = zip(*rows.values(), strict=True)
        axes.fill_betweenx(list(rows), low, high, color=color, alpha=0.2, linewidth=0)
        axes.plot(value, list(rows), color=color, linestyle=dashes, label=name)
    axes.set(xlabel="R²", ylabel="row of the digit", xlim=(0, 0.8), ylim=(28.5, 0.5), yticks=(1, 7, 14, 21, 28))
    right.legend(loc="outside upper center", fontsize=8)


@styled
def damaged(groups, unharmed):
    """Accuracies after an intervention, as dots with their intervals; those of controls are hollow.

    Args:
        groups: ``{title: {name: {kind: (value, low, high)}}}``; the first kind that occurs is filled.
        unharmed: the accuracy without an intervention, a line.
    """
    rows = sum(len(group) + 1.2 for group in groups.values())
    _, axes = plt.subplots(figsize=(7.5, 0.27 * rows + 0.9))
    axes.axvline(unharmed, color="black", linewidth=1)
    kinds = list(dict.fromkeys(kind for group in groups.values() for found in group.values() for kind in found))
    styles, shown, place, places, labels = dict(in_style(kinds)), {}, 0.0, [], []
    for title, group in groups.items():
        axes.text(0.01, place, title, fontsize=9, fontweight="bold", va="center", transform=axes.get_yaxis_transform())
        for name, found in group.items():
            place += 1
            places.append(place)
            labels.append(name)
            for kind, (value, low, high) in found.items():
                color, marker, _ = styles[kind]
                shift = (0.28 * list(found).index(kind) - 0.14) * (len(found) > 1)
                shown[kind] = axes.errorbar(
                    value, place + shift, xerr=[[value - low], [high - value]], fmt=marker, color=color,
                    markerfacecolor=color if kind == kinds[0] else "white", markersize=5, capsize=2,
                )  # fmt: skip
        place += 1.2
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set_yticks(places, labels)
    axes.set(xlabel="test accuracy, with 95 % interval (line: nothing changed)", xlim=(0, 1.03))
    axes.set_ylim(place - 0.6, -0.7)
    axes.grid(False, axis="y")
    axes.figure.legend(shown.values(), shown, loc="outside upper center", ncols=3, fontsize=9)
