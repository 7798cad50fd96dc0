"""Appendix A3: what lies side by side in memory, powers of two, rooflines, speeds, and the way back through blocks."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import NullLocator

from helpers.plots.style import BLUE, GREEN, ORANGE, in_style, styled


@styled
def layouts(channels=8, positions=8, at=3):
    """Two orders in memory, row after row, and where the channels of one position are."""
    _, panels = plt.subplots(1, 2, figsize=(8, 3.1))
    names = (("channel", "position", "(dim, length)"), ("position", "channel", "(length, dim)"))
    for axes, (down, across, title) in zip(panels, names, strict=True):
        for row in range(channels if down == "channel" else positions):
            for column in range(positions if down == "channel" else channels):
                hit = at == (column if across == "position" else row)
                axes.add_patch(
                    plt.Rectangle((column, row), 0.9, 0.8, facecolor=BLUE if hit else "white", edgecolor="#999999")
                )
        fetches = f"{channels} places in memory" if across == "position" else "one place in memory"
        axes.set(title=f"{title}: {fetches}", xlabel=f"{across} →", ylabel=f"← {down}", xticks=[], yticks=[])
        width, height = (positions, channels) if down == "channel" else (channels, positions)
        axes.set(xlim=(-0.1, width), ylim=(height, -0.1))
        axes.grid(False)
        axes.spines[:].set_visible(False)


@styled
def powers_of_two(errors, roundings):
    """How a power of two is computed: the pieces of 2**x, and the error of a polynomial on one of them.

    Args:
        errors: ``{degree: largest relative error}``.
        roundings: ``{name of a float: relative rounding error}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3))
    for k in range(-2, 3):
        x = np.linspace(k - 0.5, k + 0.5, 50)
        left.plot(x, 2.0**x, color=(BLUE, ORANGE)[k % 2], linestyle=("-", "--")[k % 2], linewidth=2.5)
        left.annotate(f"$2^{{{k}}}$ ×", (k, 2.0**k), (-14, 8), textcoords="offset points", fontsize=9)
    left.set(xlabel="x", ylabel="$2^x$", xticks=range(-2, 3), title="one curve, scaled")
    right.semilogy(list(errors), list(errors.values()), "o-", color=BLUE)
    for (name, rounding), (_, _, dashes) in in_style(roundings.items()):
        right.axhline(rounding, color="black", linewidth=1, linestyle=dashes)
        right.annotate(f"rounding, {name}", (max(errors), rounding), (0, 4), textcoords="offset points", ha="right")
    right.set(xlabel="degree of the polynomial", ylabel="largest relative error", title="error on that curve")
    right.set_xticks(list(errors))
    right.yaxis.set_minor_locator(NullLocator())


@styled
def roofline(d_state, roofs, measured):
    """What a scan could do at each state size, and what it does; both axes logarithmic.

    Args:
        d_state: the state sizes.
        roofs: ``{name: numbers at each state size}``, limits.
        measured: ``{name: numbers at each state size}``.
    """
    _, axes = plt.subplots(figsize=(7, 3.4))
    lowest = np.minimum.reduce([np.asarray(values) for values in roofs.values()])
    axes.fill_between(d_state, lowest, 2 * max(max(values) for values in roofs.values()), color="#eeeeee", zorder=0)
    for number, ((name, values), (color, marker, dashes)) in enumerate(in_style([*measured.items(), *roofs.items()])):
        if number < len(measured):
            axes.plot(d_state, values, color=color, marker=marker, linestyle=dashes, label=name)
        else:
            axes.plot(d_state, values, color=color, linestyle=dashes, linewidth=2, label=name)
    axes.set(xscale="log", yscale="log", xlabel="state size", ylabel="positions × channels\n(billions per second)")
    axes.set_xticks(d_state, [f"{n}" for n in d_state])
    axes.yaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.legend(fontsize=9, loc="lower left")


@styled
def ladder(values, xlabel):
    """Bars below one another on a logarithmic axis, labeled: ``{name: value}``."""
    _, axes = plt.subplots(figsize=(7, 0.45 * len(values) + 0.8))
    bars = axes.barh(list(values), list(values.values()), color=BLUE, height=0.6)
    axes.bar_label(bars, [f" {value:.3g}" for value in values.values()], fontsize=9)
    axes.set(xscale="log", xlabel=xlabel, xlim=(0.5 * min(values.values()), 3 * max(values.values())))
    axes.xaxis.set_major_formatter("{x:g}")
    axes.minorticks_off()
    axes.grid(False, axis="y")
    axes.invert_yaxis()


@styled
def way_back(blocks=4, block=4):
    """The forward pass keeps a state at the beginning of each block; the backward pass takes the last block first."""
    length = blocks * block
    _, axes = plt.subplots(figsize=(8, 2.9))
    rows = ["forward", *(f"backward, block {number}" for number in range(blocks, 0, -1))]
    for row, name in enumerate(rows):
        axes.text(-0.3, row, name, ha="right", va="center", fontsize=9)
        for t in range(length):
            inside = row == 0 or t // block == blocks - row
            axes.plot(t + 0.5, row, "o", color=BLUE if inside else "#dddddd", markersize=3)
            if t % block == 0:
                axes.plot(t, row, "s", color=ORANGE if inside or t // block < blocks - row else "#eeeeee", markersize=8)
        if row == 0:
            spans = [(0, length, GREEN, 0)]
        else:
            start = (blocks - row) * block
            spans = [(start, start + block, GREEN, -0.18), (start + block, start, BLUE, 0.22)]
        for start, end, color, shift in spans:
            style = {"arrowstyle": "-|>", "color": color, "linewidth": 1.8, "shrinkA": 4, "shrinkB": 0}
            axes.annotate("", (end, row + shift), (start, row + shift), arrowprops=style)
    for place, (text, color) in enumerate(
        (("■ kept state", ORANGE), ("→ states, forward", GREEN), ("← gradient, backward", BLUE))
    ):
        axes.text(length * (0.02 + 0.34 * place), -0.8, text, color=color, fontsize=9, va="center")
    axes.set(xlim=(-4.2, length + 0.3), ylim=(len(rows) - 0.4, -1.1), yticks=[], xticks=[], xlabel="position →")
    axes.grid(False)
    axes.spines[:].set_visible(False)


@styled
def bounds(named, unit):
    """Groups of bars: what each resource alone would need. ``{group: {resource: value}}``."""
    _, axes = plt.subplots(figsize=(8, 3.1))
    resources = list(next(iter(named.values())))
    width = 0.8 / len(resources)
    for number, (resource, (color, _, _)) in enumerate(in_style(resources)):
        values = [group[resource] for group in named.values()]
        places = [place + (number - (len(resources) - 1) / 2) * width for place in range(len(named))]
        bars = axes.bar(places, values, 0.9 * width, color=color, label=resource, hatch=("", "//", "..")[number % 3])
        axes.bar_label(bars, [f"{value:.0f}" for value in values], fontsize=9)
    axes.set_xticks(range(len(named)), list(named))
    axes.set(ylabel=unit)
    axes.margins(y=0.12)
    axes.grid(False, axis="x")
    axes.legend(fontsize=9, loc="upper left")
