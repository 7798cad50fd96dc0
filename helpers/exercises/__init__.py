"""Checks of the exercises to write: each takes your function and says what is right or wrong with it.

One for each exercise at the end of a page, ``check_zero_order_hold(yours)`` and so on. They print a line and never stop
a notebook: ✓, or ✗ with what is wrong, or ○ while there is nothing to check. The answers folded on the page pass.
"""

from helpers.exercises.block import check_block_step, check_causal_conv
from helpers.exercises.classifier import check_is_causal, check_prefix_answers, check_settled
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
    "check_block_step",
    "check_causal_conv",
    "check_flatten",
    "check_fold",
    "check_gates",
    "check_interval",
    "check_is_causal",
    "check_join",
    "check_kernel",
    "check_loop",
    "check_order_blind",
    "check_prefix_answers",
    "check_restore",
    "check_scan_backward",
    "check_selective_task",
    "check_settled",
    "check_snake",
    "check_unbind",
    "check_zero_order_hold",
]
