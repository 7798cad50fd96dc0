"""What a trained model does inside: what it chooses, where it looks back to, what its states know.

Used by page 7. ``attention`` is about what a Mamba chooses for an input, and the matrix that its scan then is;
``deletion`` about the pixels that an answer is made of; ``states`` reads a digit in parts, fits probes to the states in
between, and intervenes in them.
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
from helpers.inspect.states import (
    Choices,
    Probe,
    Reading,
    answer,
    bootstrap_r_squared,
    fit_probes,
    fixed_choices,
    forgetting,
    mean_choices,
    probe_errors,
    read_on,
    reorder,
    reset,
    state_numbers,
    stopping,
)

__all__ = [
    "Choices",
    "Probe",
    "Reading",
    "Selection",
    "answer",
    "answers_kept",
    "bootstrap_r_squared",
    "by_distance",
    "contributions",
    "delete",
    "fit_probes",
    "fixed_choices",
    "forgetting",
    "half_lives",
    "implicit_matrix",
    "inputs_of_blocks",
    "looked_at",
    "looks_back",
    "mean_choices",
    "mean_steps",
    "probe_errors",
    "read_on",
    "reorder",
    "reset",
    "selection",
    "state_numbers",
    "stopping",
]
