"""What a trained model does inside: what it chooses, where it looks back to, what its states know.

Used by page 7. ``states`` reads a digit in parts, fits probes to the states in between, and intervenes in them.
"""

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
    "answer",
    "bootstrap_r_squared",
    "fit_probes",
    "fixed_choices",
    "forgetting",
    "mean_choices",
    "probe_errors",
    "read_on",
    "reorder",
    "reset",
    "state_numbers",
    "stopping",
]
