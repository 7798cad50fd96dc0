"""Pages 6 and A2: the mistakes that are left."""

import matplotlib.pyplot as plt
import torch

from helpers.plots.style import styled


@styled
def confusion(labels, predictions):
    """How often each class (row) was taken for each (column), in percent of the row. Both int64 ``(n,)``.

    There are as many classes as the largest number says; the row of one that never occurs stays empty.
    """
    classes = 1 + int(torch.maximum(labels, predictions).max())
    counts = torch.bincount(classes * labels + predictions, minlength=classes**2).view(classes, classes)
    shares = 100 * counts / counts.sum(1, keepdim=True)
    side = 0.4 * max(classes, 4)  # each cell has room for its number
    _, axes = plt.subplots(figsize=(side + 1, side + 0.6))
    # The root lets a percent be seen beside a hundred.
    axes.imshow(shares.sqrt().numpy(), cmap="Blues", vmin=0, vmax=10)
    for row, column in (shares >= 0.05).nonzero().tolist():
        share = shares[row, column].item()
        color = "white" if share > 40 else "black"
        axes.text(column, row, f"{share:.1f}", ha="center", va="center", fontsize=7, color=color)
    axes.grid(False)
    axes.set(
        xlabel="answer", ylabel="class", xticks=range(classes), yticks=range(classes), title="percent of each class"
    )
