"""The generator: what it may see of a digit, what a digit costs, and what it draws."""

import math

import pytest
import torch

from helpers import mnist
from helpers.models import MIXERS, PixelGenerator

N = 40
HEADS = {"mamba2": {"headdim": 16}, "mamba3": {"headdim": 16}}


def make(mixer="mamba", **options):
    torch.manual_seed(0)
    return PixelGenerator(mixer, 16, **HEADS.get(mixer, {}), **options).double().eval()


@pytest.fixture
def levels():
    return torch.randint(0, 256, (3, N), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


@pytest.mark.parametrize("mixer", MIXERS)
def test_no_prediction_depends_on_its_own_pixel_or_a_later_one(mixer, levels):
    """The gradient by what the layers are given: prediction t is made from the start token and pixels 0 to t - 1."""
    model, seen = make(mixer), []
    model.embedding.register_forward_hook(lambda module, given, result: seen.append(result.requires_grad_()))
    logits = model(levels)
    assert logits.shape == (3, N, 256)
    for t in (0, 17, N - 1):
        (gradient,) = torch.autograd.grad(logits[:, t].square().sum(), seen[0], retain_graph=True)
        size = gradient.abs().amax((0, 2))  # (N,): place 0 is the start token, place t is pixel t - 1
        sees = size > 1e-12 * size.max()  # S4D's Fourier transforms round
        assert not sees[t + 1 :].any() and sees[t] and sees[0] == (t < 4 or mixer != "memoryless")
    changed = levels.clone()
    changed[:, 20] += 100
    same = ((model(changed) - logits).abs() < 1e-12).all(-1).all(0)
    assert same[:21].all() and not same[21]


def test_bits_are_a_probability_of_every_possible_digit():
    """Over all digits of three pixels with four levels the likelihoods sum to one."""
    model = make(levels=4)
    every = torch.cartesian_prod(*[torch.arange(4)] * 3)  # (64, 3)
    bits = model.bits(every)
    assert bits.shape == (64, 3) and torch.exp2(-bits.sum(1)).sum().item() == pytest.approx(1, rel=1e-12)
    predicted = model(every).log_softmax(-1).gather(-1, every[..., None])[..., 0]
    torch.testing.assert_close(bits, -predicted / math.log(2))


def test_a_class_takes_the_place_of_the_start_token(levels):
    model, labels = make(classes=10), torch.tensor([3, 1, 4])
    told, untold = model.bits(levels, labels), model.bits(levels)
    assert not torch.allclose(told, untold)
    torch.testing.assert_close(model.bits(levels[1:], labels[1:]), told[1:])
    assert model.start(3).tolist() == [256] * 3 and model.start(3, labels).tolist() == [260, 258, 261]
    tokens = model.train().start(2_000, torch.full((2_000,), 7))
    assert set(tokens.tolist()) == {256, 264} and 0.45 < (tokens == 256).double().mean() < 0.55, "half are hidden"
    with pytest.raises(ValueError, match="labels must be None for a generator with classes = 0"):
        make().bits(levels, labels)


@pytest.mark.parametrize("mixer", MIXERS)
def test_the_likeliest_digit_is_what_the_predictions_say(mixer):
    model = make(mixer)
    digit = model.draw(2, length=12, temperature=0)
    assert digit.shape == (2, 12) and digit.dtype == torch.uint8 and torch.equal(digit[0], digit[1])
    assert torch.equal(model(digit).argmax(-1), digit.long())


def test_what_is_drawn_follows_the_distribution():
    """Frequencies of 4,000 digits of two pixels against the probabilities of all sixteen, at two temperatures."""
    model = make(levels=4)
    torch.nn.init.normal_(model.head.weight)
    every = torch.cartesian_prod(torch.arange(4), torch.arange(4))
    for temperature in (1.0, 0.5):
        steps = (model(every) / temperature).log_softmax(-1).gather(-1, every[..., None])[..., 0]
        expected = steps.sum(1).exp()
        drawn = model.draw(4_000, length=2, temperature=temperature).long()
        found = torch.bincount(drawn[:, 0] * 4 + drawn[:, 1], minlength=16) / 4_000
        assert (found - expected).abs().max() < 4 * math.sqrt(0.25 / 4_000)
        assert expected.max() > 0.15, "they are not all alike"


def test_drawing_goes_on_from_what_is_given_and_repeats_with_its_seed(levels):
    model = make(classes=10)
    one = model.draw(2, given=levels[0, :25], length=N, labels=7, seed=3)
    assert torch.equal(one[:, :25], levels[0, :25].expand(2, -1)) and not torch.equal(one[0], one[1])
    assert torch.equal(model.draw(2, given=levels[0, :25], length=N, labels=7, seed=3), one)
    assert not torch.equal(model.draw(2, given=levels[0, :25], length=N, labels=7, seed=4), one)
    assert torch.equal(model.draw(3, given=levels, length=N), levels), "nothing is left to draw"
    with pytest.raises(ValueError, match="temperature must be 0 or more, got -1"):
        model.draw(1, temperature=-1)


@pytest.mark.parametrize(
    ("levels", "found"),
    [(torch.zeros(2, 784), "(2, 784), torch.float32"), (torch.zeros(2, 784, 1, dtype=torch.uint8), "(2, 784, 1)"),
     (torch.zeros(2, 0, dtype=torch.uint8), "(2, 0)")],
)  # fmt: skip
def test_what_are_no_levels_is_named(levels, found):
    with pytest.raises(ValueError, match="levels must be whole numbers") as error:
        make()(levels)
    assert found in str(error.value)


def test_what_is_wrong_is_named():
    for arguments, message in (
        ({"levels": 1}, "levels must be at least 2, got 1"),
        ({"classes": -1}, "classes must be at least 0, got -1"),
        ({"mixer": "rnn"}, "mixer must be one of mamba"),
    ):
        with pytest.raises(ValueError, match=message):
            PixelGenerator(**arguments)


def test_levels_of_digits():
    digits = mnist.load(train=False)
    levels, labels = mnist.levels(digits)
    assert levels.shape == (10_000, 784) and levels.dtype == torch.uint8 and torch.equal(labels, digits.targets)
    assert torch.equal(levels.view(-1, 28, 28), digits.data)
