"""The classifier and what can be exchanged in it."""

import pytest
import torch
from torch import nn

from helpers import models, runs
from helpers.models import MIXERS, PixelClassifier


def parameters(model):
    return sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("mixer", MIXERS)
@pytest.mark.parametrize("pooling", ["mean", "sum", "last"])
def test_any_length_channels_and_classes(mixer, pooling):
    model = PixelClassifier(mixer, 16, length=40, channels=3, classes=4, pooling=pooling)
    assert model(torch.randn(2, 40, 3)).shape == (2, 4)
    with pytest.raises(ValueError, match=r"pixels must be .* = \(batch, 40, 3\), got \(2, 3, 40\)"):
        model(torch.randn(2, 3, 40))


@pytest.mark.parametrize("mixer", MIXERS)
def test_mixers_are_causal_and_reach_back_to_the_beginning(mixer):
    torch.manual_seed(0)
    x = torch.randn(2, 30, 16, dtype=torch.float64, requires_grad=True)
    for part in MIXERS[mixer]:
        y = part(16).double()(x)
        assert y.shape == x.shape
        (grad,) = torch.autograd.grad(y[:, 12].sum(), x)
        assert grad[:, 13:].abs().max() < 1e-12 and grad[:, 12].abs().max() > 1e-6  # S4D's FFT rounds
        if part not in (models.FeedForward, models.Memoryless):
            assert grad[:, 0].abs().max() > 1e-9


def test_without_memory_a_block_sees_what_its_convolution_sees():
    torch.manual_seed(0)
    block, x = models.Memoryless(8, d_state=4).double(), torch.randn(2, 30, 8, dtype=torch.float64, requires_grad=True)
    (grad,) = torch.autograd.grad(block(x)[:, 12].sum(), x)
    assert (grad[:, 9:13].abs().amax((0, 2)) > 1e-6).all() and not grad[:, :9].any() and not grad[:, 13:].any()
    optimizer = torch.optim.SGD(block.parameters(), lr=0.1)
    block(x).sum().backward()
    optimizer.step()
    assert (block.A_log == 30).all() and all(p.grad.isfinite().all() for p in block.parameters() if p.requires_grad)


def test_small_classifiers_are_of_one_size():
    small = {name: run for name, run in runs.RUNS.items() if name.startswith("small-")}
    sizes = {name: parameters(models.build(run["model"], run["arguments"])) for name, run in small.items()}
    assert {run["arguments"]["mixer"] for run in small.values()} == set(MIXERS)
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
def test_answers_on_the_way_are_those_to_what_was_read(pooling):
    x = torch.randn(2, 40, 1, dtype=torch.float64)
    model, short = (PixelClassifier(length=length, pooling=pooling).double() for length in (40, 13))
    short.load_state_dict(model.state_dict())
    found = model(x, (13, 40))
    torch.testing.assert_close(found, torch.stack([short(x[:, :13]), model(x)], 1))


@pytest.mark.parametrize("mixer", MIXERS)
def test_order_matters(mixer):
    torch.manual_seed(0)
    model, x = PixelClassifier(mixer, 16, length=40).double(), torch.randn(2, 40, 1, dtype=torch.float64)
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


def test_a_position_is_told_where_it_is_in_the_order_in_which_it_is_read():
    torch.manual_seed(0)
    model, x = PixelClassifier(d_model=8, length=40, permutation=5, places=True), torch.randn(2, 40, 1)
    seen = []
    model.norms[0].register_forward_hook(lambda module, given, result: seen.append(given[0]))
    model(x)
    t, i = torch.arange(40)[:, None], torch.arange(4)
    angles = t / 10_000 ** (2 * i / 8)  # Vaswani and others, section 3.5
    told = seen[0] - model.embedding(x[:, model.order])
    torch.testing.assert_close(told[..., 0::2], angles.sin().expand(2, -1, -1), atol=1e-5, rtol=0)
    torch.testing.assert_close(told[..., 1::2], angles.cos().expand(2, -1, -1), atol=1e-5, rtol=0)
    assert torch.equal(PixelClassifier("attention", 8, length=40).places, model.places)
    assert PixelClassifier(length=40).places is None
    assert PixelClassifier("attention", 8, length=40, places=False).places is None


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


def test_attention_equals_its_formula():
    torch.manual_seed(0)
    layer, x = models.Attention(8, n_head=2).double(), torch.randn(3, 10, 8, dtype=torch.float64)
    q, k, v = layer.qkv(x).split(8, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = q[..., part] @ k[..., part].mT / 2
        scores = scores.masked_fill(torch.ones(10, 10).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(layer(x), layer.out_proj(torch.cat(heads, -1)))
    with pytest.raises(ValueError, match="d_model must be a multiple of n_head = 4, got 6"):
        models.Attention(6)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [({"mixer": "rnn"}, "mixer must be one of mamba, rotary, memoryless, s4d, lstm, attention, got 'rnn'"),
     ({"pooling": "max"}, "pooling must be 'mean', 'sum' or 'last', got 'max'")],
)  # fmt: skip
def test_what_is_wrong_is_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        PixelClassifier(**arguments)
    with pytest.raises(ValueError, match="mixer must be 'mamba', 'frozen' or 'identity', got 'none'"):
        models.FlattenedClassifier("none")


def test_recipe_without_its_block_is_the_linear_model():
    model, linear = models.FlattenedClassifier("identity"), models.LinearClassifier()
    linear[1].load_state_dict(model.head.state_dict())
    x = torch.randn(3, 784, 1)
    assert torch.equal(model(x), linear(x))
    frozen = models.FlattenedClassifier("frozen")
    assert [name for name, p in frozen.named_parameters() if p.requires_grad] == ["head.weight", "head.bias"]


def test_every_reported_training_can_be_built_and_is_small_enough():
    for name, run in runs.RUNS.items():
        assert parameters(models.build(run["model"], run["arguments"])) <= 300_000, name
