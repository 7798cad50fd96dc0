"""Page 5: the block, its step sizes, and what is missed without a part."""

import itertools

import matplotlib.pyplot as plt
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, GREEN, ORANGE, in_style, styled


@styled
def mamba_block(d_model, d_inner, d_state, dt_rank, d_conv):
    """The parts of a Mamba block, from the left to the right, with the width of everything that flows between them."""
    _, axes = plt.subplots(figsize=(8, 3.7))
    axes.set(xlim=(0, 20), ylim=(0, 9), aspect="equal")
    axes.axis("off")

    def box(x, y, text, color, width=2.0, height=1.5):
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(plt.Rectangle(corner, width, height, facecolor=color + "40", edgecolor=color, linewidth=1.2))
        axes.text(x, y, text, ha="center", va="center", fontsize=8)

    def flow(*places):
        """A line through places, with an arrow at its end."""
        axes.plot(*zip(*places[:-1], strict=True), color="black", linewidth=1)
        arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", places[-1], places[-2], arrowprops=arrow)

    def note(x, y, text, align="center"):
        axes.text(x, y, text, ha=align, va="center", fontsize=7.5)

    flow((0.6, 3.2), (1.4, 3.2))
    flow((3.4, 3.2), (3.9, 3.2), (3.9, 4.6), (4.7, 4.6))
    flow((3.4, 3.2), (3.9, 3.2), (3.9, 1.2), (4.7, 1.2))
    flow((6.7, 4.6), (11.2, 4.6))
    flow((7.8, 4.6), (7.8, 6.4))
    flow((8.8, 7.1), (10.6, 7.1))
    flow((11.8, 6.4), (11.8, 5.6))
    flow((7.8, 7.9), (7.8, 8.5), (13.5, 8.5), (13.5, 5.6))
    flow((12.6, 2.6), (12.6, 3.6))
    flow((14.0, 4.6), (15.4, 4.6))
    flow((6.7, 1.2), (15.8, 1.2), (15.8, 4.2))
    flow((16.2, 4.6), (16.9, 4.6))
    flow((18.9, 4.6), (19.6, 4.6))

    box(2.4, 3.2, "linear\nin_proj", BLUE)
    box(5.7, 4.6, f"conv1d\n{d_conv} taps,\nSiLU", ORANGE, height=1.9)
    box(7.8, 7.1, "linear\nx_proj", BLUE)
    box(11.8, 7.1, "linear\ndt_proj,\nsoftplus", BLUE, width=2.4, height=1.6)
    box(12.6, 4.6, "selective scan\nand skip", GREEN, width=2.8, height=2.0)
    box(5.7, 1.2, "SiLU", ORANGE)
    box(17.9, 4.6, "linear\nout_proj", BLUE)
    axes.add_patch(plt.Circle((15.8, 4.6), 0.4, facecolor="white", edgecolor="black"))
    axes.text(15.8, 4.56, "×", ha="center", va="center", fontsize=11)

    note(0.7, 3.8, f"{d_model}")
    note(3.7, 5.1, f"x: {d_inner}")
    note(9.4, 4.2, f"u: {d_inner}")
    note(9.7, 7.5, f"dt: {dt_rank}")
    note(11.6, 6.0, f"Δ: {d_inner}", align="right")
    note(13.7, 7.0, f"B, C:\n{d_state} each", align="left")
    note(12.6, 2.2, "A, D")
    note(14.6, 5.0, f"y: {d_inner}")
    note(3.7, 0.7, f"z: {d_inner}")
    note(19.4, 5.2, f"{d_model}")


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
