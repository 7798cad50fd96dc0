"""Page 5: the block, where positions meet in it, its step sizes, what it carries, and what is missed without a part."""

import itertools

import matplotlib.pyplot as plt
from matplotlib.patches import FancyBboxPatch
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, GREEN, ORANGE, PINK, arrow, box, in_style, styled

MEET = ORANGE  # the two places where positions meet, the convolution and the scan, wherever they are drawn


@styled
def mamba_block(d_model, d_inner, d_state, dt_rank, d_conv):
    """A layer with its Mamba block, from the left to the right, with the width of everything that flows in it.

    The layer is a norm, the block and a residual connection around both. Where positions meet has a color of its own.
    """
    _, axes = plt.subplots(figsize=(8, 3.9))
    axes.set(xlim=(-3.2, 23.2), ylim=(-1.9, 10.3), aspect="equal")
    axes.axis("off")

    def part(x, y, text, color=BLUE, width=2.2, height=1.5):
        strong = color == MEET
        look = {"facecolor": color + ("b0" if strong else "28"), "linewidth": 2 if strong else 1}
        box(axes, x - width / 2, y - height / 2, width, height, text, color, 7.5, **look)

    def joint(x, y, sign):
        axes.add_patch(plt.Circle((x, y), 0.45, facecolor="white", edgecolor="black"))
        axes.text(x, y - 0.04, sign, ha="center", va="center", fontsize=11)

    def note(x, y, text, align="center"):
        axes.text(x, y, text, ha=align, va="center", fontsize=7.5)

    frame = {"facecolor": "none", "edgecolor": "#777777", "linewidth": 1, "linestyle": "--", "boxstyle": "round,pad=0"}
    axes.add_patch(FancyBboxPatch((1.0, -0.1), 18.2, 9.7, **frame))
    note(1.3, 9.1, "the Mamba block", "left")
    note(8.6, -1.1, "residual connection")

    arrow(axes, (-3.0, 3.2), (-2.0, 3.2))
    arrow(axes, (-2.6, 3.2), (-2.6, -1.5), (20.6, -1.5), (20.6, 4.15))
    arrow(axes, (0.0, 3.2), (1.3, 3.2))
    arrow(axes, (3.5, 3.2), (4.0, 3.2), (4.0, 4.6), (4.8, 4.6))
    arrow(axes, (3.5, 3.2), (4.0, 3.2), (4.0, 1.2), (4.8, 1.2))
    arrow(axes, (7.0, 4.6), (11.4, 4.6))
    arrow(axes, (8.1, 4.6), (8.1, 6.4))
    arrow(axes, (9.2, 7.1), (10.7, 7.1))
    arrow(axes, (12.0, 6.3), (12.0, 5.6))
    arrow(axes, (8.1, 7.9), (8.1, 8.7), (13.8, 8.7), (13.8, 5.6))
    arrow(axes, (12.8, 2.5), (12.8, 3.6))
    arrow(axes, (14.2, 4.6), (15.3, 4.6))
    arrow(axes, (7.0, 1.2), (15.75, 1.2), (15.75, 4.15))
    arrow(axes, (16.2, 4.6), (16.7, 4.6))
    arrow(axes, (18.9, 4.6), (20.15, 4.6))
    arrow(axes, (21.05, 4.6), (22.6, 4.6))

    part(-1.0, 3.2, "RMSNorm", GREEN, width=2.0)
    part(2.4, 3.2, "linear\nin_proj")
    part(5.9, 4.6, f"conv1d\n{d_conv} taps,\nSiLU", MEET, height=1.9)
    part(8.1, 7.1, "linear\nx_proj")
    part(12.0, 7.1, "linear\ndt_proj,\nsoftplus", width=2.6, height=1.7)
    part(12.8, 4.6, "selective scan\nand skip", MEET, width=2.9, height=2.0)
    part(5.9, 1.2, "SiLU", PINK)
    part(17.8, 4.6, "linear\nout_proj")
    joint(15.75, 4.6, "×")
    joint(20.6, 4.6, "+")

    note(-2.9, 3.8, f"{d_model}")
    note(3.6, 5.2, f"x: {d_inner}")
    note(9.7, 4.2, f"u: {d_inner}")
    note(9.9, 7.6, f"dt: {dt_rank}")
    note(11.8, 6.0, f"Δ: {d_inner}", "right")
    note(14.1, 7.0, f"B, C:\n{d_state} each", "left")
    note(12.8, 2.1, "A, D")
    note(14.4, 5.5, f"y: {d_inner}", "left")
    note(3.6, 0.6, f"z: {d_inner}")
    note(22.3, 5.2, f"{d_model}")


