"""Pages 1 and 6: digits as pictures and as signals, and one being read."""

import matplotlib.pyplot as plt

from helpers.plots.style import BLUE, RED, show_image, styled


@styled
def digits(images, titles, columns=10):
    """A sheet of digits. ``images``: ``(n, 28, 28)``; ``titles``: n strings."""
    rows = -(-len(images) // columns)
    _, grid = plt.subplots(rows, columns, figsize=(8, 1.0 * rows), squeeze=False)
    for axes in grid.flat[len(images) :]:
        axes.set_visible(False)
    for axes, (image, title) in zip(grid.flat, zip(images, titles, strict=True), strict=False):
        show_image(axes, image)
        axes.set_title(title, fontsize=9)


def _picture_and_signal(left, right, image):
    """A picture, and its 784 pixels in a line, with a thin line where each row begins."""
    show_image(left, image)
    for row in range(0, 785, 28):
        right.axvline(row, color="#dddddd", linewidth=0.6)
    right.plot(image.reshape(-1).numpy(), color=BLUE, linewidth=1)
    right.grid(False)
    right.set(ylabel="ink (0 to 255)", xlim=(0, 784))


@styled
def signal(image):
    """A digit, and next to it the same 784 pixels in a line. ``image``: ``(28, 28)``, values 0 to 255."""
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 2.4), width_ratios=[1, 3])
    _picture_and_signal(left, right, image)
    right.set(xlabel="position in the sequence (one line per row)")


@styled
def strokes(named):
    """Pictures one below the other, each with its signal: ``{name: (28, 28)}``, values 0 to 255."""
    _, grid = plt.subplots(len(named), 2, figsize=(8, 1.7 * len(named)), width_ratios=[1, 4], squeeze=False)
    for (left, right), (name, image) in zip(grid, named.items(), strict=True):
        _picture_and_signal(left, right, image)
        left.set_title(name, fontsize=9)
        right.set(ylabel="ink", xticks=range(0, 785, 112))
    right.set(xlabel="position in the sequence (one line per row)")


@styled
def correlation(values, marked):
    """Correlation against lag. ``values``: those of the lags 1, 2, 3, ...; ``marked``: lags to point out."""
    _, axes = plt.subplots(figsize=(8, 2.8))
    axes.axhline(0, color="black", linewidth=0.8)
    axes.plot(range(1, len(values) + 1), values, color=BLUE, linewidth=1.5)
    for lag in marked:
        axes.plot(lag, values[lag - 1], "o", color=RED, markersize=6)
        axes.annotate(f"{lag} steps", (lag, values[lag - 1]), (0, 7), textcoords="offset points", ha="center")
    axes.set(xlabel="lag (steps)", ylabel="correlation", xlim=(0, len(values) + 1), ylim=(min(0, *values) - 0.05, 1))
    axes.set_xticks(range(0, len(values) + 1, 14))


@styled
def reading(image, answers, rows):
    """A film strip of a digit being read, and the answer so far below each frame.

    Args:
        image: ``(28, 28)``, values 0 to 255.
        answers: probabilities of the classes, ``(len(rows), classes)``.
        rows: how many rows have been read, a number per frame.
    """
    _, (above, below) = plt.subplots(
        2, len(rows), figsize=(8, 3.5), height_ratios=[1, 1.7], sharey="row", squeeze=False
    )
    for frame, bars, answer, row in zip(above, below, answers, rows, strict=True):
        show_image(frame, image)
        frame.axhspan(row - 0.5, 27.5, color="#e3e9ee", linewidth=0)
        frame.set_title(f"{row} rows read" if frame is above[0] else f"{row}", fontsize=9)
        best = answer.argmax().item()
        colors = [RED if number == best else "#9aa7b1" for number in range(len(answer))]
        bars.barh(range(len(answer)), answer.tolist(), color=colors)
        x, inside = answer[best].item(), answer[best] > 0.55
        bars.text(
            x - 0.05 if inside else x + 0.05, best, f"{x:.0%}", fontsize=8, va="center_baseline",
            ha="right" if inside else "left", color="white" if inside else "black",
        )  # fmt: skip
        bars.set(xlim=(0, 1), xticks=[0, 1], xticklabels=["0", "1"], yticks=range(len(answer)))
        bars.set_ylim(len(answer) - 0.5, -0.5)
        bars.grid(False)
    below[0].set_ylabel("answer")
    below[len(rows) // 2].set_xlabel("probability")
