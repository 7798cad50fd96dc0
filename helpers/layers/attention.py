"""Causal multi-head attention, and the small network that follows it in a Transformer.

Source: Vaswani and others, "Attention Is All You Need", arXiv 1706.03762, sections 3.2 and 3.3.
"""

import torch
import torch.nn.functional as F
from torch import nn


class Attention(nn.Module):
    """Causal attention, ``(batch, length, d_model)`` to ``(batch, length, d_model)``.

    Its state is the cache of keys and values, each ``(batch, n_head, positions read, d_model / n_head)``: it grows.

    Args:
        d_model: width of the sequence, a multiple of ``n_head``.
        n_head: heads, each ``d_model / n_head`` wide.
    """

    def __init__(self, d_model, n_head=4):
        super().__init__()
        if d_model % n_head:
            raise ValueError(f"d_model must be a multiple of n_head = {n_head}, got {d_model}")
        self.n_head = n_head
        self.qkv = nn.Linear(d_model, 3 * d_model, bias=False)
        self.out_proj = nn.Linear(d_model, d_model, bias=False)

    def initial_state(self, batch):
        """The state before anything was read: no keys and no values."""
        empty = self.qkv.weight.new_zeros(batch, self.n_head, 0, self.qkv.in_features // self.n_head)
        return empty, empty

    def forward(self, x, state=None, return_state=False):
        """Read a sequence, ``(batch, length, d_model)``, after ``state``; with ``return_state`` ``(y, state)``."""
        q, k, v = (part.unflatten(-1, (self.n_head, -1)).transpose(1, 2) for part in self.qkv(x).chunk(3, -1))
        if state is None:
            y = F.scaled_dot_product_attention(q, k, v, is_causal=True)  # (batch, n_head, length, d_model / n_head)
        else:
            k, v = (torch.cat([earlier, now], 2) for earlier, now in zip(state, (k, v), strict=True))
            length, positions = q.shape[2], k.shape[2]
            seen = torch.ones(length, positions, dtype=torch.bool, device=x.device).tril(positions - length)
            y = F.scaled_dot_product_attention(q, k, v, attn_mask=seen)
        y = self.out_proj(y.transpose(1, 2).flatten(-2))
        return (y, (k, v)) if return_state else y

    def step(self, x, state):
        """Read one position, ``(batch, d_model)``: returns ``(y, state)``, y in the shape of x."""
        y, state = self.forward(x.unsqueeze(1), state, return_state=True)
        return y.squeeze(1), state


class FeedForward(nn.Sequential):
    """What follows attention in a Transformer: each position on its own, through twice the width.

    It ignores ``n_head``, which it gets because both parts of a Transformer's layer get the same options.
    """

    def __init__(self, d_model, n_head=None):
        super().__init__(nn.Linear(d_model, 2 * d_model), nn.GELU(), nn.Linear(2 * d_model, d_model))
