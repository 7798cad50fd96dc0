"""Pages 1 and 6: digits as pictures and as signals."""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, in_style, show_image, styled


@styled
def digits(images, titles, columns=10):
    """A sheet of digits. ``images``: ``(n, 28, 28)``; ``titles``: n strings."""
    rows = -(-len(images) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(8, 1.0 * rows), squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_visible(False)
    for axes, (image, title) in zip(grid.flat, zip(images, titles, strict=True), strict=False):
        show_image(axes, image)
        axes.set_title(title, fontsize=9)


@styled
def signal(image):
    """A digit, and beside it the same 784 pixels in a line. ``image``: ``(28, 28)``, values 0 to 255."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[1, 3])
    show_image(left, image)
    for row in range(0, 785, 28):
        right.axvline(row, color="#dddddd", linewidth=0.6)
    right.plot(image.reshape(-1).numpy(), color=BLUE, linewidth=1)
    right.grid(False)
    right.set(xlabel="position in the sequence (a line a row)", ylabel="ink (0 to 255)", xlim=(0, 784))


@styled
def neighbors(image, positions):
    """Where pixels of a picture land in the sequence. ``positions``: ``{name: (row, column)}``."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[1, 3])
    show_image(left, image)
    right.plot(image.reshape(-1).numpy(), color="#bbbbbb", linewidth=1)
    first = min(row * 28 + column for row, column in positions.values())
    right.set(xlabel="position in the sequence", ylabel="ink (0 to 255)", xlim=(first - 12, first + 44))
    for (name, (row, column)), (color, marker, _) in in_style(positions.items()):
        place = row * 28 + column
        left.plot(column, row, marker, color=color, markeredgecolor="white", markersize=8)
        right.plot(place, image[row, column].item(), marker, color=color, markersize=8, label=f"{name}: {place}")
    right.legend(loc="upper right", fontsize=9)


@styled
def class_balance(labels):
    """How often each digit occurs. ``labels``: ``{name of the set: int64 (n,)}``."""
    _, axes = plt.subplots(figsize=(8, 2.4))
    width = 0.8 / len(labels)
    for i, ((name, values), (color, _, _)) in enumerate(in_style(labels.items())):
        share = (torch.bincount(values, minlength=10) / len(values)).tolist()
        places = [digit + (i - (len(labels) - 1) / 2) * width for digit in range(10)]
        axes.bar(places, share, width, color=color, label=f"{name} ({len(values):,})")
    axes.axhline(0.1, color="black", linewidth=0.8, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="digit", ylabel="share of the set", xticks=range(10), yticks=[0, 0.05, 0.1, 0.15])
    axes.legend(ncols=3, fontsize=9)
