"""Page 2: several trainings side by side."""

import matplotlib.pyplot as plt
from matplotlib.ticker import MaxNLocator, PercentFormatter

from helpers.plots.style import LINES, styled


@styled
def compared_curves(logs):
    """Loss and accuracy of several trainings against images seen. ``logs``: ``{name: records of train.fit}``."""
    _, panels = plt.subplots(1, 2, figsize=(8, 3.4))
    for axes, key, label in zip(
        panels, ("loss", "accuracy"), ("training loss (nats)", "training accuracy"), strict=True
    ):
        for (name, records), (color, marker, dashes) in zip(logs.items(), LINES, strict=False):
            images = [record["images"] for record in records]
            values = [record[key] for record in records]
            axes.plot(images, values, color=color, marker=marker, markersize=4, linestyle=dashes, label=name)
        axes.set(xlabel="images seen", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(4))  # six digits each: more of them would run into one another
    panels[0].set_ylim(0, None)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[1].legend(fontsize=9)
