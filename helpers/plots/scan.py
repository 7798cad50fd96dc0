"""Page 4 and the benchmark: gates, the rounds of a parallel scan, what is moved and kept, and time against length."""

import math

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from helpers.plots.style import BLUE, GREEN, ORANGE, arrow, box, in_style, styled


@styled
def step_as_gate(v, kept, entering):
    """What a step keeps of the state, and what it lets in, against the number v that the step size is made of.

    Args:
        v: ``(points,)``.
        kept, entering: ``{name: (points,)}``, for the left and the right panel.
    """
    _, panels = plt.subplots(1, 2, figsize=(8, 3))
    for axes, curves, ylabel in zip(
        panels, (kept, entering), ("fraction of the state that is kept", "weight of the input"), strict=True
    ):
        for (name, values), (color, _, dashes) in in_style(curves.items()):
            axes.plot(v.tolist(), values.tolist(), color=color, linestyle=dashes, linewidth=2, label=name)
        axes.set(xlabel="v, before the softplus", ylabel=ylabel)
        axes.legend(fontsize=9, loc="upper right" if curves is kept else "upper left")


@styled
def gradients_of_indices(length):
    """What autograd writes on the way back through a loop: a full array for each index, or one array."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.9))
    for axes, rows in ((left, length), (right, 1)):
        for row in range(rows):
            for column in range(length):
                filled = rows == 1 or row == column
                color = BLUE if filled else "white"
                axes.add_patch(plt.Rectangle((column, row), 0.9, 0.8, facecolor=color, edgecolor="#999999"))
                if not filled:
                    axes.text(column + 0.45, row + 0.4, "0", ha="center", va="center", fontsize=8, color="#666666")
        axes.set(xlim=(-0.1, length), ylim=(length, -0.1), xlabel="position", yticks=[], xticks=[])
        axes.grid(False)
        axes.spines[:].set_visible(False)
    left.set(title=f"x[:, t], {length} times: {length} arrays of {length}, added up", ylabel="one row per index")
    right.set(title=f"x.unbind(1), once: one array of {length}")


@styled
def doubling(length):
    """The rounds of a parallel scan by doubling: which positions each place describes, and which two are joined."""
    rounds = math.ceil(math.log2(length))
    _, panels = plt.subplots(1, rounds + 1, figsize=(8, 2.6), sharey=True)
    for number, axes in enumerate(panels):
        step = 2 ** (number - 1)
        for t in range(length):
            first = max(0, t - 2**number + 1)
            joined = number > 0 and t >= step
            done = first == 0
            for column in range(first, t + 1):
                new = joined and column <= t - step
                color = (GREEN if done else BLUE) + ("55" if new else "cc")
                axes.add_patch(plt.Rectangle((column, t), 0.88, 0.8, facecolor=color, edgecolor="none"))
        axes.set(xlim=(-0.2, length), ylim=(length, -0.2), xticks=[], yticks=[], aspect="equal")
        axes.set_title("at first" if number == 0 else f"round {number}: join\nthe one {step} before", fontsize=9)
        axes.grid(False)
        axes.spines[:].set_visible(False)
        axes.set_xlabel("describes positions", fontsize=9)
    panels[0].set_ylabel("place", fontsize=9)


@styled
def fused_or_not():
    """Where the numbers of one position are: every array in memory, or the state in registers."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
    for axes, title in ((left, "one operation after another"), (right, "fused")):
        axes.set(xlim=(0, 10), ylim=(0, 8.2), title=title)
        axes.axis("off")
        axes.text(0, 7.75, "memory", fontsize=9, color="#555555")
        axes.text(0, 0.1, "registers and nearest cache", fontsize=9, color="#555555")
        axes.axhline(3.2, color="#999999", linewidth=0.8, linestyle=":")
    box(left, 0, 5.8, 2.4, 1.3, "u, Δ, B, C", BLUE)
    box(left, 7.9, 5.8, 2, 1.3, "y", BLUE)
    for x, name in ((2.9, "Ā"), (4.6, "B̄u"), (6.3, "h")):
        box(left, x, 4.3, 1.3, 2.8, f"{name}\n\n16 ×\nas large", ORANGE, 8)
    for number, x in enumerate((2.3, 4.0, 5.7, 7.3)):
        box(left, x, 1.2, 1.3, 1.1, ("exp", "×", "Āh + B̄u", "C h")[number], GREEN, 7)
    for start, end in (((1.2, 5.8), (2.7, 2.3)), ((7.95, 2.3), (8.9, 5.8))):
        arrow(left, start, end)
    for x, (up, down) in ((3.55, (3.0, 5.9)), (5.25, (4.65, 6.15)), (6.95, (6.6, 7.75))):
        arrow(left, (up, 2.3), (x - 0.15, 4.3))
        arrow(left, (x + 0.15, 4.3), (down, 2.3))
    arrow(left, (1.6, 5.8), (4.3, 2.3))
    box(right, 0, 5.8, 2.4, 1.3, "u, Δ, B, C", BLUE)
    box(right, 7.6, 5.8, 2.2, 1.3, "y", BLUE)
    box(right, 3.5, 5.0, 3, 2.1, "h of every\n16th position,\nfor the way back", BLUE, 8)
    box(right, 2.6, 1, 4.8, 1.6, "Ā, B̄u and h of one position\nh stays for the next", GREEN, 9)
    arrow(right, (1.2, 5.8), (3.2, 2.6))
    arrow(right, (6.8, 2.6), (8.7, 5.8))
    arrow(right, (5, 2.6), (5, 5.0), linestyle="--")


