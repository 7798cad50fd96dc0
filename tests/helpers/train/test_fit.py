"""The loop that fits a classifier, and how it is evaluated."""

import contextlib
import copy
import itertools
import logging
import math

import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from helpers import mnist, models, train
from helpers.train import TrainingConfig


def loader(n=256, batch_size=64):
    pixels, labels = mnist.sequences(mnist.load(train=False))
    return DataLoader(TensorDataset(pixels[:n], labels[:n]), batch_size=batch_size)


@pytest.mark.parametrize(
    "make, steps",
    [
        (models.LinearClassifier, 30),
        (models.ConvClassifier, 30),
        pytest.param(lambda: models.PixelClassifier(d_model=24, n_layer=1, d_state=4), 100, marks=pytest.mark.slow),
    ],
    ids=["linear", "conv", "pixel"],
)
def test_learns_a_few_digits_by_heart(make, steps):
    torch.manual_seed(0)
    model, few = make(), loader(n=16, batch_size=16)
    records = train.fit(model, few, TrainingConfig(steps=steps, learning_rate=2e-2, log_every=10))
    assert [record["step"] for record in records] == list(range(10, steps + 1, 10))
    assert records[-1]["images"] == 16 * steps
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    result = train.evaluate(model, few)
    assert result.accuracy > 0.8 and result.loss < records[0]["loss"]


def test_a_generator_learns_a_few_digits_by_heart_and_its_loss_is_in_nats_a_pixel():
    torch.manual_seed(0)
    model = models.PixelGenerator(d_model=16, n_layer=1, d_state=4, classes=10)
    levels, labels = (tensor[:16] for tensor in mnist.levels(mnist.load(train=False)))
    few = DataLoader(TensorDataset(levels, labels), batch_size=16)
    records = train.fit(model, few, TrainingConfig(steps=30, learning_rate=2e-2, log_every=10))
    assert records[-1]["images"] == 480 and 0.5 < records[-1]["accuracy"] < 1
    assert records[0]["loss"] < math.log(256) and records[-1]["loss"] < 0.6 * records[0]["loss"]
    found = train.evaluate(model, few)
    with torch.no_grad():
        assert found.loss / math.log(2) == pytest.approx(model.eval().bits(levels).mean().item(), rel=1e-5)
        assert found.accuracy == (model(levels).argmax(-1) == levels).double().mean().item()
    assert torch.equal(found.labels, levels.flatten())


def test_same_seed_same_result():
    def losses():
        torch.manual_seed(3)
        config = TrainingConfig(steps=6, learning_rate=1e-2, log_every=1)
        return [record["loss"] for record in train.fit(models.LinearClassifier(), loader(), config)]

    assert losses() == losses()


def test_dropout_is_another_at_every_step_and_the_same_for_the_same_seed():
    def dropped(seed):
        model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(0.5), torch.nn.Linear(784, 10))
        found = []
        model[1].register_forward_hook(lambda layer, inputs, output: found.append(output == 0))
        train.fit(model, loader(n=64), TrainingConfig(steps=3, seed=seed))  # the same batch three times
        return found

    one, again, other = dropped(0), dropped(0), dropped(1)
    assert len(one) == 3 and all(map(torch.equal, one, again))
    assert not any(torch.equal(a, b) for a, b in itertools.combinations([*one, *other], 2))


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_takes_any_number_of_steps(steps):
    records = train.fit(models.LinearClassifier(), loader(), TrainingConfig(steps=steps))
    assert [record["step"] for record in records] == list(range(1, steps + 1))


def test_epochs_are_counted_in_batches():
    records = train.fit(
        models.LinearClassifier(), loader(n=256, batch_size=64), TrainingConfig(epochs=1.5, log_every=4)
    )
    assert [record["step"] for record in records] == [4, 6] and records[-1]["images"] == 6 * 64


@pytest.fixture
def spy(monkeypatch):
    """Call a function with every optimizer of a class, before each of its steps."""

    def watch(kind, look):
        original = kind.step
        monkeypatch.setattr(kind, "step", lambda self, *rest: (look(self), original(self, *rest))[1])

    return watch


