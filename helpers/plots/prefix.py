"""Appendix A1: in which rounds parallel scans join, and what that costs."""

import matplotlib.pyplot as plt

from helpers.plots.style import BLUE, ORANGE, in_style, styled


@styled
def joining_rounds(scans, length):
    """Which positions are joined in each round of a parallel scan, from the top to the bottom.

    ``scans``: ``{title: rounds}``, each round a list of joins ``(first, second)``: the last position that each of the
    two joined maps covers. What comes out of a join takes the place of the second; an orange one is complete: it
    describes all positions up to its place.
    """
    deepest = max(len(rounds) for rounds in scans.values())
    _, panels = plt.subplots(1, len(scans), figsize=(8, 0.42 * deepest + 1.3), sharey=True, squeeze=False)
    for axes, (title, rounds) in zip(panels.flat, scans.items(), strict=True):
        start, complete = list(range(length)), {0}  # the first position that each map covers
        for place in range(length):
            axes.plot([place, place], [0, len(rounds)], color="#cccccc", linewidth=0.8, zorder=1)
        axes.plot(range(length), [0] * length, "o", color=BLUE, markersize=3)
        axes.plot(0, 0, "o", color=ORANGE, markersize=4)
        for level, joins in enumerate(rounds, start=1):
            before = list(start)
            for first, second in joins:
                axes.plot([first, second], [level - 1, level], color=BLUE, linewidth=1)
                start[second] = before[first]
                if start[second] == 0:
                    complete.add(second)
                color = ORANGE if second in complete else BLUE
                axes.plot(second, level, "o", color=color, markersize=5 if color == ORANGE else 4, zorder=3)
        axes.set(title=title, xlabel="position", xticks=[0, length // 2, length - 1], xlim=(-0.7, length - 0.3))
        axes.set_yticks(range(deepest + 1))
        axes.grid(False)
    panels[0, 0].set(ylabel="round")
    panels[0, 0].invert_yaxis()


@styled
def depth_and_work(lengths, scans):
    """Rounds, and joins per position, against length. ``scans``: ``{name: (rounds, joins)}``, at each length."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.0))
    for (name, (rounds, joins)), (color, marker, dashes) in in_style(scans.items()):
        style = {"color": color, "marker": marker, "linestyle": dashes, "markersize": 5}
        left.plot(lengths, rounds, label=name, **style)
        right.plot(lengths, [count / length for count, length in zip(joins, lengths, strict=True)], **style)
    left.set(ylabel="rounds (depth)", ylim=(0, None))
    right.set(ylabel="joins per position (work)", ylim=(0, None))
    for axes in (left, right):
        axes.set_xscale("log", base=2)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths], rotation=30)
        axes.minorticks_off()
        axes.set(xlabel="length")
    left.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
