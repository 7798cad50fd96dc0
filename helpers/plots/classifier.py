"""Page 6: how a training went, and the mistakes that are left."""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import LogLocator, PercentFormatter

from helpers.plots.style import BLUE, LINES, styled


@styled
def training_curves(records, levels):
    """Loss and accuracy against images seen. ``records``: of ``train.fit``; ``levels``: ``{name: accuracy}``."""
    images = [record["images"] for record in records]
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    left.plot(images, [record["loss"] for record in records], color=BLUE)
    left.set(xlabel="images seen", ylabel="training loss (nats)", ylim=(0, None))
    right.plot(images, [record["accuracy"] for record in records], color=BLUE, label="while training")
    for (name, level), (color, _, dashes) in zip(levels.items(), LINES[1:], strict=False):
        right.axhline(level, color=color, linestyle=dashes, label=f"{name}: {level:.1%}")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set(xlabel="images seen", ylabel="accuracy", ylim=(0, 1))
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)


@styled
def error_curves(curves):
    """Shares of wrong answers against images seen, logarithmically. ``curves``: ``{name: (images, accuracies)}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, (images, accuracies)), (color, marker, dashes) in zip(curves.items(), LINES, strict=False):
        wrong = [1 - accuracy for accuracy in accuracies]
        axes.plot(images, wrong, color=color, marker=marker, markersize=4, linestyle=dashes, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda share, _: f"{100 * share:g}%")  # 0.5 %, where PercentFormatter rounds to 0
    axes.set(xlabel="images seen", ylabel="wrong answers")
    axes.legend(fontsize=9)


@styled
def confusion(labels, predictions):
    """How often each digit (row) was taken for each (column), in percent of the row. Both int64 ``(n,)``."""
    counts = torch.zeros(10, 10)
    counts.index_put_((labels, predictions), torch.ones(len(labels)), accumulate=True)
    shares = 100 * counts / counts.sum(1, keepdim=True)
    _, axes = plt.subplots(figsize=(5, 4.6))
    # The root lets a percent be seen beside a hundred.
    axes.imshow(shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    for row in range(10):
        for column in range(10):
            if shares[row, column] >= 0.05:
                light = shares[row, column] > 40
                text = f"{shares[row, column]:.1f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if light else "black")
    axes.grid(False)
    axes.set(xlabel="answer", ylabel="digit", xticks=range(10), yticks=range(10), title="percent of each digit")
