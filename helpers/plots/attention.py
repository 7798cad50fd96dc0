"""Page 7: the steps that a model chooses, the matrices inside its scans, and what deleting pixels costs."""

import matplotlib.pyplot as plt
from matplotlib.colors import PowerNorm
from matplotlib.ticker import FuncFormatter, NullFormatter, PercentFormatter

from helpers.plots.style import RED, in_style, show_image, styled

SIDE = 28  # pixels of a row of a digit
GRAY = "#888888"


def _outline(axes, image):
    axes.contour(image.numpy(), levels=[127], colors=GRAY, linewidths=0.8)


def _folded(axes, values, **look):
    """One value for each pixel, as a picture of 28 rows."""
    drawn = axes.imshow(values.reshape(-1, SIDE).numpy(), interpolation="nearest", **look)
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)
    return drawn


@styled
def looking_back(image, positions, shares):
    """What some pixels look back at: a row for each of them, a column for each layer.

    Args:
        image: ``(28, 28)``, values 0 to 255, drawn as an outline.
        positions: of the pixels, numbers from 0 to 783.
        shares: for each pixel the shares of all others, ``(layers, 784)``, zero behind it.
    """
    layers = len(shares[0])
    _, grid = plt.subplots(
        len(positions), layers + 1, figsize=(8, 8 / (layers + 1) * len(positions) + 0.2), squeeze=False
    )
    for axes, position, found in zip(grid, positions, shares, strict=True):
        show_image(axes[0], image)
        for layer, values in enumerate(found):
            # The square root, or all but the darkest pixels would be white.
            _folded(axes[1 + layer], values, cmap="Blues", norm=PowerNorm(0.5, vmin=0, vmax=values.max().item()))
            row, column = divmod(position, SIDE)
            unread = {"facecolor": "#e3e9ee", "linewidth": 0}
            axes[1 + layer].add_patch(plt.Rectangle((column + 0.5, row - 0.5), SIDE - 1 - column, 1, **unread))
            axes[1 + layer].add_patch(plt.Rectangle((-0.5, row + 0.5), SIDE, SIDE - 1 - row, **unread))
            _outline(axes[1 + layer], image)
        for one in axes:
            one.plot(position % SIDE, position // SIDE, "s", color=RED, markersize=5, markeredgecolor="white")
    grid[0, 0].set_title("a pixel", fontsize=9)
    for layer in range(layers):
        grid[0, 1 + layer].set_title(f"layer {layer + 1}", fontsize=9)


@styled
def step_maps(image, maps):
    """Step sizes as pictures, each with a scale of its own: ``{title: (784,)}``, next to the digit, ``(28, 28)``."""
    columns = (len(maps) + 2) // 2
    _, grid = plt.subplots(2, columns, figsize=(8, 4.4), squeeze=False)
    show_image(grid[0, 0], image)
    grid[0, 0].set_title("the digit", fontsize=9)
    below = grid[0, 0].figure.colorbar(
        grid[0, 0].images[0], ax=grid[0, 0], orientation="horizontal", pad=0.03, shrink=0.8
    )
    below.ax.axis("off")  # it only keeps the digit in line with the maps
    below.solids.set_visible(False)
    places = list(grid.flat)[1:]
    for axes, (title, values) in zip(places, maps.items(), strict=False):
        # The first row is left out of the scale: there the convolutions have no past yet.
        low, high = values[SIDE:].min().item(), values[SIDE:].max().item()
        drawn = _folded(axes, values, cmap="Purples", vmin=low, vmax=high)
        axes.set_title(title, fontsize=9)
        bar = axes.figure.colorbar(drawn, ax=axes, orientation="horizontal", ticks=[low, high], pad=0.03, shrink=0.8)
        bar.ax.set_xticklabels([f"{low:.2g}", f"{high:.2g}"], fontsize=8)
        bar.outline.set_visible(False)
    for axes in places[len(maps) :]:
        axes.set_visible(False)


@styled
def ink_and_memory(ratios, memories):
    """How much larger the steps are on ink than on paper, and how long the states then hold what they have.

    Args:
        ratios: ``{title: {name: (ratios, low, high, of the means)}}``: of every channel, ``(channels,)`` each, with the
            ends of its interval, and the ratio of the channels' mean steps.
        memories: ``{name: half-lives}``, one for each number of the state, in pixels.
    """
    _, panels = plt.subplots(1, len(ratios) + 1, figsize=(8, 4.2), width_ratios=[1] * len(ratios) + [1.15])
    for axes, (title, curves) in zip(panels, ratios.items(), strict=False):
        axes.axhline(1, color="black", linewidth=0.8)
        for (name, (values, low, high, mean)), (color, marker, dashes) in in_style(curves.items()):
            order = values.argsort()
            share = [(i + 0.5) / len(values) for i in range(len(values))]
            axes.fill_between(share, low[order].tolist(), high[order].tolist(), color=color, alpha=0.3, linewidth=0)
            axes.plot(share, values[order].tolist(), color=color, linestyle=dashes, linewidth=1.6, label=name)
            axes.plot(1.06, mean, marker, color=color, markersize=5, clip_on=False)
        axes.set(title=title, xlabel="channels, in order", yscale="log", xlim=(0, 1.1), ylim=(1 / 64, 64))
        axes.set_xticks([0, 0.5, 1], ["0 %", "50 %", "100 %"])
        axes.set_yticks([1 / 32, 1 / 8, 1 / 2, 1, 2, 8, 32], ["1/32", "1/8", "1/2", "1", "2", "8", "32"])
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.minorticks_off()
        axes.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.45, -0.2), handlelength=2.5)
    panels[0].set_ylabel("step on ink / step on paper")
    right = panels[-1]
    for (name, values), (color, _, dashes) in in_style(memories.items()):
        share = [(i + 0.5) / len(values) for i in range(len(values))]
        right.plot(values.sort().values.tolist(), share, color=color, linestyle=dashes, linewidth=1.6, label=name)
    right.axvline(SIDE, color="black", linewidth=0.8, linestyle=":")
    right.annotate("a row", (SIDE, 0.0), (3, 3), textcoords="offset points", fontsize=8)
    right.set(title="half-life", xscale="log", xlabel="pixels", ylabel="numbers of the state", ylim=(0, 1))
    right.set_xticks([0.1, 1, 10, 100, 1000], ["0.1", "1", "10", "100", "1,000"])
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.2), handlelength=2.5)


