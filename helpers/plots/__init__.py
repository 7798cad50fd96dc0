"""Every figure of the tutorial: one style, and one module for each subject; each says which pages use it.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time.
"""

from helpers.plots.block import ablations, carried, initial_steps, mamba_block, reach, step_functions
from helpers.plots.classifier import confusion
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
from helpers.plots.prefix import depth_and_work, joining_rounds
from helpers.plots.recall import recall_strip, written_by
from helpers.plots.scan import against_length, costs
from helpers.plots.state_space import copying, discretizations, impulse_responses, token_sequences
from helpers.plots.training import error_curves, training_curves

__all__ = [
    "ablations",
    "against_length",
    "blocks_of_a_matrix",
    "by_length",
    "carried",
    "class_balance",
    "confusion",
    "copying",
    "costs",
    "depth_and_work",
    "digits",
    "discretizations",
    "error_curves",
    "error_orders",
    "impulse_responses",
    "initial_steps",
    "joining_rounds",
    "mamba_block",
    "matrices",
    "neighbors",
    "reach",
    "recall_strip",
    "signal",
    "signals",
    "step_functions",
    "three_blocks",
    "times",
    "token_sequences",
    "training_curves",
    "turning_pairs",
    "written_by",
]
