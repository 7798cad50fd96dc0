"""Page 10: three blocks side by side, masks, chunks, steps that are trapezoids, clocks, and states that turn."""

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, NullLocator, PercentFormatter

from helpers.plots.style import BLUE, GREEN, LINES, ORANGE, PINK, arrow, box, in_style, styled

ROW = 28  # pixels of a row of a digit

# From the input, at the bottom, to the output: what each block is made of, and the kind of each part.
BLOCKS = {
    "Mamba": (
        ("linear: x, z", BLUE),
        ("convolution of x, SiLU", ORANGE),
        ("linear: Δ, B, C", BLUE),
        ("scan: a decay for each\nnumber of the state", GREEN),
        ("gate: SiLU(z)", PINK),
        ("linear", BLUE),
    ),
    "Mamba-2": (
        ("linear: x, z, B, C, Δ", BLUE),
        ("convolution of x, B, C, SiLU", ORANGE),
        ("scan: one decay\nfor each head", GREEN),
        ("gate: SiLU(z), norm", PINK),
        ("linear", BLUE),
    ),
    "Mamba-3": (
        ("linear: x, z, B, C, Δ, A, λ, θ", BLUE),
        ("norm and bias of B, C", ORANGE),
        ("turn B, C by the sum of θΔ", ORANGE),
        ("scan: one decay for each head,\ntrapezoidal steps", GREEN),
        ("gate: SiLU(z)", PINK),
        ("linear", BLUE),
    ),
}


@styled
def three_blocks():
    """Mamba, Mamba-2 and Mamba-3, each from its input at the bottom to its output at the top."""
    _, columns = plt.subplots(1, 3, figsize=(8, 4.2))
    for axes, (name, parts) in zip(columns, BLOCKS.items(), strict=True):
        axes.set(xlim=(0, 1), ylim=(-0.1, 6.4), title=name)
        axes.axis("off")
        gap = 6.2 / len(parts)
        for level, (text, color) in enumerate(parts):
            low = level * gap
            box(axes, 0.02, low, 0.96, 0.72, text, color, 8)
            if level:
                arrow(axes, (0.5, low - gap + 0.72), (0.5, low))


@styled
def matrices(named):
    """Square matrices side by side, rows (outputs) downwards, the larger the darker: ``{title: (length, length)}``."""
    _, columns = plt.subplots(1, len(named), figsize=(8, 8 / len(named) + 0.4))
    for axes, (title, matrix) in zip(columns, named.items(), strict=True):
        limit = matrix.abs().max().item()
        signed = bool((matrix < 0).any())
        axes.imshow(matrix.numpy(), cmap="RdBu" if signed else "Blues", vmin=-limit if signed else 0, vmax=limit)
        axes.set(title=title, xlabel="input, position", ylabel="output, position")
        axes.grid(False)


@styled
def blocks_of_a_matrix(chunks):
    """What chunks make of the matrix: attention on the diagonal, products by way of a state below it."""
    _, axes = plt.subplots(figsize=(3.6, 3.6))
    for row in range(chunks):
        for column in range(row + 1):
            inside = row == column
            color = ORANGE if inside else BLUE
            corners = [(column, row), (column, row + 1), (column + 1, row + 1), (column + 1, row)]
            if inside:
                corners = corners[:3]
            axes.add_patch(plt.Polygon(corners, facecolor=color + "50", edgecolor="white"))
            if not inside:
                axes.text(column + 0.5, row + 0.5, "C h B", ha="center", va="center", fontsize=8)
            else:
                axes.text(column + 0.36, row + 0.72, "L∘CBᵀ", ha="center", va="center", fontsize=7)
    axes.set(xlim=(0, chunks), ylim=(chunks, 0), xticks=range(chunks + 1), yticks=range(chunks + 1), aspect="equal")
    axes.set(xlabel="chunk of the input", ylabel="chunk of the output")


