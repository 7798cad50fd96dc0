"""What scans are compared with: exact results, and what "equal" means."""

import math

import pytest
import torch

from helpers import testing
from helpers.scan import selective_scan


def test_worst_error_is_the_largest_and_never_that_of_broadcast_shapes():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    assert testing.worst_error([x, y], [x, x]) == 1 and testing.worst_error([x], [x, y]) == 0
    assert math.isnan(testing.worst_error([x, x * float("nan"), x], [x, x, x]))
    with pytest.raises(testing.WrongResult, match=r"wrong: \(1,\) instead of \(2,\)"):
        testing.worst_error([x[:1]], [x])


def test_exact_scan_is_the_scan_in_float64_and_its_gradient():
    inputs, dy = testing.scan_inputs(2, 20, "cpu", dim=4, d_state=3)
    assert inputs["u"].stride() == (80, 1, 4), "channels last"
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    y = selective_scan(**exact, delta_softplus=True, backend="associative")
    right = [y, *torch.autograd.grad(y, list(exact.values()), dy.double())]
    assert testing.worst_error(testing.exact_scan(inputs, dy), right) < 1e-12
