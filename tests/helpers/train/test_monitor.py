"""What the monitor counts, and what it takes for a failure."""

from types import SimpleNamespace

import pytest
import torch

from helpers.train.monitor import Monitor

FABRIC = SimpleNamespace(device=torch.device("cpu"), world_size=1, global_rank=0)
START = {"step": 0, "images": 0, "seconds": 0.0, "best": None, "tally": [0.0, 0.0, 0.0]}


def number(x):
    return torch.tensor(float(x))


def monitor(*steps):
    """A monitor that has counted steps: ``(examples, loss, norm)``; half of the answers were right."""
    found = Monitor(100, START, [], FABRIC)
    for examples, loss, norm in steps:
        assert found.count(examples, number(loss), number(examples / 2), stop=False) == (examples, False)
        found.note(number(norm), classes=10)
        found.advance(examples)
    return found


@pytest.mark.parametrize("norm", [float("inf"), float("nan")])
def test_a_norm_that_was_not_finite_is_not_forgotten(norm):
    with pytest.raises(
        FloatingPointError, match=r"failed at one of the steps 1 to 3: the loss is 2, .* than 0\.1\. Go"
    ):
        monitor((8, 16, 1), (8, 16, norm), (8, 16, 1)).check(0.1, lambda: " Go on.")


@pytest.mark.parametrize("examples, steps, fails", [(90, 20, False), (110, 20, True), (5_000, 1, False)])
def test_a_loss_far_above_guessing_is_a_failure_once_it_lasts(examples, steps, fails):
    found = monitor(*[(examples, 5 * examples, 1.0)] * steps)  # guessing among ten gives 2.3
    if fails:
        with pytest.raises(FloatingPointError, match="failed at one of the steps 1 to 20: the loss is 5, the norm of"):
            found.check(0.1, str)
    else:
        found.check(0.1, str)


@pytest.mark.parametrize("loss_before, fails", [(1.0, False), (5.0, True)])
def test_two_bad_records_in_a_row_are_a_failure(loss_before, fails):
    found = monitor((3_000, 3_000 * loss_before, 1.0))
    found.record(0.1, None)
    found.count(3_000, number(15_000), number(0), stop=False)
    found.advance(3_000)
    if fails:
        with pytest.raises(FloatingPointError, match="the loss is 5"):
            found.check(0.1, str)
    else:
        found.check(0.1, str)


def test_the_best_is_the_first_of_equals():
    found = monitor((10, 20, 1.0))
    best = []
    for accuracy, loss in ((0.5, 1.0), (0.5, 1.0), (0.4, 0.1), (0.5, 0.9), (0.6, 2.0)):
        found.count(10, number(20), number(5), stop=False)
        best.append(found.record(0.1, SimpleNamespace(accuracy=accuracy, loss=loss)))
    assert best == [True, False, False, True, True]


def test_records_and_counters():
    found = monitor((10, 20, 1.0), (30, 20, 2.0))
    found.check(0.1, str)
    assert found.counters["tally"] == [40, 40, 20]
    assert not found.record(0.1, None)
    (record,) = found.records
    assert (record["step"], record["images"], record["loss"], record["accuracy"]) == (2, 40, 1.0, 0.5)
    assert found.counters["tally"] == [0, 0, 0], "counted since the last record"
