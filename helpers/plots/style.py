"""The one style of all figures: readable in gray, to the color-blind, and at the width of a page."""

import functools

import matplotlib.pyplot as plt

# Okabe and Ito's colors, in an order whose neighbors also differ in brightness.
BLUE, ORANGE, GREEN, PINK, RED, SKY = "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9"
LINES = [  # color, marker, dashes
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


def in_style(items):
    """Pair each item with ``(color, marker, dashes)``: those of ``LINES``, and then each color with the next marker."""
    for i, item in enumerate(items):
        n = len(LINES)
        color, (_, marker, dashes) = LINES[i % n][0], LINES[(i + i // n) % n]
        yield item, (color, marker, dashes)


def styled(draw):
    """Draw a figure in this style, and leave matplotlib's own settings as they were."""

    @functools.wraps(draw)
    def function(*arguments, **options):
        before = {name: plt.rcParams[name] for name in STYLE}
        plt.rcParams.update(STYLE)
        try:
            return draw(*arguments, **options)
        finally:  # these alone: the first figure loads a notebook's backend, whose own settings must stay
            plt.rcParams.update(before)

    return function


def show_image(axes, image):
    """Draw one digit, ``(28, 28)``, ink dark."""
    axes.imshow(image.numpy(), cmap="gray_r", interpolation="nearest")
    axes.set(xticks=[], yticks=[])
    axes.grid(False)
    axes.spines[:].set_visible(True)


def box(axes, x, y, width, height, text, color, size=9, **look):
    """A box of a diagram from its lower left corner on, with its text in the middle."""
    axes.add_patch(plt.Rectangle((x, y), width, height, **{"facecolor": color + "40", "edgecolor": color} | look))
    axes.text(x + width / 2, y + height / 2, text, ha="center", va="center", fontsize=size)


def arrow(axes, *places, color="black", **look):
    """A line of a diagram through places, with an arrow at its end."""
    axes.plot(*zip(*places[:-1], strict=True), color=color, linewidth=1)
    look = {"arrowstyle": "-|>", "color": color, "linewidth": 1, "shrinkA": 0, "shrinkB": 0} | look
    axes.annotate("", places[-1], places[-2], arrowprops=look)
