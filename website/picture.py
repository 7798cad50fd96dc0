"""The picture that links to the pages are shown with: what the published classifier does as it reads."""

from pathlib import Path

import torch
from matplotlib.figure import Figure

from helpers import mnist, models

ORANGE, GRAY = "#d55e00", "#b0b0b0"


@torch.inference_mode()
def read(model, pixels):
    """Sequences ``(batch, 784, 1)``: the answer so far, ``(batch, 784, 10)``, and the mean step size, ``(batch, 784)``.

    The step size is that at each pixel of the picture, the mean over layers and channels.
    """
    steps = []
    hooks = [
        block.register_forward_hook(lambda block, inputs, _: steps.append(block.step_sizes(*inputs).mean(-1)))
        for block in model.blocks
    ]
    answers = model(pixels, prefix_lengths=range(1, pixels.shape[1] + 1)).softmax(-1)
    for hook in hooks:
        hook.remove()
    steps = torch.stack(steps).mean(0)
    return answers, steps if model.order is None else steps[:, model.order.argsort()]


def draw(count=4) -> Figure:
    """The first test digits: above the step size at each pixel, below the ten probabilities against the rows read."""
    pixels, _ = mnist.sequences(mnist.load(train=False))
    answers, steps = read(models.load_checkpoint("smnist"), pixels[:count])
    figure = Figure(figsize=(12, 6.3), layout="constrained", facecolor="white")
    axes = figure.subplots(2, count, height_ratios=[1.35, 1])
    rows = torch.arange(1, 785) / 28
    for i, (above, below) in enumerate(axes.T):
        # The first pixels are left out of the scale: there the convolution has no past yet.
        above.imshow(steps[i].reshape(28, 28), cmap="magma_r", vmin=steps[i, 28:].min(), vmax=steps[i, 28:].max())
        above.set(xticks=[], yticks=[])
        above.spines[:].set_color(GRAY)
        answer = answers[i, -1].argmax().item()
        for digit in range(10):
            shown = {"color": ORANGE, "linewidth": 2.5, "zorder": 3} if digit == answer else {"color": GRAY}
            below.plot(rows, answers[i, :, digit], **shown)
        for digit in set(range(10)) - {answer}:
            likely, step = answers[i, 56:, digit].max(0)
            if likely > 0.3:
                place = rows[step + 56], likely
                below.annotate(str(digit), place, color="#666666", fontsize=13, ha="center", va="bottom")
        below.annotate(str(answer), (28, answers[i, -1, answer]), xytext=(4, -4), textcoords="offset points",
                       color=ORANGE, fontsize=15, weight="bold", va="center")  # fmt: skip
        below.set(xlim=(0, 28), ylim=(0, 1.08), xticks=[0, 7, 14, 21, 28], yticks=[0, 0.5, 1], xlabel="rows read")
        below.set_yticklabels(["0 %", "50 %", "100 %"] if i == 0 else [])
        below.spines[["top", "right"]].set_visible(False)
    axes[0, 0].set_ylabel("step size", fontsize=12)
    axes[1, 0].set_ylabel("the answer so far", fontsize=12)
    return figure


def write(folder: Path) -> None:
    """``preview.png``, in the shape that previews of links have: 1.91 to 1."""
    draw().savefig(folder / "preview.png", dpi=100, pil_kwargs={"optimize": True})
