"""What scans are compared with: exact results, and what "equal" means."""

import math

import pytest
import torch

from helpers import testing
from helpers.scan import selective_scan


def test_worst_error_is_the_largest_and_never_that_of_broadcast_shapes():
    x, y = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 4.0])
    assert testing.worst_error([x, y], [x, x]) == 1 and testing.worst_error([x], [x]) == 0
    assert math.isnan(testing.worst_error([x, x * float("nan"), x], [x, x, x]))
    with pytest.raises(testing.WrongResult, match=r"wrong: \(1,\) instead of \(2,\)"):
        testing.worst_error([x[:1]], [x])
    with pytest.raises(testing.WrongResult, match="wrong: 1 tensors instead of 2"):
        testing.worst_error([x], [x, y])


def test_exact_scan_is_the_scan_in_float64_and_its_gradient():
    inputs, dy = testing.scan_inputs(2, 20, "cpu", dim=4, d_state=3)
    assert inputs["u"].stride() == (80, 1, 4), "channels last"
    exact = {name: x.detach().double().requires_grad_() for name, x in inputs.items()}
    y = selective_scan(**exact, delta_softplus=True, backend="associative")
    right = [y, *torch.autograd.grad(y, list(exact.values()), dy.double())]
    assert testing.worst_error(testing.exact_scan(inputs, dy), right) < 1e-12


def test_scan_inputs_are_those_of_a_new_block_and_always_the_same():
    inputs, dy = testing.scan_inputs(2, 20, "cpu", dim=4, d_state=3)
    shapes = {"u": (2, 4, 20), "delta": (2, 4, 20), "A": (4, 3), "B": (2, 3, 20), "C": (2, 3, 20), "D": (4,),
              "z": (2, 4, 20), "delta_bias": (4,)}  # fmt: skip
    assert {name: tuple(x.shape) for name, x in inputs.items()} == shapes and dy.shape == (2, 4, 20)
    assert all(x.dtype == torch.float32 and x.requires_grad for x in inputs.values())
    assert (inputs["A"] == -torch.tensor([1.0, 2, 3])).all() and (inputs["D"] == 1).all()
    assert (inputs["delta_bias"] == -4).all()
    again, _ = testing.scan_inputs(2, 20, "cpu", dim=4, d_state=3)
    assert all(torch.equal(x, again[name]) for name, x in inputs.items())
    inputs, _ = testing.scan_inputs(1, 2, "cpu")
    assert inputs["A"].shape == (128, 16)


def test_with_gradients_are_the_output_and_then_those_of_the_inputs_in_their_order():
    inputs = {name: torch.tensor([value], requires_grad=True) for name, value in (("a", 2.0), ("b", 3.0))}
    y, da, db = testing.with_gradients(lambda: inputs["a"] * inputs["b"] ** 2, inputs, torch.tensor([10.0]))
    assert (y.item(), da.item(), db.item()) == (18, 90, 120) and not y.requires_grad


def test_nothing_is_wrong_with_zeros_that_are_zeros():
    zeros = torch.zeros(2, 3)
    assert testing.relative_error(zeros, zeros) == 0 and testing.relative_error(zeros[:0], zeros[:0]) == 0
    assert testing.relative_error(zeros + 1e-9, zeros) == float("inf")


@pytest.mark.parametrize("backend", ["associative", "reference", None])
def test_at_length_1_nothing_decays_and_right_code_is_right(backend):
    inputs, dy = testing.scan_inputs(2, 1, torch.device("cpu"), 2)
    found = testing.with_gradients(lambda: selective_scan(**inputs, delta_softplus=True, backend=backend), inputs, dy)
    assert testing.worst_error(found, testing.exact_scan(inputs, dy)) < 1e-6


def test_check_says_what_holds_and_stops_where_it_does_not(capsys):
    one, two = torch.tensor([1.0]), torch.tensor([2.0])
    testing.check("one is one", True)
    testing.check("a half", one, two, bound=0.5)
    testing.check("both", [one, two], [one, two * (1 + 1e-5)], bound=1e-4)
    assert capsys.readouterr().out == (
        "✓ one is one\n✓ a half: differs by 5e-01, at most 5e-01\n✓ both: differs by 1e-05, at most 1e-04\n"
    )
    wrong = ((False,), (one, two, 0.4), (one * math.nan, one), ([one, one], [one, two]), (one[:0], one))
    for arguments in wrong:
        with pytest.raises(testing.WrongResult):
            testing.check("what is not so", *arguments)
    assert not capsys.readouterr().out
