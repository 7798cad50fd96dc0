"""Reading in parts, probes, and what is done to states, each against its definition."""

import pytest
import torch

from helpers import inspect
from helpers.models import PixelClassifier

MIXERS = ("mamba", "mamba-rope", "s4d", "lstm", "mamba2", "mamba3", "attention")


def classifier(mixer="mamba-rope", pooling="sum", **options):
    torch.manual_seed(0)
    options = {"d_state": 4, **options} if mixer in ("mamba", "mamba-rope") else options
    width = 32 if mixer in ("mamba2", "mamba3") else 16
    return PixelClassifier(mixer, width, n_layer=2, length=40, pooling=pooling, **options).double().eval()


def digits(n=3, length=40):
    return torch.randn(n, length, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("pooling", ["sum", "mean", "last"])
def test_reading_in_parts_gives_the_answer_of_the_whole(mixer, pooling):
    model, x = classifier(mixer, pooling), digits()
    reading = None
    for part in x.split(13, 1):
        reading = inspect.read_on(model, part, reading)
    torch.testing.assert_close(inspect.answer(model, reading), model(x))


@pytest.mark.parametrize(
    "mixer, numbers", [("mamba", 2 * 32 * 4), ("mamba-rope", 2 * 32 * 4), ("mamba2", 2 * 64 * 128)]
)
def test_numbers_of_the_state(mixer, numbers):
    model, x = classifier(mixer), digits()
    states = inspect.state_numbers(inspect.read_on(model, x).memory)
    assert states.shape == (3, numbers)
    one = inspect.state_numbers(inspect.read_on(model, x[1:2]).memory)
    torch.testing.assert_close(states[1:2], one)


def test_a_complex_number_counts_as_two():
    assert inspect.state_numbers(inspect.read_on(classifier("s4d", d_state=4), digits()).memory).shape == (
        3,
        2 * 16 * 4,
    )


def test_states_of_both_digits_exchanged_with_their_sums_are_a_composed_digit():
    model, x = classifier(), digits(2)
    reading = inspect.read_on(model, x[:1, :20])
    composed = torch.cat([x[:1, :20], x[1:, 20:]], 1)
    torch.testing.assert_close(inspect.answer(model, inspect.read_on(model, x[1:, 20:], reading)), model(composed))


@pytest.mark.parametrize("mixer", ["mamba-rope", "mamba3", "s4d"])
def test_readings_in_another_order_are_read_on_as_those_digits(mixer):
    model, x = classifier(mixer), digits()
    order = torch.tensor([2, 0])
    reading = inspect.reorder(inspect.read_on(model, x[:, :20]), order)
    torch.testing.assert_close(inspect.answer(model, inspect.read_on(model, x[order, 20:], reading)), model(x)[order])


def test_a_stopped_pair_is_not_turned():
    model = classifier()
    block = model.blocks[0]
    u = torch.randn(3, 7, 32).double()
    stopped = inspect.stopping(model, 1).blocks[0]
    for (_, *turned), (_, *some) in ((block._select(u, 5), stopped._select(u, 5)),):
        _, *plain = super(type(block), block)._select(u, 5)
        for whole, part, raw, bias in zip(turned, some, plain, (block.B_bias, block.C_bias), strict=True):
            torch.testing.assert_close(part[..., [1, 3]], (raw + bias)[..., [1, 3]])
            torch.testing.assert_close(part[..., [0, 2]], whole[..., [0, 2]])
            assert not torch.allclose(part, whole)


def test_a_reset_memory_is_blank_but_its_clocks_go_on():
    model, x = classifier(), digits()
    before = inspect.read_on(model, x[:, :20]).memory
    after = inspect.reset(before)
    assert before.position == after.position == 20
    for old, new, first in zip(before.states, after.states, model.initial_memory(3).states, strict=True):
        assert new.position == old.position == 20
        assert torch.equal(new.ssm_state, first.ssm_state) and torch.equal(new.conv_state, first.conv_state)
    assert inspect.state_numbers(before).abs().max() > 0


def ridge(X, Y, penalty):
    """By the normal equations, as a textbook has it."""
    mean, scale = X.mean(0), X.std(0)
    X = (X - mean) / scale
    weights = torch.linalg.solve(X.T @ X + penalty * X.shape[1] * torch.eye(X.shape[1]).to(X), X.T @ (Y - Y.mean(0)))
    return lambda other: (other - mean) / scale @ weights + Y.mean(0)


@pytest.mark.parametrize("penalty", [0.01, 1.0])
def test_a_probe_is_ridge_regression(penalty):
    torch.manual_seed(0)
    X, Y = torch.randn(30, 8).double() * torch.arange(1, 9), torch.randn(30, 2).double()
    new = torch.randn(5, 8).double()
    probe = inspect.fit_probes(X, {"it": Y}, X, {"it": Y}, penalties=[penalty])["it"]
    torch.testing.assert_close(probe(new), ridge(X, Y, penalty)(new))


def test_the_penalty_is_the_best_on_validation_digits_for_each_target():
    torch.manual_seed(0)
    weights = torch.randn(20, 1).double()
    X, held_out = torch.randn(60, 20).double(), torch.randn(200, 20).double()
    targets = {"known": X @ weights, "noise": torch.randn(60, 1).double()}
    truth = {"known": held_out @ weights, "noise": torch.randn(200, 1).double()}
    probes = inspect.fit_probes(X, targets, held_out, truth, penalties=[1e-4, 1, 1e4])
    assert (probes["known"].penalty, probes["noise"].penalty) == (1e-4, 1e4)
    states = torch.cat([X, torch.full((60, 1), 7.0).double()], 1)  # one that never changes
    constant = inspect.fit_probes(states, targets, states, targets, penalties=[1])["known"]
    assert constant.weights[-1] == 0 and constant.weights.isfinite().all()


def test_r_squared_and_its_interval():
    torch.manual_seed(0)
    truth = torch.randn(4000, 1).double()
    guess = truth + 0.5 * torch.randn(4000, 1)
    value, low, high = inspect.bootstrap_r_squared((truth - guess).square(), truth.square())
    assert low < value < high and abs(value - 0.75) < 0.03
    assert 0.02 < high - low < 0.05
    probe = inspect.Probe(torch.zeros(1), torch.ones(1, 1), torch.tensor([2.0]), 1.0)
    ours, mean = inspect.probe_errors(probe, torch.tensor([[1.0]]), torch.tensor([[5.0]]))
    assert (ours.item(), mean.item()) == (4, 9)


def test_states_forget_where_they_are_told_to():
    model, x = classifier(), digits()
    lost = [torch.zeros_like(block.A_log, dtype=torch.bool) for block in model.blocks]
    torch.testing.assert_close(inspect.forgetting(model, lost)(x), model(x))
    lost[0][5, 1] = True
    forgetful = inspect.forgetting(model, lost)
    before, after = (inspect.read_on(one, x).memory.states[0].ssm_state for one in (model, forgetful))
    changed = (before != after).any(0)  # (d_inner, d_state)
    expected = torch.zeros_like(changed)
    expected[5, 1] = expected[5, 3] = True  # number n and number n + d_state / 2 are a pair
    assert torch.equal(changed, expected)
    alone = inspect.read_on(forgetful, torch.cat([x[:1, :30], x[1:2, 30:]], 1)).memory.states[0].ssm_state
    last = inspect.read_on(forgetful, x[1:2]).memory.states[0].ssm_state
    torch.testing.assert_close(alone[0, 5, [1, 3]], last[0, 5, [1, 3]])  # all that it knows is the last input


@pytest.mark.parametrize("mixer", ["mamba", "mamba-rope"])
def test_mean_choices_are_means_of_what_the_blocks_choose(mixer):
    model, x = classifier(mixer), digits()
    first = model.norms[0](model.embedding(x))
    chosen = inspect.mean_choices(model, x)
    torch.testing.assert_close(chosen[0].step, model.blocks[0].step_sizes(first).mean((0, 1)))
    by_position = inspect.mean_choices(model, x, over=(0,))
    torch.testing.assert_close(by_position[0].step, model.blocks[0].step_sizes(first).mean(0))
    assert chosen[1].BC.shape == (8,) and by_position[1].BC.shape == (40, 8)


@pytest.mark.parametrize("mixer", ["mamba", "mamba-rope"])
def test_choices_are_fixed_within_the_context_alone(mixer):
    model, x = classifier(mixer), digits()
    before = model(x)
    own = inspect.mean_choices(model, x[:1], over=(0,))  # of one digit they are that digit's own
    with inspect.fixed_choices(model, own):
        torch.testing.assert_close(model(x)[0], before[0])
        assert not torch.allclose(model(x)[1], before[1])
    torch.testing.assert_close(model(x), before)
    mean = inspect.mean_choices(model, x)
    with inspect.fixed_choices(model, mean, BC=False):
        inside = inspect.mean_choices(model, x, over=(0,))
    for fixed, seen in zip(mean, inside, strict=True):
        torch.testing.assert_close(seen.step, fixed.step.expand_as(seen.step))
        assert not torch.allclose(seen.BC, fixed.BC.expand_as(seen.BC))
    with inspect.fixed_choices(model, mean, step=False):
        inside = inspect.mean_choices(model, x, over=(0,))
    torch.testing.assert_close(inside[1].BC, mean[1].BC.expand(40, -1))
    assert not torch.allclose(inside[1].step, mean[1].step.expand(40, -1))
