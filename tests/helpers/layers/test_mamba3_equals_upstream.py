"""Our Mamba-3 and upstream's ``Mamba3``, unmodified, with the same weights, its Triton kernels interpreted."""

import pytest
import torch
from scan_cases import error
from upstream2 import interpreted, mamba3  # noqa: F401  a fixture

from helpers.layers import Mamba3

pytestmark = [pytest.mark.own_process(TRITON_INTERPRET="1", OMP_NUM_THREADS="1"), pytest.mark.slow]

OPTIONS = [
    {"d_model": 16, "headdim": 16, "d_state": 16},
    {"d_model": 16, "headdim": 16, "d_state": 16, "ngroups": 2, "rope_fraction": 1.0},
    {"d_model": 16, "headdim": 16, "d_state": 16, "is_outproj_norm": True},
]


@pytest.mark.parametrize("options", [*OPTIONS, {"d_model": 12, "headdim": 8, "d_state": 10, "A_floor": 0.01}])
def test_the_block_has_our_parameters(options):
    torch.manual_seed(0)
    theirs = mamba3.Mamba3(**options)
    torch.manual_seed(0)
    ours = Mamba3(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, x in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], x), name


@pytest.mark.parametrize("length", [5, 37])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_is_ours(interpreted, options, length):  # noqa: F811
    torch.manual_seed(0)
    theirs, ours = mamba3.Mamba3(chunk_size=16, **options), Mamba3(chunk_size=8, **options)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, length, 16)
    with torch.no_grad():
        assert error(ours(x), theirs(x)) < 1e-5
