"""Every figure of the tutorial: one style, and one module for each subject; each says which pages use it.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time.
"""

from helpers.plots.accuracies import accuracy_bars, accuracy_dots
from helpers.plots.block import ablations, initial_steps, mamba_block
from helpers.plots.classifier import confusion
from helpers.plots.data import correlation, digits, reading, signal, strokes
from helpers.plots.duality import (
    blocks_of_a_matrix,
    by_length,
    error_orders,
    matrices,
    three_blocks,
    times,
    turning_pairs,
)
from helpers.plots.own_data import signals
from helpers.plots.recipe import spectra, untrained_outputs, where_positions_meet
from helpers.plots.scan import against_length, costs
from helpers.plots.state_space import copying, discretizations, impulse_responses, token_sequences
from helpers.plots.training import error_curves, training_curves

__all__ = [
    "ablations",
    "accuracy_bars",
    "accuracy_dots",
    "against_length",
    "blocks_of_a_matrix",
    "by_length",
    "confusion",
    "copying",
    "correlation",
    "costs",
    "digits",
    "discretizations",
    "error_curves",
    "error_orders",
    "impulse_responses",
    "initial_steps",
    "mamba_block",
    "matrices",
    "reading",
    "signal",
    "signals",
    "spectra",
    "strokes",
    "three_blocks",
    "times",
    "token_sequences",
    "training_curves",
    "turning_pairs",
    "untrained_outputs",
    "where_positions_meet",
]