@styled
def times(named, xlabel):
    """Lines on logarithmic axes, the lower one labeled at every point: ``{name: {x: milliseconds}}``."""
    _, axes = plt.subplots(figsize=(6, 3.2))
    for (name, values), (color, marker, dashes) in in_style(named.items()):
        axes.plot(list(values), list(values.values()), marker=marker, color=color, linestyle=dashes, label=name)
    places = sorted({x for values in named.values() for x in values})
    axes.set(xscale="log", yscale="log", xlabel=xlabel, ylabel="milliseconds")
    axes.set_xticks(places, [f"{x:g}" for x in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value:g}")
    axes.legend(fontsize=9)


@styled
def error_orders(steps, errors):
    """Error against step size, both logarithmic: ``{scheme: errors}``."""
    _, axes = plt.subplots(figsize=(6, 3.2))
    for (name, values), (color, marker, dashes) in in_style(errors.items()):
        axes.loglog(steps, values, marker=marker, color=color, linestyle=dashes, label=name)
    axes.set(xlabel="step size Δ", ylabel="largest error of the state")
    axes.legend(fontsize=9)


@styled
def clocks(named):
    """What is read of a write, against its distance, one below the other, rows of a digit marked: ``{title: (n,)}``."""
    _, panels = plt.subplots(len(named), 1, figsize=(7, 0.95 * len(named) + 0.4), sharex=True, sharey=True)
    for axes, (title, values), (color, _, _) in zip(panels, named.items(), LINES, strict=False):
        for place in range(ROW, len(values), ROW):
            axes.axvline(place, color="black", linewidth=0.6, linestyle=":")
        axes.axhline(0, color="black", linewidth=0.5)
        axes.plot(values.tolist(), color=color)
        axes.set(ylim=(-1.1, 1.1), yticks=(-1, 0, 1), xticks=range(0, len(values), ROW))
        axes.grid(False)
        axes.set_title(title, loc="right", y=0.72, fontsize=9)
    panels[len(named) // 2].set_ylabel("share that is read")
    panels[-1].set_xlabel("pixels since it was written")


@styled
def turning_pairs(named):
    """What is left of a pair of numbers, in the plane and, of the first, over time: ``{title: complex (steps,)}``."""
    _, (planes, courses) = plt.subplots(2, len(named), figsize=(8, 8 / len(named) + 2), height_ratios=(3, 2))
    for axes, below, (title, points), (color, _, _) in zip(planes, courses, named.items(), LINES, strict=False):
        below.plot(points.real.tolist(), ".-", color=color, linewidth=0.8)
        below.set(xlabel="step", ylabel="first", ylim=(-1.1, 1.1))
        axes.plot(points.real.tolist(), points.imag.tolist(), "-", color=color, linewidth=0.8)
        axes.plot(points.real.tolist(), points.imag.tolist(), "o", color=color, markersize=3)
        axes.plot(points.real[0].item(), points.imag[0].item(), "o", color="black", markersize=5)
        axes.axhline(0, color="black", linewidth=0.5)
        axes.axvline(0, color="black", linewidth=0.5)
        axes.set(title=title, xlim=(-1.1, 1.1), ylim=(-1.1, 1.1), aspect="equal", xlabel="first", ylabel="second")


@styled
def by_length(accuracies, trained):
    """Accuracy against the length of a sequence, a line a seed: ``{name: [{length: accuracy}, ...]}``.

    ``trained``: the shortest and the longest length of the training.
    """
    _, axes = plt.subplots(figsize=(7, 3.4))
    axes.axvspan(*trained, color="#dddddd", label="lengths trained on")
    for (name, seeds), (color, marker, dashes) in in_style(accuracies.items()):
        for number, values in enumerate(seeds):
            label = name if number == 0 else None
            axes.plot(list(values), list(values.values()), marker=marker, color=color, linestyle=dashes, label=label)
    axes.axhline(0.5, color="black", linewidth=0.8, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="bits read", ylabel="right answers", ylim=(0, 1.03))
    axes.legend(fontsize=9, loc="lower left")
