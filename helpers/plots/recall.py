"""Page 5: one look-up, from the first key to the answer, frame by frame; and which position the answer comes from."""

import matplotlib.pyplot as plt

from helpers.plots.block import MEET
from helpers.plots.style import BLUE, styled


@styled
def recall_strip(tokens, state, tables, keys, wanted, written):
    """A sequence as it is read: a column per position.

    Args:
        tokens: what is read at each position.
        state: ``(length, channels, d_state)``, after each position; each channel is drawn on a scale of its own.
        tables: ``{name: (length, keys, values)}``, the probability of each value if that key were asked for next; NaN
            where the key has no value yet.
        keys: names of the keys, the rows of the tables.
        wanted: ``(key, value)``, what is asked for in the end and the right answer, as row and column.
        written: the position that writes this pair into the state.
    """
    height, count = state.shape[1] / state.shape[2], len(tables)
    ratios = [height, *[len(keys) / tables[name].shape[2] for name in tables]]
    figure, rows = plt.subplots(
        1 + count, len(tokens), figsize=(8, sum(ratios) + 1.2), height_ratios=ratios, squeeze=False
    )
    figure.get_layout_engine().set(w_pad=0.02, h_pad=0.03, wspace=0.02)
    state = state / state.abs().amax((0, 2), keepdim=True)  # each channel by its largest number
    for number, (axes, token) in enumerate(zip(rows[0], tokens, strict=True)):
        axes.imshow(state[number].numpy(), cmap="RdBu", vmin=-1, vmax=1, aspect="auto", interpolation="nearest")
        axes.set_title(token, fontsize=12)
    rows[0, written].spines[:].set(color=MEET, linewidth=3)
    for line, table in zip(rows[1:], tables.values(), strict=True):
        for axes, frame in zip(line, table, strict=True):
            axes.set_facecolor("#eeeeee")
            axes.imshow(frame.numpy(), cmap="Blues", vmin=0, vmax=1, aspect="auto", interpolation="nearest")
        key, value = wanted
        corner = (value - 0.5, key - 0.5)
        line[-1].add_patch(plt.Rectangle(corner, 1, 1, facecolor="none", edgecolor=MEET, linewidth=2, clip_on=False))
        line[0].set_yticks(range(len(keys)), keys, fontsize=8)
    for axes in rows.flat:
        axes.grid(False)
        axes.spines[:].set_visible(True)
        axes.set_xticks([])
        if axes not in rows[1:, 0]:
            axes.set_yticks([])
    for line in rows[1:]:
        for axes in line:
            axes.set_xticks(range(table.shape[2]), ["0", *[""] * (table.shape[2] - 2), str(table.shape[2] - 1)])
            axes.tick_params(labelsize=7, length=2, pad=1)
    rows[0, 0].set_ylabel("state:\nchannels", fontsize=8)
    for line, name in zip(rows[1:], tables, strict=True):
        line[0].set_ylabel(name.replace(" ", "\n"), fontsize=8)


@styled
def written_by(shares, names):
    """Which position an answer comes from. ``shares``: ``(sequences, positions)``, nats; ``names``: of the positions.

    A bar is the median, a whisker the middle 90 % of the sequences.
    """
    _, axes = plt.subplots(figsize=(8, 2.6))
    low, middle, high = shares.quantile(shares.new_tensor([0.05, 0.5, 0.95]), dim=0)
    most = middle.argmax().item()
    for place in range(len(names)):
        axes.bar(place, middle[place].item(), 0.6, color=MEET if place == most else BLUE)
        axes.plot([place] * 2, [low[place].item(), high[place].item()], color="black", linewidth=1)
    axes.axhline(0, color="black", linewidth=0.8)
    axes.set_xticks(range(len(names)), names)
    axes.grid(axis="x", visible=False)
    axes.set(ylabel="added to the right logit\n(nats)", xlabel="what is read at the position that wrote")
