"""How a training goes: what a configuration refuses, and the learning rate of every step."""

import dataclasses
import math

import pytest

from helpers.train import TrainingConfig


@pytest.mark.parametrize(
    "name, value, said",
    [
        *((name, 0, "positive, got 0") for name in ("learning_rate", "epochs", "steps", "save_every")),
        *((name, -1, "positive, got -1") for name in ("learning_rate", "epochs", "steps", "save_every")),
        ("muon_learning_rate", -0.1, "0 or more, got -0.1"),
        ("ssm_learning_rate", -0.1, "0 or more, got -0.1"),
        ("weight_decay", -0.1, "0 or more, got -0.1"),
        ("gradient_clip", -1.0, "0 or more, got -1.0"),
        ("deep_supervision", -1.0, "0 or more, got -1.0"),
        ("log_every", -1, "0 or more, got -1"),
        ("learning_rate", math.nan, "positive, got nan"),
        ("weight_decay", math.inf, "0 or more, got inf"),
        ("schedule", "cosine", "'one-cycle' or 'constant', got 'cosine'"),
    ],
)
def test_what_is_wrong_is_named(name, value, said):
    with pytest.raises(ValueError, match=f"^{name} must be {said}$"):
        TrainingConfig(**{name: value})
    with pytest.raises(ValueError, match=f"^{name} must be"):
        dataclasses.replace(TrainingConfig(), **{name: value})


def test_a_configuration_is_fixed_and_has_defaults():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TrainingConfig().epochs = 3
    assert (TrainingConfig().learning_rate, TrainingConfig().schedule) == (5e-3, "one-cycle")
    assert all(field.metadata["help"] for field in dataclasses.fields(TrainingConfig))


def test_updates_are_epochs_of_batches_or_a_number():
    assert TrainingConfig(epochs=2.5).total_steps(10) == 25
    assert TrainingConfig(epochs=0.001).total_steps(10) == 1


@pytest.mark.parametrize("steps", [1, 2, 9, 1000])
def test_one_cycle_rises_for_a_tenth_and_falls_in_a_cosine(steps):
    rates = [TrainingConfig().rate(step, steps) for step in range(steps)]
    assert all(0 < rate <= 1 for rate in rates) and max(rates) > 0.8
    top = rates.index(max(rates))
    assert abs(top - 0.1 * steps) <= 1
    assert rates[:top] == sorted(rates[:top]) and rates[top:] == sorted(rates[top:], reverse=True)
    if steps == 1000:
        assert rates[550] == pytest.approx(0.5) and rates[-1] < 1e-5 and rates[49] == pytest.approx(50 / 101)
    assert {TrainingConfig(schedule="constant").rate(step, steps) for step in range(steps)} == {1.0}


def test_what_may_change_between_two_parts_of_a_training():
    config = TrainingConfig(log_every=5, save_every=7)
    assert config.identity() == TrainingConfig().identity()
    assert TrainingConfig(seed=1).identity() != config.identity() != TrainingConfig(epochs=2).identity()
