"""The LSTM equals its equations."""

import math

import pytest
import torch

from helpers.layers import LSTM


def test_equals_its_equations():
    """Hochreiter and Schmidhuber, with a forget gate: input, forget, cell and output gate, in PyTorch's order."""
    torch.manual_seed(0)
    layer, x = LSTM(3).double(), torch.randn(2, 9, 3, dtype=torch.float64)
    weights = layer.lstm.weight_ih_l0, layer.lstm.weight_hh_l0
    bias = layer.lstm.bias_ih_l0 + layer.lstm.bias_hh_l0
    h = c = torch.zeros(2, 3, dtype=torch.float64)
    ys = []
    for x_t in x.unbind(1):
        i, f, g, o = (x_t @ weights[0].T + h @ weights[1].T + bias).chunk(4, -1)
        c = f.sigmoid() * c + i.sigmoid() * g.tanh()
        h = o.sigmoid() * c.tanh()
        ys.append(h)
    y, state = layer(x, return_state=True)
    torch.testing.assert_close(y, torch.stack(ys, 1))
    torch.testing.assert_close(state, (h[None], c[None]))


def test_the_state_is_output_and_cell_and_zero_at_first():
    layer = LSTM(3)
    assert [tuple(x.shape) for x in layer.initial_state(2)] == [(1, 2, 3)] * 2
    assert not any(x.any() for x in layer.initial_state(2))
    y, (h, _) = layer(torch.randn(2, 5, 3), return_state=True)
    assert torch.equal(h[0], y[:, -1])


def biases(layer):
    """What the gates start from: ``{gate: (d_model,)}``."""
    sums = layer.lstm.bias_ih_l0 + layer.lstm.bias_hh_l0
    return dict(zip(("input", "forget", "cell", "output"), sums.detach().chunk(4), strict=True))


def test_forget_gates_can_start_open():
    torch.manual_seed(0)
    plain, layer = LSTM(64), LSTM(64, forget_bias=1)
    found = biases(layer)
    assert torch.equal(found["forget"], torch.ones(64))
    for gate in ("input", "cell", "output"):  # as PyTorch draws them: two numbers between -1/8 and 1/8
        for other in (found[gate], biases(plain)[gate]):
            assert 0.05 < other.std() < 0.15 and other.abs().max() < 0.25


def test_chrono_initialization_spreads_time_scales():
    """A cell that keeps a share s of itself at every step forgets in 1 / (1 - s) steps."""
    torch.manual_seed(0)
    found = biases(LSTM(4000, longest=784))
    scales = 1 / (1 - found["forget"].double().sigmoid())
    assert 2 <= scales.min() < 10 and 770 < scales.max() <= 784
    assert abs(scales.mean() - (1 + 1 + 783) / 2) < 12, "uniformly: b = log(U), and 1 / (1 - sigmoid(b)) = 1 + U"
    assert torch.equal(found["input"], -found["forget"]) and found["cell"].abs().max() <= 2 / math.sqrt(4000)


def test_what_cannot_be_is_refused():
    with pytest.raises(ValueError, match=r"^either forget_bias or longest can be given, got 1 and 784$"):
        LSTM(3, forget_bias=1, longest=784)
    with pytest.raises(ValueError, match=r"^longest must be at least 3, got 2$"):
        LSTM(3, longest=2)
