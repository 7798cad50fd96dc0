"""Pages 6 and A2: how trainings went."""

import itertools

import matplotlib.pyplot as plt
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

from helpers.plots.style import in_style, styled


@styled
def training_curves(logs, levels=None, examples="images"):
    """Loss and accuracy while training, against examples seen, which are called ``examples``.

    ``logs``: ``{name: records of train.fit}``; ``levels``: ``{name: accuracy}``, drawn as horizontal lines.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for (name, records), (color, marker, dashes) in in_style(logs.items()):
        images = [record["images"] for record in records]
        style = {"color": color, "marker": marker, "markersize": 3, "linestyle": dashes}
        left.plot(images, [record["loss"] for record in records], **style)
        right.plot(images, [record["accuracy"] for record in records], label=name, **style)
    for (name, level), dashes in zip((levels or {}).items(), itertools.cycle((":", "--", "-.")), strict=False):
        right.axhline(level, color="black", linewidth=1, linestyle=dashes, label=f"{name}: {level:.1%}")
    left.set(xlabel=f"{examples} seen", ylabel="training loss (nats)", ylim=(0, None))
    right.set(xlabel=f"{examples} seen", ylabel="training accuracy", ylim=(0, 1))
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (left, right):
        axes.xaxis.set_major_locator(MaxNLocator(4))  # six digits each: more of them would run into one another
    left.figure.legend(loc="outside upper center", ncols=2, fontsize=9)


@styled
def error_curves(curves):
    """Shares of wrong answers against images seen, logarithmically. ``curves``: ``{name: (images, accuracies)}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, (images, accuracies)), (color, marker, dashes) in in_style(curves.items()):
        wrong = [1 - accuracy for accuracy in accuracies]
        axes.plot(images, wrong, color=color, marker=marker, markersize=4, linestyle=dashes, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda share, _: f"{100 * share:g}%")  # 0.5 %, where PercentFormatter rounds to 0
    axes.set(xlabel="images seen", ylabel="wrong answers")
    axes.legend(fontsize=9)
