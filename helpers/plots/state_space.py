"""Page 3: what a state does, and the copying task."""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import PercentFormatter

from helpers.plots.style import BLUE, in_style, styled


@styled
def discretizations(times, exact, steps, versions):
    """A state in continuous time, and what recurrences make of it at the ends of the steps they take.

    ``times, exact``: the true course; ``steps``: times at the ends of the steps; ``versions``: ``{name: state there}``.
    """
    _, axes = plt.subplots(figsize=(8, 3.0))
    axes.plot(times, exact, color="#999999", linewidth=3, label="continuous")
    for (name, states), (color, marker, _) in in_style(versions.items()):
        axes.plot(steps, states, color=color, marker=marker, markersize=6, linestyle=":", linewidth=1, label=name)
    axes.set(xlabel="time", ylabel="state")
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)


@styled
def impulse_responses(kernels):
    """What an input of 1 at step 0 does to the output afterwards, a panel each. ``kernels``: ``{title: (length,)}``."""
    rows = -(-len(kernels) // 2)
    _, grid = plt.subplots(rows, 2, figsize=(8, 1.7 * rows), sharex=True, squeeze=False)
    for axes, (title, kernel) in zip(grid.flat, kernels.items(), strict=False):
        axes.plot(kernel.tolist(), color=BLUE, linewidth=1)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("steps since the input")
    for axes in grid[:, 0]:
        axes.set_ylabel("response")


@styled
def token_sequences(tokens, titles, question):
    """Sequences of tokens, a row each: 0 is blank, ``question`` a question mark, all else its number.

    ``tokens``: int64 ``(n, length)``; ``titles``: n strings.
    """
    _, axes = plt.subplots(figsize=(8, 0.3 * len(tokens) + 0.6))
    shades = torch.where(tokens == 0, 0.0, 1.0) * (1 - 0.55 * (tokens == question))
    axes.imshow(shades.numpy(), cmap="Blues", vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    for row, column in (tokens != 0).nonzero().tolist():
        token = tokens[row, column].item()
        axes.text(column, row, "?" if token == question else token, ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(titles)), titles)
    axes.hlines([row + 0.5 for row in range(len(tokens) - 1)], -0.5, tokens.shape[1] - 0.5, color="#dddddd")
    axes.set(xlabel="position")
    axes.grid(False)


@styled
def copying(by_answer, noise, by_noise):
    """Accuracy at each answer, and against the number of positions before the questions; dotted is chance among eight.

    ``by_answer``: ``{name: accuracy of each answer}``; ``noise``: numbers; ``by_noise``: ``{name: accuracy at each}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    for (name, values), (color, marker, dashes) in in_style(by_answer.items()):
        style = {"color": color, "marker": marker, "linestyle": dashes, "label": name}
        left.plot(range(1, len(values) + 1), values, **style)
        if name in by_noise:
            right.plot(noise, by_noise[name], **style)
    for axes in (left, right):
        axes.axhline(1 / 8, color="black", linewidth=0.8, linestyle=":")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    answers = len(next(iter(by_answer.values())))
    left.set(xlabel="answer", ylabel="accuracy", xticks=range(1, answers + 1), ylim=(0, 1.03))
    right.set(xlabel="positions before the questions", xscale="log")
    right.set_xticks(noise, [str(n) for n in noise])
    right.minorticks_off()
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.15), fontsize=9)
