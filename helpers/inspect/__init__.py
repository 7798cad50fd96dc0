"""What a trained model does inside: what it chooses, where it looks back to, what its states know.

Used by page 7. ``attention`` is about what a Mamba chooses for an input, and the matrix that its scan then is;
``deletion`` about the pixels that an answer is made of.
"""

from helpers.inspect.attention import (
    Selection,
    by_distance,
    half_lives,
    implicit_matrix,
    inputs_of_blocks,
    looked_at,
    looks_back,
    mean_steps,
    selection,
)
from helpers.inspect.deletion import answers_kept, contributions, delete

__all__ = [
    "Selection",
    "answers_kept",
    "by_distance",
    "contributions",
    "delete",
    "half_lives",
    "implicit_matrix",
    "inputs_of_blocks",
    "looked_at",
    "looks_back",
    "mean_steps",
    "selection",
]
