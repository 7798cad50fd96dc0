"""Every figure of the tutorial: one style, and one module for each subject; each says which pages use it.

Every function draws a new matplotlib figure, which a notebook shows below the cell; outside one, ``plt.gcf()`` is that
figure. Nothing is returned: IPython would show the figure a second time.
"""

from helpers.plots.accuracies import accuracy_bars, accuracy_dots
from helpers.plots.attention import deletion, distances, hidden_matrices, ink_and_memory, looking_back, step_maps
from helpers.plots.block import ablations, carried, initial_steps, mamba_block, reach, step_functions
from helpers.plots.classifier import confusion, pixel_classifier, reading_progress
from helpers.plots.data import correlation, digits, reading, signal, strokes
from helpers.plots.duality import (
    blocks_of_a_matrix,
    by_length,
    clocks,
    error_orders,
    matrices,
    three_blocks,
    times,
    turning_pairs,
)
from helpers.plots.generation import (
    bits_of_digits,
    bits_of_seeds,
    bits_per_pixel,
    digit_rows,
    memory_kept,
    palettes,
    predicted_levels,
    surprise,
)
from helpers.plots.kernels import bounds, ladder, layouts, powers_of_two, roofline, way_back
from helpers.plots.longer import (
    copying_beyond,
    cost_in_pieces,
    costs_of_layers,
    enlarged,
    losses_by_processes,
    reading_orders,
    truncated,
)
from helpers.plots.own_data import signals
from helpers.plots.prefix import depth_and_work, joining_rounds
from helpers.plots.recall import recall_strip, written_by
from helpers.plots.recipe import spectra, untrained_outputs, where_positions_meet
from helpers.plots.scan import (
    against_length,
    costs,
    doubling,
    fused_or_not,
    gradients_of_indices,
    moved_and_kept,
    step_as_gate,
)
from helpers.plots.state_space import (
    copying,
    discretizations,
    gates,
    impulse_responses,
    spiral,
    step_sizes,
    token_sequences,
    two_views,
)
from helpers.plots.states import banded, damaged, redrawn
from helpers.plots.training import accuracy_of_seeds, error_curves, training_curves

__all__ = [
    "ablations",
    "accuracy_bars",
    "accuracy_dots",
    "accuracy_of_seeds",
    "against_length",
    "banded",
    "bits_of_digits",
    "bits_of_seeds",
    "bits_per_pixel",
    "blocks_of_a_matrix",
    "bounds",
    "by_length",
    "carried",
    "clocks",
    "confusion",
    "copying",
    "copying_beyond",
    "correlation",
    "cost_in_pieces",
    "costs",
    "costs_of_layers",
    "damaged",
    "deletion",
    "depth_and_work",
    "digit_rows",
    "digits",
    "discretizations",
    "distances",
    "doubling",
    "enlarged",
    "error_curves",
    "error_orders",
    "fused_or_not",
    "gates",
    "gradients_of_indices",
    "hidden_matrices",
    "impulse_responses",
    "initial_steps",
    "ink_and_memory",
    "joining_rounds",
    "ladder",
    "layouts",
    "looking_back",
    "losses_by_processes",
    "mamba_block",
    "matrices",
    "memory_kept",
    "moved_and_kept",
    "palettes",
    "pixel_classifier",
    "powers_of_two",
    "predicted_levels",
    "reach",
    "reading",
    "reading_orders",
    "reading_progress",
    "recall_strip",
    "redrawn",
    "roofline",
    "signal",
    "signals",
    "spectra",
    "spiral",
    "step_as_gate",
    "step_functions",
    "step_maps",
    "step_sizes",
    "strokes",
    "surprise",
    "three_blocks",
    "times",
    "token_sequences",
    "training_curves",
    "truncated",
    "turning_pairs",
    "two_views",
    "untrained_outputs",
    "way_back",
    "where_positions_meet",
    "written_by",
]
