"""What classifier and generator share: a sequence can be read at once, in pieces, or position by position."""

import pytest
import torch

from helpers.models import MIXERS, PixelClassifier, PixelGenerator, sinusoidal_encoding

N = 40
HEADS = {"mamba2": {"headdim": 16}, "mamba3": {"headdim": 16}}


def make(kind, mixer, **options):
    torch.manual_seed(0)
    return kind(mixer, 16, **HEADS.get(mixer, {}), **options).double().eval()


@pytest.mark.parametrize("glu", [False, True])
@pytest.mark.parametrize("mixer", MIXERS)
def test_pieces_and_single_positions_give_what_the_whole_gives(mixer, glu):
    model = make(PixelClassifier, mixer, length=N, glu=glu, positional_encoding=True)
    x = torch.randn(3, N, 1, dtype=torch.float64)
    whole = model.read(x)
    torch.testing.assert_close(model(x), model.head(model.norm(whole).mean(1)))
    first, memory = model.read(x[:, :15], return_memory=True)
    second, memory = model.read(x[:, 15:30], memory, return_memory=True)
    third = model.read(x[:, 30:], memory)
    torch.testing.assert_close(torch.cat([first, second, third], 1), whole)
    assert memory.position == 30
    memory, single = model.initial_memory(3), []
    for t in range(N):
        y, memory = model.step(x[:, t], memory)
        single.append(y)
    torch.testing.assert_close(torch.stack(single, 1), whole)


@pytest.mark.parametrize("mixer", MIXERS)
def test_reading_leaves_the_memory_that_it_was_given_as_it_was(mixer):
    """So that one beginning can be gone on from in several ways."""
    model, levels = make(PixelGenerator, mixer), torch.randint(0, 256, (2, N))
    _, memory = model.read(levels, return_memory=True)
    one = model.read(levels, memory)
    model.step(levels[:, 0], memory)
    torch.testing.assert_close(model.read(levels, memory), one, rtol=0, atol=0)


def test_positional_encoding_is_float32_whatever_the_width_and_goes_on():
    for d_model in (1, 7, 8):
        encoding = sinusoidal_encoding(5, d_model)
        assert encoding.shape == (5, d_model) and encoding.dtype == torch.float32
        assert torch.equal(sinusoidal_encoding(3, d_model, first=2), encoding[2:])
    assert sinusoidal_encoding(1, 7).tolist() == [[0, 1, 0, 1, 0, 1, 0]]