@styled
def reach(stages, changed):
    """How far one changed position is felt. ``stages``: ``{name: how much each position changes, (length,)}``."""
    _, rows = plt.subplots(len(stages), 1, figsize=(8, 0.75 * len(stages) + 0.7), sharex=True, squeeze=False)
    for axes, (name, change) in zip(rows.flat, stages.items(), strict=True):
        felt = change > 0
        color = MEET if felt.sum() > 1 else BLUE
        places = felt.nonzero().flatten()
        axes.vlines(places.tolist(), 0, (change[felt] / change.max()).tolist(), color=color, linewidth=2)
        axes.axvline(changed, color="black", linewidth=0.6, linestyle=":")
        axes.set(ylim=(0, 1.05), yticks=[])
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.grid(False)
    axes.set(xlabel="position in the sequence", xlim=(changed - 4.5, len(change) - 0.5))


@styled
def step_functions(inputs, functions, decays):
    """What makes steps positive: the step, its slope, and the decay ``exp(-step)`` (A = -1), against the raw input.

    ``inputs``: ``(n,)``; ``functions``: ``{name: (steps, slopes)}``; ``decays``: ``{name: (n,)}``.
    """
    _, panels = plt.subplots(1, 3, figsize=(8, 3.0))
    titles = ("step size Δ", "slope dΔ/dx", r"what is kept, $e^{-\Delta}$")
    for (name, (steps, slopes)), (color, _, dashes) in in_style(functions.items()):
        for axes, values in zip(panels, (steps, slopes, decays[name]), strict=True):
            axes.plot(inputs.tolist(), values.tolist(), color=color, linestyle=dashes, label=name)
    for axes, title, top in zip(panels, titles, (8, 2, 1.05), strict=True):
        axes.set(title=title, xlabel="raw input x", ylim=(0, top), xlim=(inputs[0].item(), inputs[-1].item()))
    panels[0].figure.legend(*panels[0].get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=9)


@styled
def carried(lengths, cache, states):
    """Numbers carried from step to step. ``cache``: attention, at each length; ``states``: ``{name: number}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    axes.plot(lengths, cache, color=BLUE, linestyle="--", label="key-value cache, one Transformer layer")
    for (name, kept), dashes in zip(states.items(), itertools.cycle(("-", (0, (6, 1, 1, 1)))), strict=False):
        axes.axhline(kept, color=MEET, linewidth=2, linestyle=dashes, label=name)
        crossing = kept * lengths[0] / cache[0]
        axes.plot(crossing, kept, "o", color="black", markersize=5)
        axes.annotate(f"{crossing:.0f}", (crossing, kept), (6, -12), textcoords="offset points", fontsize=9)
    axes.axvline(784, color="black", linewidth=0.8, linestyle=":")
    axes.annotate("a digit", (784, cache[0] / lengths[0]), (4, 2), textcoords="offset points", fontsize=9)
    axes.set(xscale="log", yscale="log", xlabel="positions read", ylabel="numbers carried")
    axes.xaxis.set_major_formatter("{x:,.0f}")
    axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.legend(loc="upper left", fontsize=9)


@styled
def initial_steps(steps, spans):
    """The step sizes of a fresh block, and for how many positions its states then remember.

    ``steps``: ``(d_inner,)``; ``spans``: ``{name: (d_inner,), in positions}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.0))
    share = [(i + 0.5) / len(steps) for i in range(len(steps))]
    left.plot(share, steps.sort().values.tolist(), ".", color=BLUE)
    left.set(ylabel="step size Δ", yscale="log")
    for (name, values), (color, marker, _) in in_style(spans.items()):
        right.plot(share, values.sort().values.tolist(), marker, color=color, markersize=4, label=name)
    right.axhline(784, color="black", linewidth=0.8, linestyle=":")
    right.set(ylabel="positions until 1/e is left", yscale="log")
    right.legend(fontsize=9)
    for axes in (left, right):
        axes.set(xlabel="channels, in order")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


@styled
def ablations(accuracies, levels):
    """Accuracy with parts taken out: a row each, a mark a seed. ``{name: accuracies}`` and ``{name: level}``."""
    _, axes = plt.subplots(figsize=(8, 0.36 * len(accuracies) + 1.1))
    for row, values in enumerate(accuracies.values()):
        mean = sum(values) / len(values)
        axes.barh(row, mean, 0.6, color=BLUE, alpha=0.35)
        axes.plot(values, [row] * len(values), "o", color=BLUE, markersize=4)
    for (name, level), dashes in zip(levels.items(), itertools.cycle(("--", "-.", ":")), strict=False):
        axes.axvline(level, color="black", linewidth=1, linestyle=dashes, label=f"{name}: {level:.1%}")
    axes.set_yticks(range(len(accuracies)), accuracies)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="right answers", xlim=(0, 1))
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)
