"""What a trained model does inside: what it chooses, where it looks back to, what its states know.

Used by page 7. ``attention`` is about the matrix that a scan is, for the input at hand; it needs a Mamba's scan.
"""

from helpers.inspect.attention import (
    Selection,
    by_distance,
    contributions,
    delete,
    half_lives,
    implicit_matrix,
    inputs_of_blocks,
    looks_back,
    mean_steps,
    selection,
)

__all__ = [
    "Selection",
    "by_distance",
    "contributions",
    "delete",
    "half_lives",
    "implicit_matrix",
    "inputs_of_blocks",
    "looks_back",
    "mean_steps",
    "selection",
]