@styled
def hidden_matrices(named, first):
    """Matrices side by side, rows (outputs) downwards: ``{title: (n, n)}``; ``first``: the position where they begin.

    Colors end where all but one entry in two hundred of those on or below the diagonal do.
    """
    _, columns = plt.subplots(1, len(named), figsize=(8, 8 / len(named) + 0.5))
    for axes, (title, matrix) in zip(columns, named.items(), strict=True):
        n = len(matrix)
        entries = matrix[matrix.new_ones(n, n).tril().bool()].abs()
        limit = entries.quantile(0.995).item()
        edges = (first - 0.5, first + n - 0.5, first + n - 0.5, first - 0.5)
        axes.imshow(matrix.numpy(), cmap="RdBu", vmin=-limit, vmax=limit, extent=edges, interpolation="nearest")
        rows = range(-(-first // SIDE) * SIDE, first + n, SIDE)
        axes.set(xticks=rows, yticks=rows, xlabel="input, position s")
        axes.tick_params(labelsize=8)
        axes.tick_params(axis="x", rotation=90)
        axes.set_title(title, fontsize=9)
        axes.grid(False)
    columns[0].set_ylabel("output, position t")


@styled
def distances(panels):
    """How large a matrix's entries are, against the distance between output and input, rows of a digit marked.

    ``panels``: ``{title: {name: (means, half the width of their intervals)}}``, of the distances 0, 1, 2, ...
    """
    _, rows = plt.subplots(len(panels), 1, figsize=(8, 1.5 * len(panels) + 0.6), sharex=True, sharey=True)
    for axes, (title, curves) in zip(rows, panels.items(), strict=True):
        longest = max(len(values) for values, _ in curves.values())
        for place in range(SIDE, longest, SIDE):
            axes.axvline(place, color="black", linewidth=0.8, linestyle=":")
        for (name, (values, half)), (color, _, dashes) in in_style(curves.items()):
            x = range(len(values))
            low, high = ((values + sign * half).clamp(min=1e-9).tolist() for sign in (-1, 1))
            axes.fill_between(x, low, high, color=color, alpha=0.3, linewidth=0)
            axes.plot(x, values.tolist(), color=color, linestyle=dashes, linewidth=1.2, label=name)
        axes.set(yscale="log", xlim=(0, longest - 1), xticks=range(0, longest, SIDE))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{100 * value:g} %"))
        axes.grid(False)
        axes.set_title(title, loc="right", y=0.8, fontsize=9)
    rows[0].legend(fontsize=8, loc="lower left", ncols=2)
    rows[len(rows) // 2].set_ylabel("share of a row of the matrix")
    rows[-1].set_xlabel("distance t - s (pixels)")


@styled
def deletion(image, maps, shares, kept):
    """Which pixels an answer is made of, and how many answers are kept when they are deleted.

    Args:
        image: ``(28, 28)``, values 0 to 255.
        maps: ``{title: (784,)}``, what each pixel adds to the answer.
        shares: of the ink that is deleted.
        kept: ``{name: [(share of the answers that are kept, low, high), ...]}``, one for each of ``shares``.
    """
    figure = plt.figure(figsize=(8, 3.4))
    grid = figure.add_gridspec(len(maps), 2, width_ratios=(1, 2.6))
    for row, (title, values) in enumerate(maps.items()):
        axes = figure.add_subplot(grid[row, 0])
        limit = values.abs().max().item()
        _folded(axes, values, cmap="RdBu", vmin=-limit, vmax=limit)
        _outline(axes, image)
        axes.set_title(title, fontsize=9)
    right = figure.add_subplot(grid[:, 1])
    for (name, values), (color, marker, dashes) in in_style(kept.items()):
        middle, low, high = zip(*values, strict=True)
        right.fill_between(shares, low, high, color=color, alpha=0.25, linewidth=0)
        right.plot(shares, middle, marker=marker, color=color, linestyle=dashes, markersize=5, label=name)
    right.set(xlabel="ink deleted", ylabel="answers kept", ylim=(0, 1.02), xlim=(0, None))
    for axis in (right.xaxis, right.yaxis):
        axis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.legend(fontsize=9, title="deleted first", title_fontsize=9, loc="lower left")
