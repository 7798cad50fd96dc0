"""Page 8: what a generator predicts, what it draws, and what surprises it."""

import itertools

import matplotlib.pyplot as plt
import numpy as np
import torch
from matplotlib.ticker import MaxNLocator

from helpers.plots.style import BLUE, GREEN, ORANGE, RED, in_style, show_image, styled


@styled
def digit_rows(rows, titles=None, given=None):
    """Rows of digits, each named at its left: ``{name: (n, 28, 28)}``.

    ``titles``: ``{name: n strings}`` above the digits of a row; ``given``: how many rows of pixels were given, which
    are shaded.
    """
    size = 0.72  # of a digit, in inches
    columns, titles = max(len(images) for images in rows.values()), titles or {}
    width = max(len(line) for name in rows for line in name.split("\n"))
    height = sum(size + (0.22 if name in titles else 0) for name in rows)
    figure, grid = plt.subplots(
        len(rows), columns, figsize=(min(8, columns * size + 0.09 * width), height), squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0, hspace=0)
    for line, (name, images) in zip(grid, rows.items(), strict=True):
        for axes in line[len(images) :]:
            axes.axis("off")
        for number, (axes, image) in enumerate(zip(line, images, strict=False)):
            show_image(axes, image)
            axes.spines[:].set_color("#cccccc")
            if given:
                axes.axhspan(-0.5, given - 0.5, color=BLUE, alpha=0.12, linewidth=0)
            if name in titles:
                axes.set_title(titles[name][number], fontsize=8, pad=2)
        if name:
            line[0].set_ylabel(name, rotation=0, ha="right", va="center", fontsize=9)


@styled
def predicted_levels(image, positions, probabilities):
    """What is predicted for some pixels of a digit, below what had been read by then.

    Args:
        image: ``(28, 28)``, values 0 to 255.
        positions: of the pixels, ``(n,)``.
        probabilities: of the gray levels at each of them, ``(n, levels)``.
    """
    _, grid = plt.subplots(2, len(positions), figsize=(8, 3.6), height_ratios=[1.3, 1], squeeze=False)
    for (above, below), position, levels in zip(grid.T, positions, probabilities, strict=True):
        row, column = divmod(int(position), 28)
        show_image(above, image)
        above.axhspan(row + 0.5, 27.5, color="#e3e9ee", linewidth=0)
        above.fill_between((column - 0.5, 27.5), row - 0.5, row + 0.5, color="#e3e9ee", linewidth=0)
        above.add_patch(plt.Rectangle((column - 0.5, row - 0.5), 1, 1, fill=False, edgecolor=RED, linewidth=1.8))
        truth = int(image[row, column])
        cost = -torch.log2(levels[truth]).item()
        above.set_title(f"row {row}, column {column}", fontsize=9)
        below.bar(range(len(levels)), levels.tolist(), width=1.6, color=BLUE)
        below.axvline(truth, color=RED, linewidth=1, linestyle="--")
        below.set_title(f"it was {truth}: {cost:.2g} bits", fontsize=9)
        below.set(yscale="log", ylim=(1e-5, 1.5), xlim=(-4, 259), xlabel="gray level", xticks=[0, 64, 128, 192, 255])
        below.tick_params(labelleft=below is grid[1, 0])
    grid[1, 0].set_ylabel("probability")


@styled
def bits_per_pixel(named, groups):
    """Bars of what a pixel costs. ``named``: ``{name: bits}``; ``groups``: ``{name: group}``, one color for each."""
    colors = dict(zip(dict.fromkeys(groups.values()), itertools.cycle(("#9aa7b1", BLUE, ORANGE, GREEN)), strict=False))
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.27 * len(named)))
    for place, (name, bits) in enumerate(named.items()):
        axes.barh(place, bits, color=colors[groups[name]])
        axes.annotate(f"{bits:.2f}", (bits, place), (4, 0), textcoords="offset points", va="center", fontsize=8.5)
    for group, color in colors.items():
        axes.barh(0, 0, color=color, label=group)
    axes.set(xlabel="bits per pixel", yticks=range(len(named)), yticklabels=list(named))
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.legend(loc="lower right")


