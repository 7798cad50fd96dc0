"""Page 4 and the benchmark: what something costs against length."""

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator

from helpers.plots.style import in_style, styled


@styled
def against_length(lengths, values, ylabel, title):
    """What something costs against length, both logarithmic. ``values``: ``{name: value at each length}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, line), (color, marker, dashes) in in_style(values.items()):
        axes.plot(lengths[: len(line)], line, color=color, marker=marker, linestyle=dashes, label=name)
    axes.set(xscale="log", yscale="log", xlabel="length", ylabel=ylabel, title=title)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.legend(fontsize=9)


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
