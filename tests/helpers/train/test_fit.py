"""The models, the loop that fits them, and the figures."""

import copy

import matplotlib.pyplot as plt
import pytest
import torch
import torch.nn.functional as F
from torch.utils.data import DataLoader, TensorDataset

from helpers import mnist, models, plots, train
from helpers.layers.mamba import Mamba

MODELS = [models.LinearClassifier, models.ConvClassifier, models.PixelClassifier]


def loader(n=256, batch_size=64):
    pixels, labels = mnist.sequences(mnist.load(train=False))
    return DataLoader(TensorDataset(pixels[:n], labels[:n]), batch_size=batch_size)


@pytest.mark.parametrize("model", MODELS)
def test_models_map_pixels_to_logits(model):
    assert model()(torch.randn(3, 784, 1)).shape == (3, 10)


def test_block_is_causal_and_keeps_the_shape():
    torch.manual_seed(0)
    block, x = Mamba(8, d_state=4), torch.randn(2, 40, 8)
    changed = x.clone()
    changed[:, 25] += 1
    y, z = block(x), block(changed)
    assert y.shape == x.shape
    torch.testing.assert_close(y[:, :25], z[:, :25])
    assert not torch.allclose(y[:, 25:], z[:, 25:])


def test_block_starts_with_step_sizes_between_the_bounds():
    steps = torch.nn.functional.softplus(Mamba(64, dt_min=0.002, dt_max=0.05).dt_proj.bias)
    assert 0.002 <= steps.min() < 0.004 and 0.025 < steps.max() <= 0.0501
    with pytest.raises(ValueError, match="dt_init must be 'random' or 'constant', got 'zero'"):
        Mamba(8, dt_init="zero")


def test_pixel_classifier_depends_on_order_and_on_every_part_of_the_digit():
    torch.manual_seed(0)
    model, (pixels, _) = models.PixelClassifier().double(), next(iter(loader(n=2)))
    pixels = pixels.double().requires_grad_()
    logits = model(pixels)
    assert not torch.allclose(logits, model(pixels.flip(1)))
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    assert (gradient != 0).all()


@pytest.mark.parametrize("model", MODELS)
def test_fit_learns_a_few_digits_by_heart(model):
    torch.manual_seed(0)
    small = {"d_model": 24, "n_layer": 1, "d_state": 4} if model is models.PixelClassifier else {}
    net, few = model(**small), loader(n=16, batch_size=16)
    steps = 100 if model is models.PixelClassifier else 30
    records = train.fit(net, few, steps, lr=2e-2, every=10)
    assert [r["step"] for r in records] == list(range(10, steps + 1, 10))
    assert records[-1]["images"] == 16 * steps
    assert records[-1]["loss"] < 0.5 * records[0]["loss"]
    result = train.evaluate(net, few)
    assert result.accuracy > 0.8 and result.loss < records[0]["loss"]


def test_fit_gives_the_same_result_for_the_same_seed():
    def losses():
        torch.manual_seed(3)
        return [r["loss"] for r in train.fit(models.LinearClassifier(), loader(), 6, lr=1e-2, every=1)]

    assert losses() == losses()


@pytest.mark.parametrize("steps", [1, 2, 3, 4, 5, 6, 7])
def test_fit_takes_any_number_of_steps(steps):
    records = train.fit(models.LinearClassifier(), loader(), steps, lr=1e-2)
    assert [record["step"] for record in records] == list(range(1, steps + 1))


def test_fit_decays_only_what_should_be_decayed():
    model = models.PixelClassifier(d_model=4, n_layer=1, d_state=2)
    seen = {}

    class Spy(torch.optim.AdamW):
        def __init__(self, groups, **options):
            seen.update({id(p): group["weight_decay"] for group in groups for p in group["params"]})
            super().__init__(groups, **options)

    original, torch.optim.AdamW = torch.optim.AdamW, Spy
    try:
        train.fit(model, loader(n=8), 1, lr=1e-3, weight_decay=0.1)
    finally:
        torch.optim.AdamW = original
    decay = {name: seen[id(p)] for name, p in model.named_parameters()}
    kept = {name for name, value in decay.items() if value == 0}
    assert kept == {name for name in decay if name.endswith(("bias", "A_log", "D")) or "norm" in name}


