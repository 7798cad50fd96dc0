"""The classifier and what can be exchanged in it."""

import pytest
import torch
from torch import nn

from helpers import mnist, models
from helpers.models import MIXERS, ConvClassifier, FlattenedClassifier, LinearClassifier, PixelClassifier
from helpers.train.presets import PRESETS


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("pooling", ["mean", "sum", "last"])
def test_any_length_channels_and_classes(mixer, pooling):
    model = PixelClassifier(mixer, 32, length=40, channels=3, classes=4, pooling=pooling)
    assert model(torch.randn(2, 40, 3)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"sequences must be .* = \(batch, 40, 3\), got \(2, 3, 40\)"):
        model(torch.randn(2, 3, 40))


def test_small_classifiers_are_of_one_size():
    small = {name: preset for name, preset in PRESETS.items() if name.startswith("small-")}
    sizes = {name: parameters(models.build(preset.model, preset.arguments)) for name, preset in small.items()}
    assert {preset.arguments["mixer"] for preset in small.values()} == set(MIXERS)
    mamba = sizes["small-mamba"]
    assert all(abs(size - mamba) <= 0.03 * mamba for size in sizes.values()), sizes  # as page 6 says


def test_the_answer_is_made_from_what_its_pooling_says():
    x = torch.randn(2, 40, 1, dtype=torch.float64)
    for pooling, pool in (
        ("mean", lambda model, y: model.norm(y).sum(1) / 40),
        ("sum", lambda model, y: model.norm(y.sum(1))),
        ("last", lambda model, y: model.norm(y)[:, 39]),
    ):
        model = PixelClassifier("mamba", 16, n_layer=1, length=40, pooling=pooling).double()
        nn.init.normal_(model.norm.weight)
        y = model.embedding(x)
        y = y + model.blocks[0](model.norms[0](y))
        torch.testing.assert_close(model(x), model.head(pool(model, y)))


@pytest.mark.parametrize("pooling", ["mean", "sum", "last"])
def test_answers_to_prefixes_are_those_to_what_was_read(pooling):
    x = torch.randn(2, 40, 1, dtype=torch.float64)
    model, short = (PixelClassifier(length=length, pooling=pooling).double() for length in (40, 13))
    short.load_state_dict(model.state_dict())
    found = model(x, (13, 40))
    torch.testing.assert_close(found, torch.stack([short(x[:, :13]), model(x)], 1))


@pytest.mark.parametrize("model", [LinearClassifier, ConvClassifier, FlattenedClassifier, PixelClassifier])
def test_pixels_of_a_digit_to_logits_and_each_of_them_matters(model):
    torch.manual_seed(0)
    model, (pixels, _) = model().double(), mnist.sequences(mnist.load(train=False))
    pixels = pixels[:2].double().requires_grad_()
    logits = model(pixels)
    assert logits.shape == (2, 10)
    (gradient,) = torch.autograd.grad(logits[:, 0].sum(), pixels)
    assert (gradient != 0).double().mean() > (0.9 if isinstance(model, ConvClassifier) else 0.999)


@pytest.mark.parametrize(("mixer", "blocks"), [("mamba", 1), ("lstm", 1), ("attention", 2)])
def test_a_gated_linear_unit_follows_every_mixer(mixer, blocks):
    torch.manual_seed(0)
    model, x = PixelClassifier(mixer, 16, n_layer=1, length=40, glu=True).double(), torch.randn(2, 40, 1).double()
    assert parameters(model) == parameters(PixelClassifier(mixer, 16, n_layer=1)) + 2 * 16 * 17
    y = model.embedding(x)
    if mixer == "attention":
        y = y + models.sinusoidal_encoding(40, 16)
    assert "gates" not in dict(PixelClassifier(mixer, 16).named_children())
    gate = model.gates[0][1]  # the feed-forward network, attention's second block, has none
    for number in range(blocks):
        z = model.blocks[number](model.norms[number](y))
        if number == 0:
            one, other = nn.functional.linear(nn.functional.gelu(z), gate.weight, gate.bias).chunk(2, -1)
            z = one * other.sigmoid()
        y = y + z
    torch.testing.assert_close(model(x), model.head(model.norm(y).mean(1)))


@pytest.mark.parametrize("mixer", MIXERS)
def test_order_matters(mixer):
    torch.manual_seed(0)
    model, x = PixelClassifier(mixer, 32, length=40).double(), torch.randn(2, 40, 1, dtype=torch.float64)
    assert not torch.allclose(model(x), model(x.flip(1)))


def test_the_head_sees_no_positions():
    assert parameters(PixelClassifier(length=40)) == parameters(PixelClassifier(length=784))


def test_permutation_is_fixed_by_its_seed_and_kept_with_the_weights():
    torch.manual_seed(0)
    model = PixelClassifier(d_model=8, permutation=5)
    order = torch.randperm(784, generator=torch.Generator().manual_seed(5))
    plain = PixelClassifier(d_model=8)
    plain.load_state_dict({name: x for name, x in model.state_dict().items() if name != "order"})
    x = torch.randn(2, 784, 1)
    assert torch.equal(model(x), plain(x[:, order])) and torch.equal(model.state_dict()["order"], order)


