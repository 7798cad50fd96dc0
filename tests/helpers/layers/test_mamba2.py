"""Mamba-2's norm is its formula, and sizes that do not fit are named."""

import pytest
import torch

from helpers.layers import Mamba2
from helpers.layers.mamba2 import GatedRMSNorm


@pytest.mark.parametrize("before", [False, True])
def test_gated_norm_is_its_formula(before):
    torch.manual_seed(0)
    norm, x, z = GatedRMSNorm(6, group_size=3, norm_before_gate=before).double(), *torch.randn(2, 5, 6).double()
    torch.nn.init.normal_(norm.weight)
    gate = z / (1 + torch.exp(-z))
    y = x if before else x * gate
    rms = (y.view(5, 2, 3).square().mean(-1, keepdim=True) + 1e-5).sqrt()
    y = (y.view(5, 2, 3) / rms).view(5, 6) * norm.weight
    torch.testing.assert_close(norm(x, z), y * gate if before else y)


@pytest.mark.parametrize(
    "options, said",
    [
        ({"headdim": 5}, r"d_ssm must be a multiple of headdim = 5, at most expand \* d_model = 16, got 16"),
        ({"d_ssm": 20}, r"d_ssm must be a multiple of headdim = 4, at most expand \* d_model = 16, got 20"),
        ({"ngroups": 3}, "ngroups must divide the 4 heads, got 3"),
    ],
)
def test_what_cannot_be_is_named(options, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        Mamba2(8, **{"headdim": 4, "d_state": 8, **options})


@pytest.mark.parametrize("x", [torch.ones(2, 8), torch.ones(2, 3, 7)])
def test_a_sequence_of_another_shape_is_named(x):
    with pytest.raises(ValueError, match=r"^x must be \(batch, length, d_model\) with d_model = 8, got \(2, "):
        Mamba2(8, headdim=4, d_state=8)(x)
