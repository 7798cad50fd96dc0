"""Pages 6, A2 and A4: how trainings went, and what came of them."""

import itertools

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from helpers.plots.style import in_style, styled


def _in_thousands(axes, examples):
    axes.set_xlabel(f"{examples} seen (thousands)")
    axes.xaxis.set_major_formatter(lambda number, _: f"{number / 1000:g}")


@styled
def training_curves(logs, levels=None, examples="images"):
    """Loss and accuracy while training, against examples seen, which are called ``examples``.

    ``logs``: ``{name: records of train.fit}``; ``levels``: ``{name: accuracy}``, drawn as horizontal lines.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for (name, records), (color, marker, dashes) in in_style(logs.items()):
        images = [record["images"] for record in records]
        style = {"color": color, "marker": marker, "markersize": 3, "linestyle": dashes}
        left.plot(images, [record["loss"] for record in records], **style)
        right.plot(images, [record["accuracy"] for record in records], label=name, **style)
    for (name, level), dashes in zip((levels or {}).items(), itertools.cycle((":", "--", "-.")), strict=False):
        right.axhline(level, color="black", linewidth=1, linestyle=dashes, label=f"{name}: {level:.1%}")
    left.set(ylabel="training loss (nats)", ylim=(0, None))
    right.set(ylabel="training accuracy", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(5))
        _in_thousands(axes, examples)
    left.figure.legend(loc="outside upper center", ncols=2, fontsize=9)


@styled
def error_curves(curves):
    """Shares of wrong answers against images seen, logarithmically. ``curves``: ``{name: (images, accuracies)}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, (images, accuracies)), (color, marker, dashes) in in_style(curves.items()):
        wrong = [1 - accuracy for accuracy in accuracies]
        axes.plot(images, wrong, color=color, marker=marker, markersize=4, linestyle=dashes, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda share, _: f"{100 * share:g}%")  # 0.5 %, where PercentFormatter rounds to 0
    axes.set(ylabel="wrong answers")
    _in_thousands(axes, "images")
    axes.legend(fontsize=9)


@styled
def accuracy_of_seeds(rows, intervals=None, xlabel="accuracy"):
    """What several trainings reached, a row each: ``{name: {series: accuracies}}``.

    ``intervals``: ``{series: {name: (low, high)}}``, drawn through the marks of a series.
    """
    _, axes = plt.subplots(figsize=(8, 0.36 * len(rows) + 1.1))
    names = list(dict.fromkeys(series for found in rows.values() for series in found))
    shift = 0.22 if len(names) > 1 else 0.0
    for number, (series, (color, marker, _)) in enumerate(in_style(names)):
        offset = shift * (2 * number / max(len(names) - 1, 1) - 1)
        points = [(x, row + offset) for row, found in enumerate(rows.values()) for x in found.get(series, [])]
        axes.plot(*zip(*points, strict=True), marker, color=color, linestyle="", markersize=6, label=series)
        for name, (low, high) in (intervals or {}).get(series, {}).items():
            place = list(rows).index(name) + offset
            axes.plot((low, high), (place, place), color=color, linewidth=1.5)
    axes.set_yticks(range(len(rows)), rows)
    axes.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5))
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    if len(names) > 1:
        axes.legend(ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
