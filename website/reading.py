"""The README's moving picture: the published classifier reads one test digit, and changes its mind on the way.

``python website/reading.py`` writes ``website/_static/reading.gif``: the same file each time, with the same versions.
"""

import itertools
from pathlib import Path

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from helpers import mnist, models
from helpers.plots.style import BLUE, RED

PATH = Path(__file__).parent / "_static" / "reading.gif"
CANDIDATES = 100  # the first test digits
STEP = 14  # pixels between two frames: half a row
FIRST_INK = 7  # rows that are blank in most digits; what the answer does there does not count
NAMED = 3  # steps that a digit leads before the history names it
FRAME_MS, LAST_MS = 130, 2_500
PAPER, UNREAD, INK, PALE, GRAY = "#fcfcfa", "#e9edf1", "#1c2733", "#c3cad1", "#5b6670"
COLORS = 64  # of the GIF: enough for its grays, and small


@torch.inference_mode()
def changing_digit():
    """Choose, among the candidates answered right in the end, the one whose leading answer changes most often.

    Changes count after the first rows. Of several such digits, take the one that settles last.

    Returns:
        Its index in the test set, its image ``(28, 28)``, uint8, and the answers so far ``(784 // STEP, 10)``.
    """
    test = mnist.load(train=False)
    pixels, labels = mnist.sequences(test)
    read = list(range(STEP, 784 + 1, STEP))
    answers = models.load_checkpoint("smnist")(pixels[:CANDIDATES], prefix_lengths=read).softmax(-1)
    leader = answers.argmax(-1)  # (digit, step)
    changed = leader[:, 1:] != leader[:, :-1]
    changed[:, : FIRST_INK * 28 // STEP - 1] = False
    settled = (changed * torch.arange(changed.shape[1])).amax(1)
    right = leader[:, -1] == labels[:CANDIDATES]
    chosen = max(right.nonzero().flatten().tolist(), key=lambda i: (changed[i].sum().item(), settled[i].item()))
    return chosen, test.data[chosen].numpy(), answers[chosen].numpy()


class Picture:
    """The figure, drawn once; each frame moves what moves."""

    def __init__(self, image, answers):
        self.image, self.answers, self.leader = image / 255.0, answers, answers.argmax(1)
        figure = Figure(figsize=(7, 3.5), dpi=200, facecolor=PAPER)
        self.canvas = FigureCanvasAgg(figure)
        figure.text(0.045, 0.915, "What it has read", color=INK, fontsize=11, weight="bold")
        figure.text(0.515, 0.915, "What it would answer now", color=INK, fontsize=11, weight="bold")
        self.count = figure.text(0.5 * (0.045 + 0.445), 0.035, "", color=GRAY, fontsize=10, ha="center")
        figure.text(0.5 * (0.555 + 0.91), 0.035, "the leading answer so far", color=GRAY, fontsize=10, ha="center")
        self._draw_digit(figure.add_axes((0.045, 0.11, 0.39, 0.78)))
        self._draw_bars(figure.add_axes((0.555, 0.245, 0.355, 0.645)))
        self._draw_history(figure.add_axes((0.555, 0.11, 0.355, 0.085)))

    def _draw_digit(self, axes):
        self.digit = axes.imshow(np.zeros((28, 28, 3)), interpolation="nearest")
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color(PALE)
        self.cursor = axes.add_patch(Rectangle((0, 0), 1, 1, facecolor=RED, edgecolor=PAPER, linewidth=0.8, zorder=3))

    def _draw_bars(self, axes):
        axes.barh(range(10), 1, height=0.72, color=UNREAD)
        self.bars = axes.barh(range(10), np.zeros(10), height=0.72)
        axes.set(xlim=(0, 1), ylim=(9.5, -0.5), xticks=[], yticks=range(10))
        axes.tick_params(length=0, labelsize=10, pad=6)
        axes.spines[:].set_visible(False)
        axes.set_facecolor(PAPER)
        self.labels = axes.get_yticklabels()
        self.percent = axes.text(1.02, 0, "", fontsize=10, weight="bold", color=BLUE, va="center_baseline")

    def _draw_history(self, axes):
        """A cell for each step: in color where the last answer was leading already. Longer leads carry their digit."""
        begins = [0, *(np.flatnonzero(np.diff(self.leader)) + 1), len(self.leader)]
        self.cells, self.names = [], []
        for begin, end in itertools.pairwise(begins):
            digit = self.leader[begin]
            leads = digit == self.leader[-1]
            for step in range(begin, end):
                left = begin + 0.15 if step == begin else step  # a gap where the lead changes
                self.cells.append(Rectangle((left, 0), step + 1 - left, 1, color=BLUE if leads else PALE, linewidth=0))
                axes.add_patch(self.cells[-1])
            if end - begin >= NAMED:
                name = axes.text(begin + 0.6, 0.46, digit, fontsize=9, weight="bold", va="center_baseline")
                name.set_color(PAPER if leads else INK)
                self.names.append((begin + NAMED, name))
        axes.set(xlim=(0, len(self.leader)), ylim=(0, 1), xticks=[], yticks=[])
        axes.spines[:].set_visible(False)
        axes.set_facecolor(UNREAD)

    def frame(self, step):
        """After ``(step + 1) * STEP`` pixels: an RGB image."""
        read = (step + 1) * STEP
        known = (np.arange(784) < read).reshape(28, 28, 1)
        ink = self.image[..., None]
        rgb = {name: np.array(mpl.colors.to_rgb(name)) for name in (PAPER, INK, UNREAD, PALE)}
        drawn = (1 - ink) * rgb[PAPER] + ink * rgb[INK]
        ahead = (1 - ink) * rgb[UNREAD] + ink * (0.6 * rgb[UNREAD] + 0.4 * rgb[PALE])
        self.digit.set_data(np.where(known, drawn, ahead))
        row, column = divmod(read - 1, 28)
        self.cursor.set_xy((column - 0.5, row - 0.5))
        self.count.set_text(f"pixel {read} of 784")
        leader = self.leader[step]
        for digit, (bar, label) in enumerate(zip(self.bars, self.labels, strict=True)):
            leads = digit == leader
            bar.set(width=self.answers[step, digit], color=BLUE if leads else PALE)
            label.set(color=BLUE if leads else GRAY, weight="bold" if leads else "normal")
        self.percent.set(y=leader, text=f"{self.answers[step, leader]:.0%}".replace("%", " %"))
        for at, cell in enumerate(self.cells):
            cell.set_visible(at <= step)
        for at, name in self.names:
            name.set_visible(at <= step + 1)
        self.canvas.draw()
        return Image.fromarray(np.asarray(self.canvas.buffer_rgba())[..., :3])


def main():
    chosen, image, answers = changing_digit()
    picture = Picture(image, answers)
    frames = [picture.frame(step) for step in range(len(answers))]
    # Without a patch of its own color the small cursor would get no place in the palette.
    patch = np.full((100, frames[0].width, 3), 255 * np.array(mpl.colors.to_rgb(RED)), dtype=np.uint8)
    palette = Image.fromarray(np.concatenate([patch, *frames[::8]])).quantize(COLORS)
    frames = [frame.quantize(palette=palette, dither=Image.Dither.NONE) for frame in frames]
    times = [FRAME_MS] * (len(frames) - 1) + [LAST_MS]
    frames[0].save(PATH, save_all=True, append_images=frames[1:], duration=times, loop=0, disposal=1)
    print(f"{PATH}: test digit {chosen}, {len(frames)} frames, {PATH.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
