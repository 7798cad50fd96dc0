"""Checks of the exercises to write: each takes your function and says what is right or wrong with it.

One for each exercise at the end of a page, ``check_zero_order_hold(yours)`` and so on. They print a line and never stop
a notebook: ✓, or ✗ with what is wrong, or ○ while there is nothing to check. The answers folded on the page pass.
"""

from helpers.exercises.block import check_block_step, check_causal_conv
from helpers.exercises.classifier import check_is_causal, check_prefix_answers, check_settled
from helpers.exercises.drawing import check_bits, check_sample
from helpers.exercises.heads import check_chunked, check_rotation, check_segment_sum, check_trapezoid
from helpers.exercises.inside import check_implicit_matrix, check_probe
from helpers.exercises.longer import check_half_life, check_pieces
from helpers.exercises.scan import (
    check_gates,
    check_join,
    check_loop,
    check_scan_backward,
    check_unbind,
)
from helpers.exercises.sequences import (
    check_flatten,
    check_fold,
    check_interval,
    check_order_blind,
    check_restore,
    check_snake,
)
from helpers.exercises.state_space import check_kernel, check_selective_task, check_zero_order_hold

__all__ = [
    "check_bits",
    "check_block_step",
    "check_causal_conv",
    "check_chunked",
    "check_flatten",
    "check_fold",
    "check_gates",
    "check_half_life",
    "check_implicit_matrix",
    "check_interval",
    "check_is_causal",
    "check_join",
    "check_kernel",
    "check_loop",
    "check_order_blind",
    "check_pieces",
    "check_prefix_answers",
    "check_probe",
    "check_restore",
    "check_rotation",
    "check_sample",
    "check_scan_backward",
    "check_segment_sum",
    "check_selective_task",
    "check_settled",
    "check_snake",
    "check_trapezoid",
    "check_unbind",
    "check_zero_order_hold",
]
