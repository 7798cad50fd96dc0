"""Every figure of the tutorial, in one style: readable in grey, to the colour-blind, and at the width of a page.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time. Importing this module sets the style.
"""

import matplotlib.pyplot as plt
import torch
from matplotlib.ticker import LogLocator, MaxNLocator, PercentFormatter

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


def runs(logs):
    """Loss and accuracy of several trainings against images seen. ``logs``: ``{name: records of train.fit}``."""
    _, panels = plt.subplots(1, 2, figsize=(8, 3.4))
    for axes, key, label in zip(
        panels, ("loss", "accuracy"), ("training loss (nats)", "training accuracy"), strict=True
    ):
        for (name, records), (colour, marker, dashes) in zip(logs.items(), LINES, strict=False):
            images = [record["images"] for record in records]
            values = [record[key] for record in records]
            axes.plot(images, values, color=colour, marker=marker, markersize=4, linestyle=dashes, label=name)
        axes.set(xlabel="images seen", ylabel=label)
        axes.xaxis.set_major_locator(MaxNLocator(4))  # six digits each: more of them would run into one another
    panels[0].set_ylim(0, None)
    panels[1].yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    panels[1].legend(fontsize=9)


def errors(curves):
    """Shares of wrong answers against images seen, logarithmically. ``curves``: ``{name: (images, accuracies)}``."""
    _, axes = plt.subplots(figsize=(8, 3.2))
    for (name, (images, accuracies)), (colour, marker, dashes) in zip(curves.items(), LINES, strict=False):
        wrong = [1 - accuracy for accuracy in accuracies]
        axes.plot(images, wrong, color=colour, marker=marker, markersize=4, linestyle=dashes, label=name)
    axes.set_yscale("log")
    axes.yaxis.set_minor_locator(LogLocator(subs=(2, 5)))
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda share, _: f"{100 * share:g}%")  # 0.5 %, where PercentFormatter rounds to 0
    axes.set(xlabel="images seen", ylabel="wrong answers")
    axes.legend(fontsize=9)


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


def discretisations(times, exact, steps, versions):
    """A state in continuous time, and what recurrences make of it at the ends of the steps they take.

    ``times, exact``: the true course; ``steps``: times at the ends of the steps; ``versions``: ``{name: state there}``.
    """
    _, axes = plt.subplots(figsize=(8, 3.0))
    axes.plot(times, exact, color="#999999", linewidth=3, label="continuous")
    for (name, states), (colour, marker, _) in zip(versions.items(), LINES, strict=False):
        axes.plot(steps, states, color=colour, marker=marker, markersize=6, linestyle=":", linewidth=1, label=name)
    axes.set(xlabel="time", ylabel="state")
    axes.legend(ncols=4, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)


