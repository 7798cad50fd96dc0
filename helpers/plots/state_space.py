"""Page 3: what a state does, the copying task, and the step sizes of models that learn it."""

import matplotlib.pyplot as plt
import torch
from matplotlib.collections import LineCollection
from matplotlib.colors import LogNorm
from matplotlib.ticker import NullLocator, PercentFormatter

from helpers.plots.style import BLUE, GREEN, ORANGE, RED, in_style, styled


@styled
def discretizations(times, exact, steps, versions, factors):
    """A state as recurrences follow it, and by how much Mamba's input is too large in real blocks.

    ``times, exact``: the true course; ``steps``: times at the ends of the steps; ``versions``: ``{name: state there}``;
    ``factors``: ``{name: (n,)}``, drawn as the share that is at most as large.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.3))
    left.plot(times, exact, color="#999999", linewidth=3, label="continuous")
    for (name, states), (color, marker, _) in in_style(versions.items()):
        left.plot(steps, states, color=color, marker=marker, markersize=5, linestyle=":", linewidth=1, label=name)
    left.set(xlabel="time", ylabel="state")
    share = torch.linspace(0, 1, 400, dtype=torch.float64)
    for (name, values), (color, _, dashes) in in_style(factors.items()):
        chosen = (share * (len(values) - 1)).long()
        right.plot(values.sort().values[chosen].tolist(), share.tolist(), color=color, linestyle=dashes, label=name)
    right.axvline(2, color="black", linewidth=0.8, linestyle=":")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set(xlabel="Mamba's input / exact input", ylabel="share of steps", xlim=(0.97, 2.3))
    left.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)
    right.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=8)


@styled
def spiral(times, exact, steps, versions, C):
    """A state of two numbers in the plane, and its output over time; the color is the time in both.

    ``exact``: ``(times, 2)``; ``steps``: times of the marks; ``versions``: ``{name: (steps, 2)}``; ``C``: ``(2,)``.
    """
    figure, (plane, course) = plt.subplots(1, 2, figsize=(8, 3.6), width_ratios=(1, 1.25))
    norm = plt.Normalize(times.min(), times.max())
    for axes, x, y in ((plane, exact[:, 0], exact[:, 1]), (course, times, exact @ C)):
        points = torch.stack([x, y], -1).numpy()
        pieces = [points[i : i + 2] for i in range(len(points) - 1)]
        axes.add_collection(LineCollection(pieces, array=times[:-1].numpy(), norm=norm, linewidths=2))
        axes.axhline(0, color="black", linewidth=0.6)
    plane.axvline(0, color="black", linewidth=0.6)
    handles = []
    for (name, states), (_, marker, _) in in_style(versions.items()):
        style = {"marker": marker, "s": 24, "c": steps.numpy(), "norm": norm, "edgecolors": "black", "linewidths": 0.6}
        plane.scatter(states[:, 0], states[:, 1], zorder=3, **style)
        course.scatter(steps, states @ C, zorder=3, **style)
        mark = {"marker": marker, "color": "#999999", "markeredgecolor": "black", "linestyle": "none"}
        handles.append(plt.Line2D([], [], label=name, **mark))
    limit = 1.1 * max(states.abs().max().item() for states in (exact, *versions.values()))
    plane.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="$h_1$", ylabel="$h_2$")
    course.autoscale_view()
    course.set(xlabel="time", ylabel="output $y$")
    color_bar = figure.colorbar(plt.cm.ScalarMappable(norm), ax=course, pad=0.02)
    color_bar.set_label("time")
    figure.legend(handles=handles, ncols=4, loc="outside upper center", fontsize=9)


@styled
def two_views(u, K, states, y, moments):
    """The same outputs from a kernel that slides over the input, and from a state: a column for each moment.

    ``u, K, y``: ``(length,)``; ``states``: ``(length, 2)``; ``moments``: positions.
    """
    _, rows = plt.subplots(3, len(moments), figsize=(8, 5.2), sharey="row", height_ratios=(1, 1.55, 1))
    u, K = u / u.abs().max(), K / K.abs().max()
    limit = 1.1 * states.abs().max().item()
    for number, (t, sliding, plane, course) in enumerate(zip(moments, *rows, strict=True)):
        sliding.plot(range(t + 1), K[: t + 1].flip(0).tolist(), color=ORANGE, linewidth=1.5)
        for s in u.nonzero().flatten().tolist():
            color = BLUE if s <= t else "#bbbbbb"
            sliding.plot([s, s], [0, u[s].item()], color=color, linewidth=1)
            sliding.plot(s, u[s].item(), "o", color=color, markersize=4)
            if s <= t:
                sliding.plot(s, K[t - s].item(), "s", color=RED, markersize=4)
        sliding.set(title=f"t = {t}", ylim=(-1.3, 1.3))
        path = torch.cat([torch.zeros(1, 2), states[: t + 1]])
        plane.plot(path[:, 0].tolist(), path[:, 1].tolist(), ".-", color="#999999", linewidth=0.8, markersize=3)
        plane.plot(path[-1, 0].item(), path[-1, 1].item(), "o", color=RED, markersize=6)
        plane.axvline(0, color="black", linewidth=0.6)
        plane.set(xlim=(-limit, limit), ylim=(-limit, limit), aspect="equal", xlabel="$h_1$")
        course.plot(range(t + 1), y[: t + 1].tolist(), color=GREEN, linewidth=1.5)
        course.plot(t, y[t].item(), "o", color=RED, markersize=6)
        course.set(xlabel="position")
        for axes in (sliding, course):
            axes.set_xlim(-1, len(u))
            axes.axvline(t, color="black", linewidth=0.6, linestyle=":")
        for axes in (sliding, plane, course):
            axes.axhline(0, color="black", linewidth=0.6)
        if number == 0:
            sliding.set_ylabel("input, kernel")
            plane.set_ylabel("state: $h_2$")
            course.set_ylabel("output")
        sliding.set_yticks([])


@styled
def impulse_responses(kernels, parts):
    """What an input of 1 at step 0 does to the output afterwards.

    ``kernels``: ``{title: (length,)}``, a panel each; ``parts``: ``{name: (length,)}``, together in a last panel.
    """
    rows = -(-(len(kernels) + 1) // 2)
    _, grid = plt.subplots(rows, 2, figsize=(8, 1.9 * rows), sharey=True, squeeze=False)
    panels = list(grid.flat)
    for axes, (title, kernel) in zip(panels, kernels.items(), strict=False):
        axes.plot(kernel.tolist(), color=BLUE, linewidth=1.2)
        axes.set_title(title, fontsize=9)
    last = panels[len(kernels)]
    for (name, kernel), (color, marker, dashes) in in_style(parts.items()):
        last.plot(kernel.tolist(), color=color, marker=marker, markersize=3, linestyle=dashes, linewidth=1, label=name)
    last.legend(fontsize=8, loc="upper right")
    for axes in panels:
        axes.axhline(0, color="black", linewidth=0.6)
    for axes in grid[-1]:
        axes.set_xlabel("steps since the input")
    for axes in grid[:, 0]:
        axes.set_ylabel("response / Δ")


@styled
def token_sequences(tokens, titles, question):
    """Sequences of tokens, a row each: 0 is blank, ``question`` a question mark, all else its number.

    ``tokens``: int64 ``(n, length)``; ``titles``: n strings.
    """
    _, axes = plt.subplots(figsize=(8, 0.3 * len(tokens) + 0.6))
    _draw_tokens(axes, tokens, question)
    axes.set_yticks(range(len(titles)), titles)
    axes.hlines([row + 0.5 for row in range(len(tokens) - 1)], -0.5, tokens.shape[1] - 0.5, color="#dddddd")
    axes.set(xlabel="position")
    axes.grid(False)


def _draw_tokens(axes, tokens, question):
    shades = torch.where(tokens == 0, 0.0, 1.0) * (1 - 0.55 * (tokens == question))
    axes.imshow(shades.numpy(), cmap="Blues", vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    for row, column in (tokens != 0).nonzero().tolist():
        token = tokens[row, column].item()
        axes.text(column, row, "?" if token == question else token, ha="center", va="center", fontsize=8)


@styled
def copying(by_answer, noise, by_noise):
    """Accuracy at each answer, and against the number of positions before the questions; dotted is chance among eight.

    A line a seed. ``by_answer``: ``{name: [accuracy of each answer, ...]}``; ``noise``: numbers; ``by_noise``:
    ``{name: [accuracy at each number, ...]}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.4), sharey=True)
    for (name, seeds), (color, marker, dashes) in in_style(by_answer.items()):
        style = {"color": color, "marker": marker, "markersize": 5, "linestyle": dashes, "linewidth": 1.2}
        for number, values in enumerate(seeds):
            left.plot(range(1, len(values) + 1), values, label=None if number else name, **style)
        for values in by_noise.get(name, []):
            right.plot(noise, values, **style)
    for axes in (left, right):
        axes.axhline(1 / 8, color="black", linewidth=0.8, linestyle=":")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    answers = len(next(iter(by_answer.values()))[0])
    left.set(xlabel="answer", ylabel="accuracy", xticks=range(1, answers + 1), ylim=(0, 1.03))
    right.set(xlabel="positions before the questions", xscale="log")
    right.set_xticks(noise, [str(n) for n in noise])
    right.minorticks_off()
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.13), fontsize=9)


