"""Long short-term memory (Hochreiter and Schmidhuber, Neural Computation 9, 1997), with PyTorch's kernels."""

import torch
from torch import nn


class LSTM(nn.Module):
    """An LSTM as wide as the sequence, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    Its state is the pair of its output and its cell, each ``(1, batch, d_model)``, as in ``torch.nn.LSTM``.

    Args:
        d_model: width of the sequence, and of the cell.
        forget_bias: initial bias of the forget gates. PyTorch draws one around 0, with which half of the cell is gone
            after a step; with 1 a cell starts by remembering (Jozefowicz, Zaremba and Sutskever, ICML 2015).
        longest: the longest dependency that is expected, in positions. Then the gates start with time scales between 1
            and that many positions ("chrono initialization": Tallec and Ollivier, arXiv 1804.11188, section 3).

    Raises:
        ValueError: if both are given, or ``longest`` is less than 3.
    """

    def __init__(self, d_model, forget_bias=None, longest=None):
        super().__init__()
        if forget_bias is not None and longest is not None:
            raise ValueError(f"either forget_bias or longest can be given, got {forget_bias} and {longest}")
        if longest is not None and longest < 3:
            raise ValueError(f"longest must be at least 3, got {longest}")
        self.lstm = nn.LSTM(d_model, d_model, batch_first=True)
        if forget_bias is not None:
            self._start("forget", torch.full((d_model,), float(forget_bias)))
        elif longest is not None:
            remembering = torch.log(torch.empty(d_model).uniform_(1, longest - 1))
            self._start("forget", remembering)
            self._start("input", -remembering)

    def _start(self, gate, bias):
        """Let the two biases of a gate, which PyTorch adds, start with this sum."""
        gates = ("input", "forget", "cell", "output")
        with torch.no_grad():
            self.lstm.bias_ih_l0.chunk(4)[gates.index(gate)].copy_(bias)
            self.lstm.bias_hh_l0.chunk(4)[gates.index(gate)].zero_()

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
