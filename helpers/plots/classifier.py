"""Pages 6 and A2: what a classifier is made of, how its answer comes about, and the mistakes that are left."""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, GREEN, ORANGE, PINK, RED, arrow, box, styled

MARKS = torch.tensor([0.05, 0.25, 0.5, 0.75, 0.95])  # of a box: its whiskers, its ends and its middle


@styled
def pixel_classifier(d_model, n_layer):
    """From 784 pixels to ten numbers, with the shape of everything that flows between the parts."""
    _, axes = plt.subplots(figsize=(8, 2.4))
    axes.set(xlim=(0, 20), ylim=(0.3, 6), aspect="equal")
    axes.axis("off")
    middle = 3.2

    def part(x, text, color, width, height=1.7):
        box(axes, x - width / 2, middle - height / 2, width, height, text, color, 8.5, linewidth=1.2)

    layer = plt.Rectangle((5.0, 1.1), 5.3, 4.7, facecolor="#00000008", edgecolor="#888888", linestyle="--", linewidth=1)
    axes.add_patch(layer)
    axes.text(10.2, 0.65, f"{n_layer} layers", ha="right", va="center", fontsize=8.5)
    ends = (0.2, 1.4, 3.6, 5.5, 6.7, 7.1, 9.1, 9.4, 10.0, 11.8, 13.0, 13.3, 15.7, 16.8, 18.2, 18.9)
    for left, right in zip(ends[::2], ends[1::2], strict=True):
        arrow(axes, (left, middle), (right, middle))
    arrow(axes, (5.25, middle), (5.25, 1.6), (9.7, 1.6), (9.7, middle - 0.3))
    arrow(axes, (8.6, middle + 0.85), (8.6, 4.9), (7.6, 4.9), (7.6, middle + 0.85))
    axes.text(8.1, 5.25, "state", ha="center", va="center", fontsize=8)
    part(2.5, "embedding\n(linear)", BLUE, 2.2)
    part(6.1, "norm", PINK, 1.2)
    part(8.1, "Mamba\nblock", GREEN, 2.0)
    axes.add_patch(plt.Circle((9.7, middle), 0.3, facecolor="white", edgecolor="black"))
    axes.text(9.7, middle - 0.03, "+", ha="center", va="center", fontsize=10)
    part(12.4, "norm", PINK, 1.2)
    part(14.5, "average over\npositions", ORANGE, 2.4)
    part(17.5, "head\n(linear)", BLUE, 1.4)
    shapes = {
        0.75: "(784, 1)",
        4.3: f"(784, {d_model})",
        11.05: f"(784, {d_model})",
        16.25: f"({d_model})",
        19.2: "(10)",
    }
    for x, shape in shapes.items():
        axes.text(x, middle + 0.4, shape, ha="center", va="center", fontsize=7)


@styled
def reading_progress(accuracies, intervals, pixels):
    """How good the answer is after each row, and how many pixels it takes until the model is sure of it.

    Each box holds the middle half of the digits with that answer, its whiskers 90 % of them.

    ``accuracies``: after 1, 2, ... rows; ``intervals``: ``(low, high)`` of each; ``pixels``: ``{digit: (n,)}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4))
    rows = range(1, len(accuracies) + 1)
    left.fill_between(rows, *zip(*intervals, strict=True), color=BLUE, alpha=0.25, linewidth=0)
    left.plot(rows, accuracies, color=BLUE, marker="o", markersize=3)
    left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    left.set(xlabel="rows read", ylabel="validation accuracy", ylim=(0, 1.02), xticks=range(0, 29, 4))
    everything = torch.cat(list(pixels.values())).double()
    _, quarter, half, three_quarters, _ = torch.quantile(everything, MARKS.double()).tolist()
    mean = everything.mean().item()
    right.axvspan(quarter, three_quarters, color=ORANGE, alpha=0.25, linewidth=0)
    right.axvline(half, color="black", linewidth=1)
    right.axvline(mean, color=RED, linewidth=1.5, linestyle="--")
    right.set_title(f"median {half:.0f}, mean {mean:.0f} (dashed)", fontsize=9)
    for digit, values in pixels.items():
        low, first, half, third, high = torch.quantile(values.double(), MARKS.double()).tolist()
        right.plot((low, high), (digit, digit), color=BLUE, linewidth=1)
        right.barh(digit, third - first, 0.6, first, color="#cfe3f1", edgecolor=BLUE, zorder=2)
        right.plot((half, half), (digit - 0.3, digit + 0.3), color="black", linewidth=1.5)
    right.grid(axis="y", visible=False)
    right.set(xlabel="pixels read until it is sure", ylabel="answer", ylim=(9.6, -0.6))
    right.set(xlim=(0, 784), xticks=range(0, 785, 112), yticks=list(pixels))


@styled
def confusion(labels, predictions):
    """How often each class (row) was taken for each (column), in percent of the row. Both int64 ``(n,)``.

    The largest number is the last class; the row of one that never occurs stays empty.
    """
    classes = 1 + int(torch.maximum(labels, predictions).max())
    counts = torch.bincount(classes * labels + predictions, minlength=classes**2).view(classes, classes)
    shares = 100 * counts / counts.sum(1, keepdim=True)
    side = 0.4 * max(classes, 4)  # each cell has room for its number
    _, axes = plt.subplots(figsize=(side + 1, side + 0.6))
    # The square root keeps one percent visible next to a hundred.
    axes.imshow(shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    for row, column in (shares >= 0.05).nonzero().tolist():
        share = shares[row, column].item()
        color = "white" if share > 40 else "black"
        axes.text(column, row, f"{share:.1f}", ha="center", va="center", fontsize=7, color=color)
    axes.grid(False)
    axes.set(
        xlabel="answer", ylabel="class", xticks=range(classes), yticks=range(classes), title="percent of each class"
    )