def test_positional_encoding_follows_the_order_in_which_positions_are_read():
    torch.manual_seed(0)
    model, x = PixelClassifier(d_model=8, length=40, permutation=5, positional_encoding=True), torch.randn(2, 40, 1)
    seen = []
    model.norms[0].register_forward_hook(lambda module, given, result: seen.append(given[0]))
    model(x)
    t, i = torch.arange(40)[:, None], torch.arange(4)
    angles = t / 10_000 ** (2 * i / 8)  # Vaswani and others, section 3.5
    added = seen[0] - model.embedding(x[:, model.order])
    torch.testing.assert_close(added[..., 0::2], angles.sin().expand(2, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(added[..., 1::2], angles.cos().expand(2, -1, -1), atol=1e-5, rtol=0)
    assert PixelClassifier("attention", 8, length=40).positional_encoding
    assert not PixelClassifier(length=40).positional_encoding
    assert not PixelClassifier("attention", 8, length=40, positional_encoding=False).positional_encoding


@pytest.mark.parametrize("number", [0, -1, 41])
def test_an_answer_before_the_start_or_after_the_end_is_refused(number):
    with pytest.raises(ValueError, match=f"prefix_lengths must be from 1 to 40, got {number}"):
        PixelClassifier(d_model=8, length=40)(torch.zeros(2, 40, 1), prefix_lengths=[1, 40, number])


def test_dropout_is_for_training_only_and_drops_channels():
    torch.manual_seed(0)
    model, x = PixelClassifier(d_model=8, n_layer=1, dropout=0.5), torch.randn(1, 784, 1)
    assert not torch.equal(model(x), model(x))
    assert torch.equal(model.eval()(x), model(x))
    seen = []
    model.train().norm.register_forward_hook(lambda module, given, result: seen.append(given[0]))
    model(x)
    added = seen[0] - model.embedding(x)
    dropped = (added == 0).all(1)
    assert dropped.any() and not dropped.all() and ((added != 0).all(1) == ~dropped).all()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mixer": "rnn"}, "mixer must be one of mamba, mamba-rope, mamba2, mamba3, memoryless, s4d, lstm, attention"),
     ({"pooling": "max"}, "pooling must be 'mean', 'sum' or 'last', got 'max'"),
     ({"classes": 1}, "classes must be at least 2, got 1"),
     ({"length": 0}, "length must be at least 1, got 0"),
     ({"n_layer": 0}, "n_layer must be at least 1, got 0")],
)  # fmt: skip
def test_what_is_wrong_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelClassifier(**arguments)
    with pytest.raises(ValueError, match="mixer must be 'mamba', 'frozen' or 'identity', got 'none'"):
        FlattenedClassifier("none")


def test_recipe_without_its_block_is_the_linear_model():
    model, linear = FlattenedClassifier("identity"), LinearClassifier()
    linear[1].load_state_dict(model.head.state_dict())
    x = torch.randn(3, 784, 1)
    assert torch.equal(model(x), linear(x))
    frozen = FlattenedClassifier("frozen")
    assert [name for name, p in frozen.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_every_reported_training_can_be_built_and_is_small_enough():
    for name, preset in PRESETS.items():
        most = 500_000 if preset.model == "PixelGenerator" else 300_000
        assert parameters(models.build(preset.model, preset.arguments)) <= most, name


def test_flattened_classifier_reads_in_its_fixed_order():
    order = torch.randperm(784, generator=torch.Generator().manual_seed(5))
    model, plain = FlattenedClassifier("identity", permutation=5), FlattenedClassifier("identity")
    plain.load_state_dict({name: x for name, x in model.state_dict().items() if name != "order"})
    x = torch.randn(3, 784, 1)
    assert torch.equal(model(x), plain(x[:, order])) and torch.equal(model.state_dict()["order"], order)


@pytest.mark.parametrize("name", ["smnist", "psmnist"])
def test_a_published_classifier_comes_on_the_cpu_in_evaluation_mode(name):
    with torch.device("meta"):
        model = models.load_checkpoint(name)
    assert not any(module.training for module in model.modules())
    tensors = model.state_dict().values()
    assert {x.device.type for x in tensors} == {"cpu"} and all(p.requires_grad for p in model.parameters())


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    "arguments",
    [{"d_model": -1}, {"d_conv": -1}, {"dt_rank": 0}, {"expand": float("inf")}, {"n_layer": 2**62}, {"d_model": 2**62},
     {"d_conv": "x"}, {"mixer": []}, {"foo": 1}, {"self": 1}],
)  # fmt: skip
def test_what_no_classifier_can_be_built_from_is_one_kind_of_error(arguments):
    with pytest.raises(ValueError):
        models.build("PixelClassifier", arguments)