def test_muon_gets_the_matrices_inside_of_the_blocks():
    model = models.PixelClassifier(d_model=4, n_layer=2, d_state=2)
    names = {id(p): name for name, p in model.named_parameters()}
    adam, muon = (
        {names[id(p)] for g in o.param_groups for p in g["params"]} for o in train.make_optimizers(model, 1e-3, muon=0.1)
    )
    parts = ("in_proj", "x_proj", "out_proj")
    assert (
        muon == {f"blocks.{i}.{part}.weight" for i in (0, 1) for part in parts} and adam == set(names.values()) - muon
    )
    assert len(train.make_optimizers(model, 1e-3)) == len(train.make_optimizers(models.LinearClassifier(), 1e-3, muon=0.1)) == 1


@pytest.mark.parametrize(
    ("mixer", "parts"),
    [
        ("mamba", "A_log dt_proj.weight dt_proj.bias x_proj.weight"),
        ("rotary", "A_log dt_proj.weight dt_proj.bias x_proj.weight B_bias C_bias"),
        ("s4d", "log_dt log_A_real A_imag C"),
    ],
)
@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_a_state_space_model_has_a_rate_of_its_own(mixer, parts, muon):
    model = copy.deepcopy(models.PixelClassifier(mixer, d_model=4, n_layer=2, d_state=2))
    rates = {}
    for optimizer in train.make_optimizers(model, 5e-3, muon=muon, ssm_lr=1e-3):
        for group in optimizer.param_groups:
            rates |= dict.fromkeys(group["params"], group["highest"])
    slow = {name for name, p in model.named_parameters() if rates[p] == 1e-3}
    assert slow == {f"blocks.{i}.{part}" for i in (0, 1) for part in parts.split()}
    assert set(rates.values()) == {5e-3, 1e-3, *([muon] if muon else [])}
    before = [p.clone() for p in model.parameters()]
    train.fit(model, loader(n=8), 1, lr=5e-3, muon=muon, ssm_lr=1e-12)
    after = zip(model.named_parameters(), before, strict=True)
    still = {name for (name, p), b in after if torch.allclose(p, b, rtol=0, atol=1e-9)}
    assert slow <= still < {name for name, _ in model.named_parameters()}


