"""Page 9: larger digits, cost against length, copying beyond the trained length, sequences in pieces."""

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, PercentFormatter

from helpers.plots.style import BLUE, LINES, RED, in_style, show_image, styled


@styled
def enlarged(images):
    """One digit at several sizes, drawn at the same scale. ``images``: ``{title: (height, width)}``."""
    widths = [image.shape[1] for image in images.values()]
    _, panels = plt.subplots(1, len(images), figsize=(8, 8 * max(widths) / (sum(widths) * 1.06)), width_ratios=widths)
    for axes, (title, image) in zip(panels, images.items(), strict=True):
        show_image(axes, image)
        axes.set_anchor("S")
        axes.set_title(title, fontsize=9)


@styled
def reading_orders(size, scale):
    """Two ways to read a picture that was enlarged: row by row, and the pixels that were one pixel together.

    Args:
        size: pixels of the original, on each side, that are drawn.
        scale: how many pixels, on each side, each of them has become.
    """
    side = size * scale
    rows = [(row, column) for row in range(side) for column in range(side)]
    cells = [
        (row * scale + i, column * scale + j)
        for row in range(size)
        for column in range(size)
        for i in range(scale)
        for j in range(scale)
    ]
    _, panels = plt.subplots(1, 2, figsize=(8, 3.7))
    for axes, order, title in ((panels[0], rows, "row by row"), (panels[1], cells, "cell by cell")):
        for row in range(size):
            for column in range(size):
                shade = "#dbe7f0" if (row + column) % 2 else "#f4f7fa"
                axes.add_patch(plt.Rectangle((column * scale - 0.5, row * scale - 0.5), scale, scale, facecolor=shade))
        ys, xs = zip(*order, strict=True)
        axes.plot(xs, ys, color=BLUE, linewidth=1, marker="o", markersize=4)
        axes.plot(xs[:1], ys[:1], color=RED, marker="o", markersize=7)
        axes.set(xlim=(-0.6, side - 0.4), ylim=(side - 0.4, -0.6), xticks=[], yticks=[], aspect="equal", title=title)
        axes.grid(False)
        axes.spines[:].set_visible(False)


@styled
def costs_of_layers(panels, forecasts):
    """What layers cost, against length, on logarithmic scales.

    Args:
        panels: ``{label of an axis: {name: {length: cost}}}``, four of them.
        forecasts: the same for what was not run, drawn dashed from the last cost that was measured.
    """
    figure, grid = plt.subplots(2, 2, figsize=(8, 5.6))
    names = dict.fromkeys(name for curves in panels.values() for name in curves)
    styles = dict(in_style(names))
    for axes, (label, curves) in zip(grid.flat, panels.items(), strict=True):
        for name, costs in curves.items():
            color, marker, _ = styles[name]
            line = {"color": color, "marker": marker, "markersize": 5, "label": name}
            axes.plot(list(costs), list(costs.values()), **line)
            if further := forecasts.get(label, {}).get(name):
                last = list(costs.items())[-1:] + list(further.items())
                axes.plot(*zip(*last, strict=True), color=color, linestyle=":", marker=marker, fillstyle="none")
        axes.set(xscale="log", yscale="log", xlabel="positions")
        axes.set_ylabel(label, fontsize=9)
        axes.set_xticks([256, 1024, 4096, 16_384, 65_536], ["256", "1,024", "4,096", "16,384", "65,536"], fontsize=8)
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 3, 5) if high < 300 * low else (1,)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
    handles = {}
    for axes in grid.flat:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=3, fontsize=9)


@styled
def copying_beyond(lengths, accuracies, chance):
    """Accuracy at lengths that were never trained on: ``{name: one list for each seed}``, the mean and the range."""
    _, axes = plt.subplots(figsize=(8, 3.6))
    for number, ((name, seeds), (color, marker, dashes)) in enumerate(in_style(accuracies.items())):
        color = color if number < len(LINES) else ("black", "#888888")[number % 2]  # not one of the others again
        columns = list(zip(*seeds, strict=True))
        means = [sum(column) / len(column) for column in columns]
        axes.plot(lengths, means, color=color, marker=marker, linestyle=dashes, label=name)
        axes.fill_between(lengths, [min(c) for c in columns], [max(c) for c in columns], color=color, alpha=0.12)
    axes.axhline(chance, color="#888888", linestyle=":", linewidth=1)
    axes.set(xscale="log", xlabel="length of the sequences", ylabel="test accuracy", ylim=(0, 1.03))
    axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.minorticks_off()
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)


@styled
def cost_in_pieces(megabytes, seconds):
    """Bars of peak memory and of time, one for each way to train on a long sequence: ``{name: value}`` twice."""
    _, panels = plt.subplots(1, 2, figsize=(8, 0.7 + 0.36 * len(megabytes)), sharey=True)
    for axes, values, label, form in zip(
        panels, (megabytes, seconds), ("peak memory (MB)", "time (s)"), ("{:,.0f}", "{:.2f}"), strict=True
    ):
        axes.barh(range(len(values)), list(values.values()), color=BLUE, height=0.62)
        for place, value in enumerate(values.values()):
            axes.annotate(
                form.format(value), (value, place), (4, 0), textcoords="offset points", va="center", fontsize=9
            )
        axes.set(xlabel=label, xlim=(0, 1.15 * max(values.values())))
        axes.grid(axis="y", visible=False)
    panels[0].set_yticks(range(len(megabytes)), list(megabytes))
    panels[0].invert_yaxis()


@styled
def truncated(accuracies):
    """Accuracy of each answer, a point for each seed: ``{name: one list of answers for each seed}``."""
    _, axes = plt.subplots(figsize=(8, 2.8))
    width = 0.8 / len(accuracies)
    for number, ((name, seeds), (color, marker, _)) in enumerate(in_style(accuracies.items())):
        columns = list(zip(*seeds, strict=True))
        places = [answer + (number - (len(accuracies) - 1) / 2) * width for answer in range(len(columns))]
        axes.bar(places, [sum(c) / len(c) for c in columns], width * 0.9, color=color, alpha=0.35, label=name)
        for place, column in zip(places, columns, strict=True):
            axes.plot([place] * len(column), column, color=color, marker=marker, linestyle="none", markersize=4)
    axes.axhline(1 / 8, color="#888888", linestyle=":", linewidth=1)
    axes.set(xticks=range(len(columns)), ylabel="test accuracy", ylim=(0, 1.05))
    axes.set_xticklabels(["first token", "second token", "third token"][: len(columns)])
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(loc="center left", bbox_to_anchor=(1, 0.5), fontsize=9)


@styled
def losses_by_processes(losses):
    """Loss curves that should lie on top of each other: ``{name: a loss for each step}``, the widest line first."""
    _, axes = plt.subplots(figsize=(8, 2.6))
    for number, ((name, values), (color, _, _)) in enumerate(in_style(losses.items())):
        width, dashes = (5, "-") if number == 0 else (1.5, "--")
        alpha = 0.35 if number == 0 else 1
        axes.plot(range(1, len(values) + 1), values, dashes, color=color, linewidth=width, alpha=alpha, label=name)
    axes.set(xlabel="step", ylabel="training loss (nats)")
    axes.legend()
