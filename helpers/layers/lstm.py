"""Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997), with PyTorch's kernels."""

from torch import nn


class LSTM(nn.Module):
    """An LSTM as wide as the sequence, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    Its state is the pair of its output and its cell, each ``(1, batch, d_model)``, as in ``torch.nn.LSTM``.

    Args:
        d_model: width of the sequence, and of the cell.
    """

    def __init__(self, d_model):
        super().__init__()
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)

    def initial_state(self, batch):
        """The state before anything was read: zeros."""
        zeros = self.lstm.weight_hh_l0.new_zeros(1, batch, self.lstm.hidden_size)
        return zeros, zeros

    def forward(self, x, state=None, return_state=False):
        """Read a sequence, ``(batch, length, d_model)``, from ``state`` on; with ``return_state`` ``(y, state)``."""
        y, state = self.lstm(x, state)
        return (y, state) if return_state else y

    def step(self, x, state):
        """Read one position, ``(batch, d_model)``: returns ``(y, state)``, y in the shape of x."""
        y, state = self.lstm(x.unsqueeze(1), state)
        return y.squeeze(1), state