@styled
def moved_and_kept(moved, kept, limit):
    """Two panels of bars on logarithmic axes, in multiples of a limit: ``{name: multiple}`` twice.

    ``limit``: what the limit is called in each panel, such as what must be moved.
    """
    _, panels = plt.subplots(1, 2, figsize=(8, 2.6), sharey=True)
    titles = ("moved in the forward pass", "kept for the backward pass")
    for axes, values, title, label, color in zip(panels, (moved, kept), titles, limit, (BLUE, ORANGE), strict=True):
        bars = axes.barh(list(values), list(values.values()), color=color, height=0.6)
        axes.bar_label(bars, [f" {value:.{1 if value < 10 else 0}f}" for value in values.values()], fontsize=9)
        axes.set(xscale="log", xlim=(0.7, 4 * max(values.values())), title=title, xlabel=f"times {label}")
        axes.set_xticks([1, 10, 100], ["1", "10", "100"])
        axes.minorticks_off()
        axes.grid(False, axis="y")
    panels[0].invert_yaxis()


@styled
def against_length(panels, ylabel):
    """What something costs against length, both logarithmic: ``{title: {name: {length: value}}}``, a panel a title.

    A name looks the same in all panels.
    """
    names = list(dict.fromkeys(name for lines in panels.values() for name in lines))
    looks = dict(in_style(names))
    figure, columns = plt.subplots(1, len(panels), figsize=(8, 3.6), squeeze=False, sharey=True)
    for axes, (title, lines) in zip(columns[0], panels.items(), strict=True):
        for name, values in lines.items():
            color, marker, dashes = looks[name]
            axes.plot(list(values), list(values.values()), color=color, marker=marker, linestyle=dashes, label=name)
        lengths = sorted({length for values in lines.values() for length in values})
        axes.set(xscale="log", yscale="log", xlabel="length", title=title)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
        axes.margins(x=0.08)
    columns[0][0].set_ylabel(ylabel)
    handles = {}
    for axes in columns[0]:
        handles |= dict(zip(*reversed(axes.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=4, fontsize=9)


@styled
def costs(rows):
    """Time per position and peak memory against length. ``rows``: the benchmark's ``report.Row`` at all lengths."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for name, (color, marker, dashes) in in_style(dict.fromkeys(row.name for row in rows)):
        style = {"color": color, "marker": marker, "linestyle": dashes, "markersize": 5}
        found = [row for row in rows if row.name == name]
        left.plot(
            [row.length for row in found],
            [1e6 * row.seconds / (row.batch * row.length) for row in found],
            label=name,
            **style,
        )
        found = [row for row in found if row.peak_bytes]
        right.plot([row.length for row in found], [row.peak_bytes / 1e6 for row in found], **style)
    lengths = sorted({row.length for row in rows})
    for axes, label in ((left, "microseconds per position"), (right, "peak memory (MB)")):
        axes.set(xscale="log", yscale="log", xlabel="length", ylabel=label)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
    left.figure.legend(loc="outside upper center", ncols=3, fontsize=9)
