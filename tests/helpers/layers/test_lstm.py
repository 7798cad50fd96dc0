"""The LSTM equals its equations."""

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
