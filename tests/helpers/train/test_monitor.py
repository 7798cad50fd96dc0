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


@pytest.mark.parametrize("examples, fails", [(1_900, False), (2_100, True)])
def test_a_loss_far_above_guessing_is_a_failure_once_there_are_enough_examples(examples, fails):
    found = monitor((examples, 5 * examples, 1.0))  # guessing among ten gives 2.3
    if fails:
        with pytest.raises(FloatingPointError, match="failed at step 1: the loss is 5, the norm of the gradient 1"):
            found.check(0.1, str)
    else:
        found.check(0.1, str)


def test_records_and_counters():
    found = monitor((10, 20, 1.0), (30, 20, 2.0))
    found.check(0.1, str)
    assert found.counters["tally"] == [40, 40, 20]
    assert not found.record(0.1, None)
    (record,) = found.records
    assert (record["step"], record["images"], record["loss"], record["accuracy"]) == (2, 40, 1.0, 0.5)
    assert found.counters["tally"] == [0, 0, 0], "counted since the last record"
