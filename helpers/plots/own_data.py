"""Page A2: signals of several classes."""

import matplotlib.pyplot as plt

from helpers.plots.style import in_style, styled


@styled
def signals(rows):
    """One row per class, its signals overlaid. ``rows``: ``{name: (n, length)}``."""
    _, axes = plt.subplots(figsize=(8, 0.45 * len(rows) + 0.6))
    spread = max(abs(values).max().item() for values in rows.values())
    for row, values in enumerate(rows.values()):
        axes.axhline(row, color="#dddddd", linewidth=0.8)
        for line, (color, _, dashes) in in_style(values):
            axes.plot((row - 0.7 * line / spread).tolist(), color=color, linestyle=dashes, linewidth=1.3)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(False)
    axes.set(xlabel="position in the sequence", ylabel="class")