@styled
def bits_of_seeds(named):
    """What several trainings of each model reached, the best first. ``named``: ``{name: bits of each}``."""
    rows = sorted(named.items(), key=lambda row: sum(row[1]) / len(row[1]))
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.3 * len(rows)))
    for place, (_, bits) in enumerate(rows):
        mean = sum(bits) / len(bits)
        axes.plot(bits, [place] * len(bits), "o", color=BLUE, markersize=6, alpha=0.8)
        axes.annotate(f"{mean:.3f}", (max(bits), place), (8, 0), textcoords="offset points", va="center", fontsize=8.5)
    axes.set(xlabel="bits per pixel", yticks=range(len(rows)), yticklabels=[name for name, _ in rows])
    axes.margins(x=0.12, y=0.12)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)


@styled
def surprise(images, bits, titles):
    """Digits, and what their pixels cost, on a scale that ends at 8. ``images``, ``bits``: ``(n, 28, 28)``."""
    figure, grid = plt.subplots(2, len(images), figsize=(8, 0.5 + 14 / len(images)), squeeze=False)
    for (above, below), image, costs, title in zip(grid.T, images, bits, titles, strict=True):
        show_image(above, image)
        above.set_title(title, fontsize=9)
        shown = below.imshow(costs.numpy(), cmap="magma_r", vmin=0, vmax=8, interpolation="nearest")
        below.set(xticks=[], yticks=[])
        below.grid(False)
        below.spines[:].set_visible(True)
    figure.colorbar(shown, ax=grid.ravel().tolist(), label="bits", shrink=0.8, pad=0.02, extend="max")


@styled
def bits_of_digits(named):
    """What pictures of several kinds cost: ``{name: (n,)}`` of bits per pixel, a dot for each, a row for each kind."""
    _, axes = plt.subplots(figsize=(8, 0.6 + 0.42 * len(named)))
    scatter = np.random.default_rng(0)  # up and down, so that dots can be told apart
    for place, values in enumerate(named.values()):
        axes.scatter(values, place + scatter.uniform(-0.3, 0.3, len(values)), s=7, alpha=0.5, color=BLUE, linewidths=0)
    axes.set(xscale="log", xlabel="bits per pixel", yticks=range(len(named)), yticklabels=list(named))
    axes.set_xticks(ticks := (0.1, 0.2, 0.5, 1, 2, 5, 10), [f"{tick:g}" for tick in ticks])
    axes.minorticks_off()
    axes.invert_yaxis()


@styled
def memory_kept(positions, named):
    """What is kept between two pixels, against how many were read: ``{name: kilobytes at each of the positions}``."""
    _, axes = plt.subplots(figsize=(8, 2.6))
    for (name, kilobytes), (color, marker, dashes) in in_style(named.items()):
        axes.plot(positions, kilobytes, color=color, marker=marker, linestyle=dashes, label=name)
    axes.set(xlabel="pixels drawn", ylabel="kB per digit", ylim=(0, None))
    axes.set_xticks(list(range(0, 785, 112)))
    axes.yaxis.set_major_locator(MaxNLocator(6))
    axes.legend()


@styled
def palettes(distinct, costs, by_order):
    """What digits cost, by how many gray levels they have; and what their gray pixels cost, one after another.

    Args:
        distinct: gray levels in each digit, ``(n,)``.
        costs: bits per pixel of each digit, ``(n,)``.
        by_order: ``{name: (k,)}``, bits of the first to the k-th gray pixel of a digit, means over digits.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.0))
    left.scatter(distinct, costs, s=7, alpha=0.5, color=BLUE, linewidths=0)
    left.set(xlabel="different gray levels in a digit", ylabel="bits per pixel", xlim=(0, None), ylim=(0, None))
    for (name, bits), (color, marker, dashes) in in_style(by_order.items()):
        places = range(1, len(bits) + 1)
        right.plot(places, bits, color=color, marker=marker, markersize=3, linestyle=dashes, label=name)
    right.set(xlabel="gray pixel of the digit, in order", ylabel="bits for it", ylim=(0, None))
    right.legend()