@pytest.mark.parametrize("length", [784, 40])
def test_deep_supervision_asks_for_answers_before_the_end(spy, length):
    """The gradient of one step, and the same by hand; the record is of the last answer alone."""
    torch.manual_seed(0)
    model = models.PixelClassifier("mamba-rope", 8, 1, d_state=2, length=length, pooling="sum")
    by_hand, pixels, labels = copy.deepcopy(model), torch.randn(6, length, 1), torch.arange(6)
    rows = [-(-length * row // 28) for row in range(10, 28)]  # the tenth and later ones, up
    last = F.cross_entropy(by_hand(pixels), labels)
    (last + 0.7 * sum(F.cross_entropy(by_hand(pixels, [row])[:, 0], labels) for row in rows) / 18).backward()
    seen = {}
    spy(torch.optim.AdamW, lambda _: seen.update({name: p.grad.clone() for name, p in model.named_parameters()}))
    config = TrainingConfig(steps=1, gradient_clip=0, deep_supervision=0.7)
    (record,) = train.fit(model, DataLoader(TensorDataset(pixels, labels), batch_size=6), config)
    assert record["loss"] == pytest.approx(last.item())
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(seen[name], p.grad, rtol=1e-4, atol=1e-6)


def test_rates_of_both_optimizers_rise_and_fall_together(spy):
    model, rates = models.PixelClassifier(d_model=4, n_layer=1, d_state=2), []
    before = model.blocks[0].in_proj.weight.clone()
    spy(torch.optim.Muon, lambda muon: rates.append([group["lr"] for group in muon.param_groups]))
    config = TrainingConfig(steps=8, learning_rate=1e-3, muon_learning_rate=0.02, log_every=1)
    records = train.fit(model, loader(n=64, batch_size=8), config)
    assert rates == [[pytest.approx(20 * record["learning_rate"])] for record in records] and max(rates)[0] <= 0.02
    assert not torch.equal(before, model.blocks[0].in_proj.weight)


@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_a_learning_rate_near_zero_leaves_the_state_space_parameters_alone(muon):
    model = models.PixelClassifier(d_model=4, n_layer=2, d_state=2)
    before = copy.deepcopy(model)
    config = TrainingConfig(steps=1, muon_learning_rate=muon, ssm_learning_rate=1e-12)
    train.fit(model, loader(n=8), config)
    pairs = zip(model.named_parameters(), before.parameters(), strict=True)
    still = {name for (name, p), b in pairs if torch.allclose(p, b, rtol=0, atol=1e-9)}
    slow = {f"blocks.{i}.{part}" for i, part in itertools.product((0, 1), model.blocks[0].ssm_parameters)}
    assert slow <= still < {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("clip, largest", [(0.5, 0.5), (0.0, float("inf"))])
def test_the_norm_of_the_gradient_is_limited(spy, clip, largest):
    model, norms = models.LinearClassifier(), []
    torch.nn.init.normal_(model[1].weight)
    spy(torch.optim.AdamW, lambda _: norms.append(torch.cat([p.grad.flatten() for p in model.parameters()]).norm()))
    train.fit(model, loader(n=8), TrainingConfig(steps=1, gradient_clip=clip))
    assert norms[0] <= largest * 1.001 and (norms[0] > 0.5 or clip)


def test_stops_when_the_loss_is_not_a_number():
    model = models.LinearClassifier()
    torch.nn.init.constant_(model[1].weight, float("nan"))
    said = r"failed at step 1: the loss is nan, .* Try a lower learning_rate than 0\.5"
    with pytest.raises(FloatingPointError, match=said):
        train.fit(model, loader(), TrainingConfig(steps=5, learning_rate=0.5))


def test_a_fabric_is_made_without_a_word_and_leaves_logging_as_it_was(caplog):
    level = logging.getLogger("lightning_fabric").level
    assert train.make_fabric().device.type in ("cpu", "cuda")
    assert logging.getLogger("lightning_fabric").level == level and not caplog.records


def test_evaluate():
    class Threes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixels):
            return F.one_hot(torch.full((len(pixels),), 3), 10).float() + self.bias

    model, digits = Threes().train(), loader(n=1000)
    result = train.evaluate(model, digits)
    labels = mnist.load(train=False).targets[:1000]
    assert torch.equal(result.labels, labels) and (result.predictions == 3).all()
    assert result.accuracy == (labels == 3).sum().item() / 1000
    right = torch.log(torch.e + torch.tensor(9.0))
    expected = (right - 1) * result.accuracy + right * (1 - result.accuracy)
    assert abs(result.loss - expected.item()) < 1e-5
    assert model.training, "the model is left in the mode it was in"
    train.evaluate(model.eval(), digits)
    assert not model.training
    assert str(result).startswith(f"{result.accuracy:.2%} (95 % interval ")


def test_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, and 0 of 20.
    assert [round(x, 4) for x in train.wilson_interval(81 / 263, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in train.wilson_interval(0, 20)] == [0.0, 0.1611]


def test_evaluate_leaves_every_module_in_its_mode_also_when_it_fails():
    model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Dropout(), torch.nn.Linear(4, 2))
    model[1].eval()
    for labels in (torch.tensor([0, 1]), torch.tensor([0, 2])):
        with contextlib.suppress(ValueError):
            train.evaluate(model, [(torch.zeros(2, 4), labels)])
        assert [module.training for module in model] == [True, False, True] and model.training
