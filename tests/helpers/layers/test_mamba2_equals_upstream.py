"""Our Mamba-2 and upstream's, unmodified, with the same weights; and transformers' as a second opinion."""

import sys

import pytest
import torch
from scan_cases import assert_equal, error, random_sum
from upstream2 import mamba2, references, ssd_combined, ssd_minimal  # noqa: F401  a fixture

from helpers.layers import Mamba2
from helpers.ssd import FORMS, ssd

pytestmark = pytest.mark.own_process()
BOUND = 1e-5

OPTIONS = [
    {"d_model": 8, "headdim": 4, "d_state": 6, "chunk_size": 8},
    {"d_model": 8, "headdim": 4, "d_state": 5, "ngroups": 2, "D_has_hdim": True, "bias": True, "conv_bias": False},
    {"d_model": 8, "headdim": 2, "d_state": 5, "rmsnorm": False, "dt_limit": (0.01, 0.05), "expand": 1, "d_conv": 2},
    {"d_model": 8, "headdim": 2, "d_ssm": 8, "norm_before_gate": True, "A_init_range": (2, 3), "conv_init": 0.1},
]


def pair(**options):
    """Upstream's block and ours, with the same weights."""
    torch.manual_seed(0)
    theirs, ours = mamba2.Mamba2(use_mem_eff_path=False, **options), Mamba2(**options)
    ours.load_state_dict(theirs.state_dict())
    return theirs, ours


def block_with_gradients(block, x):
    """Output, and the gradients of a random sum of it: of the input and of every parameter."""
    x = x.clone().requires_grad_()
    y = block(x)
    names, parameters = zip(*sorted(block.named_parameters()), strict=True)
    return dict(zip(["y", "dx", *names], [y, *torch.autograd.grad(random_sum(y), [x, *parameters])], strict=True))


@pytest.mark.parametrize("batch, length", [(2, 20), (3, 1), (1, 150)])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_is_ours(references, options, batch, length):  # noqa: F811
    theirs, ours = pair(**options)
    x = torch.randn(batch, length, options["d_model"])
    assert_equal(block_with_gradients(ours, x), block_with_gradients(theirs, x), bound=BOUND)


@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_has_our_parameters(options):
    torch.manual_seed(0)
    theirs = mamba2.Mamba2(**options)
    torch.manual_seed(0)
    ours = Mamba2(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, x in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], x), name  # drawn from one seed, in one order
    marked = {name for name, p in theirs.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == set(Mamba2.no_weight_decay)


def test_a_checkpoint_travels_both_ways(references, tmp_path):  # noqa: F811
    theirs, ours = pair(**OPTIONS[0])
    x = torch.randn(2, 9, 8)
    ours(x).square().sum().backward()
    torch.optim.SGD(ours.parameters(), 0.1).step()
    torch.save(ours.state_dict(), tmp_path / "block.pt")
    assert error(theirs(x), ours(x)) > 1e-4
    theirs.load_state_dict(torch.load(tmp_path / "block.pt", weights_only=True))
    assert error(theirs(x), ours(x)) < BOUND


@pytest.mark.parametrize("options", [OPTIONS[0], {**OPTIONS[3], "d_state": 7}])
def test_one_token_at_a_time(references, options):  # noqa: F811
    """From the initial state on, by upstream's own step in plain PyTorch."""
    theirs, ours = pair(**options)
    x, state = torch.randn(2, 12, 8), ours.initial_state(2)
    window, h = theirs.allocate_inference_cache(2, 12)
    with torch.no_grad():
        for t in range(12):
            expected, window, h = theirs.step(x[:, t : t + 1], window, h)
            y, state = ours.step(x[:, t], state)
            assert error(y, expected[:, 0]) < BOUND and error(state.ssm_state, h) < BOUND
            assert error(state.conv_state, window[..., 1:]) < BOUND


@pytest.mark.parametrize("form", FORMS)
def test_the_scan_is_upstreams_listing(form):
    """``ssd_minimal_discrete`` of the paper, and ``ssd_chunk_scan_combined_ref``, in float64."""
    torch.manual_seed(0)
    x, z = torch.randn(2, 2, 24, 4, 3, dtype=torch.float64)
    dt, A = torch.rand(2, 24, 4, dtype=torch.float64), -torch.rand(4, dtype=torch.float64)
    B, C = torch.randn(2, 2, 24, 2, 5, dtype=torch.float64)
    D, h = torch.randn(4, dtype=torch.float64), torch.randn(2, 4, 3, 5, dtype=torch.float64)
    y, last = ssd(x, dt, A, B, C, initial_state=h, return_last_state=True, form=form, chunk_size=6)
    heads = (form.repeat_interleave(2, 2) for form in (B, C))
    theirs = ssd_minimal.ssd_minimal_discrete(x * dt.unsqueeze(-1), A * dt, *heads, 8, initial_states=h.unsqueeze(1))
    assert error(y, theirs[0]) < 1e-12 and error(last, theirs[1]) < 1e-12
    y = ssd(x, dt, A, B, C, D, z, form=form, chunk_size=6)
    theirs = ssd_combined.ssd_chunk_scan_combined_ref(x, dt, A, B, C, 8, D=D, z=z)
    assert error(y, theirs) < 1e-6  # upstream's steps are cast to float32


def test_transformers_has_the_same_block(monkeypatch):
    configuration = pytest.importorskip("transformers").Mamba2Config
    monkeypatch.setitem(sys.modules, "mamba_ssm", None)  # whose kernels it would take in place of its own code
    from transformers.models.mamba2.modeling_mamba2 import Mamba2Mixer

    torch.manual_seed(0)
    options = {"hidden_size": 8, "head_dim": 4, "num_heads": 4, "state_size": 6, "n_groups": 2, "chunk_size": 8}
    theirs = Mamba2Mixer(configuration(**options, layer_norm_epsilon=1e-5, expand=2), 0)
    ours = Mamba2(8, d_state=6, headdim=4, ngroups=2)
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 21, 8)
    assert_equal(block_with_gradients(ours, x), block_with_gradients(theirs, x), bound=BOUND)
