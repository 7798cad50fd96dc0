"""Every figure of the tutorial, in one style: readable in grey, to the colour-blind, and at the width of a page.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time. Importing this module sets the style.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import LogLocator, PercentFormatter

# Okabe and Ito's colours, in an order whose neighbours differ in brightness too.
BLUE, ORANGE, GREEN, PINK, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
LINES = [  # colour, marker, dashes
    (BLUE, "o", "-"),
    (ORANGE, "s", "--"),
    (GREEN, "^", "-."),
    (PINK, "D", ":"),
    (RED, "v", (0, (6, 1, 1, 1, 1, 1))),
    (SKY, "P", (0, (1, 3))),
]

STYLE = {
    "figure.dpi": 100,
    "figure.constrained_layout.use": True,
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#dddddd",
    "axes.axisbelow": True,
    "legend.frameon": False,
}
plt.rcParams.update(STYLE)


def _picture(axes, image):
    axes.imshow(image.numpy(), cmap="gray_r", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)


def digits(images, titles, columns=10):
    """A sheet of digits. ``images``: ``(n, 28, 28)``; ``titles``: n strings."""
    rows = -(-len(images) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(8, 1.0 * rows), squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_visible(False)
    for axes, image, title in zip(grid.flat, images, titles, strict=False):
        _picture(axes, image)
        axes.set_title(title, fontsize=9)


def signal(image):
    """A digit, and beside it the same 784 pixels in a line. ``image``: ``(28, 28)``, values 0 to 255."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[1, 3])
    _picture(left, image)
    for row in range(0, 785, 28):
        right.axvline(row, color="#dddddd", linewidth=0.6)
    right.plot(image.reshape(-1).numpy(), color=BLUE, linewidth=1)
    right.grid(False)
    right.set(xlabel="position in the sequence (a line a row)", ylabel="ink (0 to 255)", xlim=(0, 784))


def neighbours(image, positions):
    """Where pixels of a picture land in the sequence. ``positions``: ``{name: (row, column)}``."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[1, 3])
    _picture(left, image)
    right.plot(image.reshape(-1).numpy(), color="#bbbbbb", linewidth=1)
    first = min(row * 28 + column for row, column in positions.values())
    right.set(xlabel="position in the sequence", ylabel="ink (0 to 255)", xlim=(first - 12, first + 44))
    for (name, (row, column)), (colour, marker, _) in zip(positions.items(), LINES, strict=False):
        place = row * 28 + column
        left.plot(column, row, marker, color=colour, markeredgecolor="white", markersize=8)
        right.plot(place, image[row, column].item(), marker, color=colour, markersize=8, label=f"{name}: {place}")
    right.legend(loc="upper right", fontsize=9)


def class_balance(labels):
    """How often each digit occurs. ``labels``: ``{name of the set: int64 (n,)}``."""
    _, axes = plt.subplots(figsize=(8, 2.4))
    width = 0.8 / len(labels)
    for i, ((name, values), (colour, _, _)) in enumerate(zip(labels.items(), LINES, strict=False)):
        share = (torch.bincount(values, minlength=10) / len(values)).tolist()
        places = [digit + (i - (len(labels) - 1) / 2) * width for digit in range(10)]
        axes.bar(places, share, width, color=colour, label=f"{name} ({len(values):,})")
    axes.axhline(0.1, color="black", linewidth=0.8, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="digit", ylabel="share of the set", xticks=range(10), yticks=[0, 0.05, 0.1, 0.15])
    axes.legend(ncols=3, fontsize=9)


def against_length(lengths, values, ylabel, title):
    """What something costs against length, both logarithmic. ``values``: ``{name: value at each length}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, line), (colour, marker, dashes) in zip(values.items(), LINES, strict=False):
        axes.plot(lengths[: len(line)], line, color=colour, marker=marker, linestyle=dashes, label=name)
    axes.set(xscale="log", yscale="log", xlabel="length", ylabel=ylabel, title=title)
    axes.set_xticks(lengths, [str(length) for length in lengths])
    axes.minorticks_off()
    axes.legend(fontsize=9)


def costs(times, memory):
    """Time a position and peak memory against length. ``{name: {length: seconds}}`` and ``{name: {length: bytes}}``."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    for (name, by_length), (colour, marker, dashes) in zip(times.items(), LINES, strict=False):
        style = {"color": colour, "marker": marker, "linestyle": dashes, "markersize": 5}
        left.plot(by_length.keys(), [1e6 * value for value in by_length.values()], label=name, **style)
        held = memory.get(name, {})
        right.plot(held.keys(), [value / 1e6 for value in held.values()], **style)
    lengths = sorted({length for by_length in times.values() for length in by_length})
    for axes, label in ((left, "microseconds a position"), (right, "peak memory (MB)")):
        axes.set(xscale="log", yscale="log", xlabel="length", ylabel=label)
        axes.set_xticks(lengths, [f"{length:,}" for length in lengths])
        axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axes.yaxis.set_major_formatter("{x:,g}")
        axes.minorticks_off()
    left.figure.legend(loc="outside upper center", ncols=3, fontsize=9)


def training(records, levels):
    """Loss and accuracy against images seen. ``records``: of ``train.fit``; ``levels``: ``{name: accuracy}``."""
    images = [record["images"] for record in records]
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.6))
    left.plot(images, [record["loss"] for record in records], color=BLUE)
    left.set(xlabel="images seen", ylabel="training loss (nats)", ylim=(0, None))
    right.plot(images, [record["accuracy"] for record in records], color=BLUE, label="while training")
    for (name, level), (colour, _, dashes) in zip(levels.items(), LINES[1:], strict=False):
        right.axhline(level, color=colour, linestyle=dashes, label=f"{name}: {level:.1%}")
    right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    right.set(xlabel="images seen", ylabel="accuracy", ylim=(0, 1))
    right.legend(loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)


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
