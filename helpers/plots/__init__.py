"""Every figure of the tutorial: one style, and one module for each subject; each says which pages use it.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time.
"""

from helpers.plots.block import ablations, initial_steps, mamba_block
from helpers.plots.classifier import answer_forming, confusion, pixel_classifier, reading_progress
from helpers.plots.data import class_balance, digits, neighbors, signal
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
from helpers.plots.scan import against_length, costs
from helpers.plots.state_space import copying, discretizations, impulse_responses, token_sequences
from helpers.plots.training import accuracy_dots, error_curves, singular_values, training_curves

__all__ = [
    "ablations",
    "accuracy_dots",
    "against_length",
    "answer_forming",
    "blocks_of_a_matrix",
    "by_length",
    "class_balance",
    "confusion",
    "copying",
    "costs",
    "digits",
    "discretizations",
    "error_curves",
    "error_orders",
    "impulse_responses",
    "initial_steps",
    "mamba_block",
    "matrices",
    "neighbors",
    "pixel_classifier",
    "reading_progress",
    "signal",
    "signals",
    "singular_values",
    "three_blocks",
    "times",
    "token_sequences",
    "training_curves",
    "turning_pairs",
]
