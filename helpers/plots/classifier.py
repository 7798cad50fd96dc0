"""Pages 6 and A2: the mistakes that are left."""

import matplotlib.pyplot as plt
import torch

from helpers.plots.style import styled


@styled
def confusion(labels, predictions):
    """How often each digit (row) was taken for each (column), in percent of the row. Both int64 ``(n,)``."""
    counts = torch.zeros(10, 10)
    counts.index_put_((labels, predictions), torch.ones(len(labels)), accumulate=True)
    shares = 100 * counts / counts.sum(1, keepdim=True)
    _, axes = plt.subplots(figsize=(5, 4.6))
    # The root lets a percent be seen beside a hundred.
    axes.imshow(shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    for row in range(10):
        for column in range(10):
            if shares[row, column] >= 0.05:
                light = shares[row, column] > 40
                text = f"{shares[row, column]:.1f}"
                axes.text(column, row, text, ha="center", va="center", fontsize=7, color="white" if light else "black")
    axes.grid(False)
    axes.set(xlabel="answer", ylabel="digit", xticks=range(10), yticks=range(10), title="percent of each digit")