@pytest.mark.parametrize("length", [784, 40])
def test_fit_can_ask_for_answers_before_the_end(length):
    """The gradient of one step, beside the same by hand; the record is of the last answer alone."""
    torch.manual_seed(0)
    model = models.PixelClassifier("rotary", 8, 1, d_state=2, length=length, pooling="sum")
    by_hand, pixels, labels = copy.deepcopy(model), torch.randn(6, length, 1), torch.arange(6)
    rows = [-(-length * row // 28) for row in range(10, 28)]  # the tenth and later ones, up
    last = F.cross_entropy(by_hand(pixels), labels)
    (last + 0.7 * sum(F.cross_entropy(by_hand(pixels, [row])[:, 0], labels) for row in rows) / 18).backward()
    seen = {}

    class Spy(torch.optim.AdamW):
        def step(self):
            seen.update({name: p.grad.clone() for name, p in model.named_parameters()})

    original, torch.optim.AdamW = torch.optim.AdamW, Spy
    try:
        few = DataLoader(TensorDataset(pixels, labels), batch_size=6)
        (record,) = train.fit(model, few, 1, lr=1e-3, clip=0, early=0.7)
    finally:
        torch.optim.AdamW = original
    assert record["loss"] == pytest.approx(last.item())
    for name, p in by_hand.named_parameters():
        torch.testing.assert_close(seen[name], p.grad, rtol=1e-4, atol=1e-6)


def test_rates_of_both_optimisers_rise_and_fall_together():
    model, before = models.PixelClassifier(d_model=4, n_layer=1, d_state=2), {}
    rates = []

    class Spy(torch.optim.Muon):
        def step(self):
            rates.append([group["lr"] for group in self.param_groups])
            before.setdefault("weight", model.blocks[0].in_proj.weight.clone())
            super().step()

    original, torch.optim.Muon = torch.optim.Muon, Spy
    try:
        records = train.fit(model, loader(n=64, batch_size=8), 8, lr=1e-3, muon=0.02, every=1)
    finally:
        torch.optim.Muon = original
    assert rates == [[pytest.approx(20 * record["lr"])] for record in records] and max(rates)[0] <= 0.02
    assert not torch.equal(before["weight"], model.blocks[0].in_proj.weight)


def test_fit_stops_when_the_loss_is_not_a_number():
    model = models.LinearClassifier()
    torch.nn.init.constant_(model[1].weight, float("nan"))
    with pytest.raises(FloatingPointError, match=r"failed at step 1: the loss is nan, .* Try a lower lr than 0\.5"):
        train.fit(model, loader(), 5, lr=0.5)
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        train.fit(model, loader(), 0, lr=0.5)


def test_evaluate():
    class Threes(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bias = torch.nn.Parameter(torch.zeros(1))

        def forward(self, pixels):
            return torch.nn.functional.one_hot(torch.full((len(pixels),), 3), 10).float() + self.bias

    model, digits = Threes().train(), loader(n=1000)
    result = train.evaluate(model, digits)
    labels = mnist.load(train=False).targets[:1000]
    assert torch.equal(result.labels, labels) and (result.predictions == 3).all()
    assert result.accuracy == (labels == 3).sum().item() / 1000
    right = torch.log(torch.e + torch.tensor(9.0))
    expected = (right - 1) * result.accuracy + right * (1 - result.accuracy)
    assert abs(result.loss - expected.item()) < 1e-5
    assert model.training, "the model is left in the mode it was in"
    assert str(result).startswith(f"{result.accuracy:.2%} (95 % interval ")


def test_interval():
    # Newcombe, Statistics in Medicine 17 (1998), table I: 81 of 263, and 0 of 20.
    assert [round(x, 4) for x in train.wilson_interval(81 / 263, 263)] == [0.2553, 0.3662]
    assert [round(x, 4) for x in train.wilson_interval(0, 20)] == [0.0, 0.1611]


def test_every_figure_draws_on_real_digits_and_labels_its_axes():
    test_set = mnist.load(train=False)
    digit, labels = test_set.data[0], test_set.targets
    records = [{"images": 10 * i, "loss": 1 / i, "accuracy": i / 5} for i in (1, 2, 3)]
    draw = {
        "signal": lambda: plots.signal(digit),
        "neighbours": lambda: plots.neighbours(digit, {"here": (10, 19), "below": (11, 19)}),
        "class_balance": lambda: plots.class_balance({"test": labels}),
        "against_length": lambda: plots.against_length(
            [10, 20], {"one": [1.0, 2.0], "two": [3.0, 4.0]}, "seconds", "title"
        ),
        "training": lambda: plots.training(records, {"linear": 0.9}),
        "runs": lambda: plots.runs({"one": records, "two": records}),
        "errors": lambda: plots.errors({"validation": ([1, 2], [0.9, 0.99])}),
        "digits": lambda: plots.digits(test_set.data[:3], ["7", "2", "1"], columns=2),
        "signals": lambda: plots.signals({"7": torch.randn(2, 40), "2": torch.randn(1, 40)}),
        "confusion": lambda: plots.confusion(labels, labels.flip(0)),
    }
    for name, plot in draw.items():
        plt.close("all")
        assert plot() is None, name
        assert len(plt.get_fignums()) == 1, name
        figure = plt.gcf()
        figure.canvas.draw()
        for axes in figure.axes:
            assert not axes.has_data() or axes.get_images() or (axes.get_xlabel() and axes.get_ylabel()), name
    drawn = {text.get_text() for text in figure.axes[0].texts}
    shares = [((labels == i) & (labels.flip(0) == i)).sum() / (labels == i).sum() for i in range(10)]
    assert {f"{100 * share:.1f}" for share in shares} <= drawn
    plt.close("all")