def impulse_responses(kernels):
    """What an input of 1 at step 0 does to the output afterwards, a panel each. ``kernels``: ``{title: (length,)}``."""
    rows = -(-len(kernels) // 2)
    _, grid = plt.subplots(rows, 2, figsize=(8, 1.7 * rows), sharex=True, squeeze=False)
    for axes, (title, kernel) in zip(grid.flat, kernels.items(), strict=False):
        axes.plot(kernel.tolist(), color=BLUE, linewidth=1)
        axes.axhline(0, color="black", linewidth=0.6)
        axes.set_title(title, fontsize=9)
    for axes in grid[-1]:
        axes.set_xlabel("steps since the input")
    for axes in grid[:, 0]:
        axes.set_ylabel("response")


def token_sequences(tokens, titles, question):
    """Sequences of tokens, a row each: 0 is blank, ``question`` a question mark, all else its number.

    ``tokens``: int64 ``(n, length)``; ``titles``: n strings.
    """
    _, axes = plt.subplots(figsize=(8, 0.3 * len(tokens) + 0.6))
    shades = torch.where(tokens == 0, 0.0, 1.0) * (1 - 0.55 * (tokens == question))
    axes.imshow(shades.numpy(), cmap="Blues", vmin=0, vmax=2, aspect="auto", interpolation="nearest")
    for row, column in (tokens != 0).nonzero().tolist():
        token = tokens[row, column].item()
        axes.text(column, row, "?" if token == question else token, ha="center", va="center", fontsize=8)
    axes.set_yticks(range(len(titles)), titles)
    axes.hlines([row + 0.5 for row in range(len(tokens) - 1)], -0.5, tokens.shape[1] - 0.5, color="#dddddd")
    axes.set(xlabel="position")
    axes.grid(False)


def copying(by_answer, noise, by_noise):
    """Accuracy at each answer, and against the number of positions before the questions; dotted is chance among eight.

    ``by_answer``: ``{name: accuracy of each answer}``; ``noise``: numbers; ``by_noise``: ``{name: accuracy at each}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.2), sharey=True)
    for (name, values), (colour, marker, dashes) in zip(by_answer.items(), LINES, strict=False):
        style = {"color": colour, "marker": marker, "linestyle": dashes, "label": name}
        left.plot(range(1, len(values) + 1), values, **style)
        if name in by_noise:
            right.plot(noise, by_noise[name], **style)
    for axes in (left, right):
        axes.axhline(1 / 8, color="black", linewidth=0.8, linestyle=":")
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    answers = len(next(iter(by_answer.values())))
    left.set(xlabel="answer", ylabel="accuracy", xticks=range(1, answers + 1), ylim=(0, 1.03))
    right.set(xlabel="positions before the questions", xscale="log")
    right.set_xticks(noise, [str(n) for n in noise])
    right.minorticks_off()
    left.legend(loc="lower left", bbox_to_anchor=(0, 0.15), fontsize=9)


def mamba_block(d_model, d_inner, d_state, dt_rank, d_conv):
    """The parts of a Mamba block, from the left to the right, with the width of everything that flows between them."""
    _, axes = plt.subplots(figsize=(8, 3.7))
    axes.set(xlim=(0, 20), ylim=(0, 9), aspect="equal")
    axes.axis("off")

    def box(x, y, text, colour, width=2.0, height=1.5):
        corner = (x - width / 2, y - height / 2)
        axes.add_patch(plt.Rectangle(corner, width, height, facecolor=colour + "40", edgecolor=colour, linewidth=1.2))
        axes.text(x, y, text, ha="center", va="center", fontsize=8)

    def flow(*places):
        """A line through places, with an arrow at its end."""
        axes.plot(*zip(*places[:-1], strict=True), color="black", linewidth=1)
        arrow = {"arrowstyle": "-|>", "color": "black", "linewidth": 1, "shrinkA": 0, "shrinkB": 0}
        axes.annotate("", places[-1], places[-2], arrowprops=arrow)

    def note(x, y, text, align="center"):
        axes.text(x, y, text, ha=align, va="center", fontsize=7.5)

    flow((0.6, 3.2), (1.4, 3.2))
    flow((3.4, 3.2), (3.9, 3.2), (3.9, 4.6), (4.7, 4.6))
    flow((3.4, 3.2), (3.9, 3.2), (3.9, 1.2), (4.7, 1.2))
    flow((6.7, 4.6), (11.2, 4.6))
    flow((7.8, 4.6), (7.8, 6.4))
    flow((8.8, 7.1), (10.6, 7.1))
    flow((11.8, 6.4), (11.8, 5.6))
    flow((7.8, 7.9), (7.8, 8.5), (13.5, 8.5), (13.5, 5.6))
    flow((12.6, 2.6), (12.6, 3.6))
    flow((14.0, 4.6), (15.4, 4.6))
    flow((6.7, 1.2), (15.8, 1.2), (15.8, 4.2))
    flow((16.2, 4.6), (16.9, 4.6))
    flow((18.9, 4.6), (19.6, 4.6))

    box(2.4, 3.2, "linear\nin_proj", BLUE)
    box(5.7, 4.6, f"conv1d\n{d_conv} taps,\nSiLU", ORANGE, height=1.9)
    box(7.8, 7.1, "linear\nx_proj", BLUE)
    box(11.8, 7.1, "linear\ndt_proj,\nsoftplus", BLUE, width=2.4, height=1.6)
    box(12.6, 4.6, "selective scan\nand skip", GREEN, width=2.8, height=2.0)
    box(5.7, 1.2, "SiLU", ORANGE)
    box(17.9, 4.6, "linear\nout_proj", BLUE)
    axes.add_patch(plt.Circle((15.8, 4.6), 0.4, facecolor="white", edgecolor="black"))
    axes.text(15.8, 4.56, "×", ha="center", va="center", fontsize=11)

    note(0.7, 3.8, f"{d_model}")
    note(3.7, 5.1, f"x: {d_inner}")
    note(9.4, 4.2, f"u: {d_inner}")
    note(9.7, 7.5, f"dt: {dt_rank}")
    note(11.6, 6.0, f"Δ: {d_inner}", align="right")
    note(13.7, 7.0, f"B, C:\n{d_state} each", align="left")
    note(12.6, 2.2, "A, D")
    note(14.6, 5.0, f"y: {d_inner}")
    note(3.7, 0.7, f"z: {d_inner}")
    note(19.4, 5.2, f"{d_model}")


def initial_steps(steps, spans):
    """The step sizes of a fresh block, and for how many positions its states then remember.

    ``steps``: ``(d_inner,)``; ``spans``: ``{name: (d_inner,), in positions}``.
    """
    _, (left, right) = plt.subplots(1, 2, figsize=(8, 3.0))
    share = [(i + 0.5) / len(steps) for i in range(len(steps))]
    left.plot(share, steps.sort().values.tolist(), ".", color=BLUE)
    left.set(ylabel="step size Δ", yscale="log")
    for (name, values), (colour, marker, _) in zip(spans.items(), LINES, strict=False):
        right.plot(share, values.sort().values.tolist(), marker, color=colour, markersize=4, label=name)
    right.axhline(784, color="black", linewidth=0.8, linestyle=":")
    right.set(ylabel="positions until 1/e is left", yscale="log")
    right.legend(fontsize=9)
    for axes in (left, right):
        axes.set(xlabel="channels, in order")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))


def ablations(accuracies, levels):
    """Accuracy with parts taken out: a row each, a mark a seed. ``{name: accuracies}`` and ``{name: level}``."""
    _, axes = plt.subplots(figsize=(8, 0.36 * len(accuracies) + 1.1))
    for row, values in enumerate(accuracies.values()):
        mean = sum(values) / len(values)
        axes.barh(row, mean, 0.6, color=BLUE, alpha=0.35)
        axes.plot(values, [row] * len(values), "o", color=BLUE, markersize=4)
    for (name, level), (_, _, dashes) in zip(levels.items(), LINES[1:], strict=False):
        axes.axvline(level, color="black", linewidth=1, linestyle=dashes, label=f"{name}: {level:.1%}")
    axes.set_yticks(range(len(accuracies)), accuracies)
    axes.invert_yaxis()
    axes.grid(axis="y", visible=False)
    axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    axes.set(xlabel="right answers", xlim=(0, 1))
    axes.legend(ncols=2, loc="lower center", bbox_to_anchor=(0.5, 1), fontsize=9)


def signals(rows):
    """Signals, a row a name, those of one name upon each other. ``rows``: ``{name: (n, length)}``, n at most 6."""
    _, axes = plt.subplots(figsize=(8, 0.45 * len(rows) + 0.6))
    spread = max(abs(values).max().item() for values in rows.values())
    for row, values in enumerate(rows.values()):
        axes.axhline(row, color="#dddddd", linewidth=0.8)
        for line, (colour, _, dashes) in zip(values, LINES, strict=False):
            axes.plot((row - 0.7 * line / spread).tolist(), color=colour, linestyle=dashes, linewidth=1.3)
    axes.set_yticks(range(len(rows)), rows)
    axes.invert_yaxis()
    axes.grid(False)
    axes.set(xlabel="position in the sequence", ylabel="class")
