"""A Mamba block with rotary position embedding: what it changes of Mamba's, and that it knows distances alone."""

import math

import pytest
import torch
from scan_cases import error
from torch import nn

from helpers.layers import Mamba, MambaRoPE


def block_and_input():
    torch.manual_seed(0)
    block = MambaRoPE(16, d_state=6, periods=(5, 40)).double()
    for bias in (block.B_bias, block.C_bias):
        nn.init.normal_(bias)
    return block, torch.randn(2, 23, 16, dtype=torch.float64, requires_grad=True)


def test_is_a_mamba_with_b_and_c_shifted_and_turned():
    block, x = block_and_input()
    plain = Mamba(16, d_state=6).double()
    state = block.state_dict()
    biases = [state.pop("B_bias"), state.pop("C_bias")]
    state["A_log"] = state["A_log"].repeat(1, 2)
    plain.load_state_dict(state)  # in all else the parameters are the same
    u = torch.randn(2, 23, 32, dtype=torch.float64)
    periods = torch.logspace(math.log10(5), math.log10(40), 3, dtype=torch.float64)
    phases = torch.exp(
        2j * math.pi * (7 + torch.arange(23, dtype=torch.float64)[:, None]) / periods
    )  # (length, d_state / 2)
    (dt, *turned), (dt_plain, *expected) = block._select(u, 7), plain._select(u, 7)
    assert torch.equal(dt, dt_plain)
    for found, exact, bias in zip(turned, expected, biases, strict=True):
        found, exact = (torch.complex(*pairs.chunk(2, -1)) for pairs in (found, exact + bias))
        assert error(torch.view_as_real(found), torch.view_as_real(exact * phases)) < 1e-12
    assert error(block(x), plain(x)) > 1e-3
    block.periods = (1e300, 1e300)
    for bias in (block.B_bias, block.C_bias):
        bias.data.zero_()
    assert error(block(x), plain(x)) < 1e-12


def test_knows_distances_and_no_positions():
    block, x = block_and_input()
    nn.init.normal_(block.A_log)
    start = block.initial_state(2)
    assert error(block(x, start._replace(position=301)), block(x, start)) < 1e-12
    state = block(x[:, :11], return_state=True)[1]  # a pause: what was read is further away than it was
    paused = state._replace(position=state.position + 3)
    assert error(block(x[:, 11:], paused), block(x[:, 11:], state)) > 1e-3


def test_starts_with_biases_of_one_and_needs_pairs():
    block = MambaRoPE(16, d_state=6)
    assert (block.B_bias == 1).all() and (block.C_bias == 1).all() and block.A_log.shape == (32, 3)
    assert torch.allclose(2 * math.pi / block.angles, torch.tensor([4, 56, 784], dtype=torch.float64))
    with pytest.raises(ValueError, match="d_state must be even and at least 2, got 5"):
        MambaRoPE(16, d_state=5)
