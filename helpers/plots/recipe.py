"""Page 2: where positions meet in a classifier, and what an untrained block hands on."""

import matplotlib.pyplot as plt

from helpers.plots.style import BLUE, GREEN, ORANGE, arrow, box, in_style, show_image, styled


@styled
def where_positions_meet():
    """The recipe, whose head has a weight per position, and a classifier whose positions meet in the state alone."""
    _, columns = plt.subplots(1, 2, figsize=(8, 3.7))
    titles = ("flat head: positions meet in the head", "pooled head: positions meet in the state")
    names = ("$x_1$", "$x_2$", "$x_3$", "...", "$x_{784}$")
    for flat, axes, title in zip((True, False), columns, titles, strict=True):
        axes.set(xlim=(-0.1, 5.1), ylim=(-0.2, 5))
        axes.set_title(title, fontsize=10)
        axes.axis("off")
        head = "Linear(784, 10)" if flat else "Linear(d, 10)"
        if flat:
            box(axes, 0, 3.1, 5, 0.6, head, ORANGE)
        else:
            box(axes, 1.25, 3.9, 2.5, 0.6, head, BLUE)
            box(axes, 1.25, 2.95, 2.5, 0.6, "mean over positions", BLUE)
            arrow(axes, (2.5, 3.55), (2.5, 3.9))
        arrow(axes, (2.5, 3.7 if flat else 4.5), (2.5, 4.3 if flat else 4.8))
        for number, name in enumerate(names):
            middle = number + 0.5
            axes.text(middle, 0, name, ha="center", va="center", fontsize=10)
            if name == "...":
                axes.text(middle, 1.55, "...", ha="center", va="center")
                continue
            box(axes, middle - 0.32, 1.25, 0.64, 0.6, "block", GREEN)
            arrow(axes, (middle, 0.25), (middle, 1.25))
            arrow(axes, (middle, 1.85), (middle, 3.1) if flat else (2.5 + (middle - 2.5) * 0.45, 2.95))
            if flat:
                axes.text(middle + 0.08, 2.45, name.replace("x", "w"), fontsize=9)
        for start in (0.82, 1.82, 2.82, 3.7):
            if flat:
                arrow(axes, (start, 1.55), (start + 0.36 if start < 3 else 4.18, 1.55), color="#9aa7b1")
            else:
                arrow(axes, (start, 1.55), (start + 0.36 if start < 3 else 4.18, 1.55), color=GREEN, linewidth=2)
        axes.text(2.5, 0.72, "state, optional" if flat else "state: the only way across", ha="center", fontsize=9,
                  color="#5b6670" if flat else GREEN, backgroundcolor="white")  # fmt: skip


@styled
def untrained_outputs(image, outputs):
    """A digit and what untrained blocks make of it, each on a scale of its own.

    ``image``: ``(28, 28)``, values 0 to 255; ``outputs``: ``{title: (28, 28)}``.
    """
    figure, axes = plt.subplots(1, 1 + len(outputs), figsize=(8, 2.3))
    show_image(axes[0], image)
    axes[0].set_title("the pixels", fontsize=9)
    for one, (title, output) in zip(axes[1:], outputs.items(), strict=True):
        shown = one.imshow(output.numpy(), cmap="gray", interpolation="nearest")
        one.set(xticks=[], yticks=[])
        one.set_title(title, fontsize=9)
        one.grid(False)
        one.spines[:].set_visible(True)
        bar = figure.colorbar(shown, ax=one, orientation="horizontal", shrink=0.9, pad=0.03)
        bar.ax.tick_params(labelsize=7)
        bar.locator.set_params(nbins=3)
        bar.update_ticks()


@styled
def spectra(named):
    """Singular values, the largest first, on a logarithmic axis: ``{name: (n,)}``."""
    _, axes = plt.subplots(figsize=(7, 3.2))
    for (name, values), (color, _, dashes) in in_style(named.items()):
        axes.plot(range(1, len(values) + 1), values.tolist(), color=color, linestyle=dashes, label=name)
    axes.set(yscale="log", xlabel="direction, from the largest to the smallest", ylabel="singular value")
    axes.figure.legend(loc="outside upper center", ncols=2, fontsize=9)