@styled
def step_sizes(sequence, steps, question):
    """The step size of every channel at every position of a sequence: ``{title: (length, channels)}``."""
    heights = (0.16, *([1] * len(steps)))
    figure, (top, *panels) = plt.subplots(
        len(steps) + 1, 1, figsize=(8, 0.5 + 1.75 * len(steps)), sharex=True, height_ratios=heights
    )
    _draw_tokens(top, sequence.unsqueeze(0), question)
    top.set(yticks=[])
    top.grid(False)
    norm = LogNorm(1e-4, 1, clip=True)
    for axes, (title, values) in zip(panels, steps.items(), strict=True):
        axes.imshow(values.T.numpy(), norm=norm, cmap="viridis", aspect="auto", interpolation="nearest")
        axes.set_title(title, fontsize=9)
        axes.set(ylabel="channel")
        axes.grid(False)
    panels[-1].set_xlabel("position")
    bar = figure.colorbar(plt.cm.ScalarMappable(norm, "viridis"), ax=panels, pad=0.01, extend="both")
    bar.set_label("step size Δ")


@styled
def gates(panels):
    """Each channel's step size on a blank and near a token: ``{title: {name: (on a blank, near a token)}}``."""
    figure, (columns,) = plt.subplots(1, len(panels), figsize=(8, 2.7), sharex=True, sharey=True, squeeze=False)
    low, high = 1e-7, 10
    for axes, (title, named) in zip(columns, panels.items(), strict=True):
        axes.plot((low, high), (low, high), color="black", linewidth=0.8, linestyle=":")
        for (name, (blank, token)), (color, marker, _) in in_style(named.items()):
            x, y = (values.clamp(low, high).tolist() for values in (blank, token))
            axes.plot(x, y, marker, color=color, markersize=3.5, markeredgewidth=0, alpha=0.8, label=name)
        axes.set(title=title, xscale="log", yscale="log", xlim=(low / 2, high), ylim=(low / 2, high), aspect="equal")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_ticks([1e-6, 1e-4, 1e-2, 1])
            axis.set_minor_locator(NullLocator())
        axes.set_xlabel("Δ on a blank")
    columns[0].set_ylabel("largest Δ near a token")
    figure.legend(*columns[-1].get_legend_handles_labels(), ncols=7, loc="outside upper center", fontsize=9)
