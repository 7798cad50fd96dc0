"""Causal attention equals its formula."""

import pytest
import torch

from helpers.layers import Attention


def test_equals_its_formula():
    torch.manual_seed(0)
    layer, x = Attention(8, n_head=2).double(), torch.randn(3, 10, 8, dtype=torch.float64)
    q, k, v = layer.qkv(x).split(8, -1)
    heads = []
    for part in (slice(0, 4), slice(4, 8)):
        scores = q[..., part] @ k[..., part].mT / 2
        scores = scores.masked_fill(torch.ones(10, 10).triu(1).bool(), -torch.inf)
        heads.append(scores.softmax(-1) @ v[..., part])
    torch.testing.assert_close(layer(x), layer.out_proj(torch.cat(heads, -1)))


def test_its_state_grows_with_what_it_has_read():
    layer = Attention(8, n_head=2)
    for length in (0, 5):
        _, state = layer(torch.randn(3, length + 1, 8), layer.initial_state(3), return_state=True)
        assert [x.shape for x in state] == [(3, 2, length + 1, 4)] * 2


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="d_model must be a multiple of n_head = 4, got 6"):
        Attention(6)
