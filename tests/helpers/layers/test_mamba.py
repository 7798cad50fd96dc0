"""The Mamba block alone; against upstream's it is held in ``test_mamba_equals_upstream.py``."""

import pytest
import torch
import torch.nn.functional as F
from scan_cases import error, random_sum

from helpers.layers import Mamba, Memoryless
from helpers.scan import backends

OPTIONS = [
    {"d_model": 16},
    {"d_model": 6, "d_state": 5, "expand": 1, "d_conv": 3},
    {"d_model": 1, "d_conv": 1, "bias": True, "conv_bias": False},
]
needs_numba = pytest.mark.skipif("numba" not in backends("cpu"), reason="there is no fused kernel here")


def block_and_input(dtype=torch.float32, length=11, **options):
    torch.manual_seed(0)
    block = Mamba(**options).to(dtype)
    return block, torch.randn(2, length, options["d_model"], dtype=dtype)


def gradients(y, block, names=None):
    return torch.autograd.grad(
        random_sum(y), [block.get_parameter(name) for name in names or dict(block.named_parameters())]
    )


@pytest.mark.parametrize("options", OPTIONS)
def test_a_second_opinion(options):
    """The mixer of transformers, written by others. Without upstream's kernel it has a scan of its own."""
    pytest.importorskip("transformers", reason="transformers comes with mamba-ssm: make install-mamba-ssm")
    from transformers import MambaConfig
    from transformers.models.mamba.modeling_mamba import MambaMixer

    block, x = block_and_input(**options)
    config = MambaConfig(
        hidden_size=options["d_model"],
        state_size=block.d_state,
        conv_kernel=block.conv1d.kernel_size[0],
        expand=options.get("expand", 2),
        time_step_rank=block.dt_rank,
        use_bias=options.get("bias", False),
        use_conv_bias=options.get("conv_bias", True),
        num_hidden_layers=1,
    )
    theirs = MambaMixer(config, layer_idx=0)
    theirs.load_state_dict(block.state_dict())
    y, expected, names = block(x), theirs(x), list(dict(block.named_parameters()))
    assert error(y, expected) < 1e-5
    for name, found, exact in zip(names, gradients(y, block), gradients(expected, theirs, names), strict=True):
        assert error(found, exact) < 1e-5, name


@pytest.mark.parametrize("options", OPTIONS)
def test_the_state_has_the_shapes_of_its_parts(options):
    block, x = block_and_input(**options)
    d_inner = len(block.D)
    for state, position in ((block.initial_state(2), 0), (block(x, return_state=True)[1], 11)):
        assert state.conv_state.shape == (2, d_inner, options.get("d_conv", 4) - 1)
        assert state.ssm_state.shape == (2, d_inner, block.d_state) and state.position == position


@pytest.mark.parametrize("options", OPTIONS)
def test_step_sizes_are_those_that_the_block_computes_with(options):
    """By hand, from the input to softplus; and a block whose step sizes are replaced by them has the same output."""
    block, x = block_and_input(torch.float64, **options)
    found = block.step_sizes(x)
    u = F.linear(x, block.in_proj.weight, block.in_proj.bias)[..., : len(block.D)].mT
    u = F.pad(u, (block.conv1d.kernel_size[0] - 1, 0))
    u = F.silu(F.conv1d(u, block.conv1d.weight, block.conv1d.bias, groups=len(block.D))).mT
    dt = F.linear(u, block.x_proj.weight)[..., : block.dt_rank]
    expected = F.softplus(block.dt_proj(dt))
    assert found.shape == (2, 11, len(block.D)) and error(found, expected) < 1e-14
    state, A = block.initial_state(2), -block.A_log.exp()
    for t in range(x.shape[1]):  # in step it decays the state: with input and gate the same, h follows from delta alone
        after = block.step(x[:, t], state)[1]
        _, B, _ = F.linear(u[:, t], block.x_proj.weight).split([block.dt_rank, block.d_state, block.d_state], -1)
        delta = found[:, t].unsqueeze(-1)
        h = torch.exp(delta * A) * state.ssm_state + delta * u[:, t].unsqueeze(-1) * B.unsqueeze(1)
        assert error(after.ssm_state, h) < 1e-13
        state = after
    assert Mamba(4).bfloat16().step_sizes(torch.zeros(1, 3, 4, dtype=torch.bfloat16)).dtype == torch.float32


def test_initial_step_sizes_lie_between_their_bounds():
    steps = F.softplus(Mamba(64, dt_min=0.002, dt_max=0.05).dt_proj.bias)
    assert 0.002 <= steps.min() < 0.004 and 0.025 < steps.max() <= 0.0501
    assert F.softplus(Mamba(64, dt_min=1e-6, dt_max=1e-5).dt_proj.bias).min() > 0.99e-4, "the floor"


def test_initial_step_sizes_are_log_uniform_and_their_weights_as_the_options_say():
    torch.manual_seed(0)
    block = Mamba(1000, dt_rank=4, dt_scale=3)
    steps = F.softplus(block.dt_proj.bias)
    assert 0.45 < (steps < 0.01).float().mean() < 0.55, "half of them below the geometric mean of 0.001 and 0.1"
    weights = block.dt_proj.weight.abs()
    assert 1.49 < weights.max() <= 1.5 and 0.7 < weights.mean() < 0.8, "uniform, up to dt_scale / sqrt(dt_rank)"
    assert (Mamba(8, dt_rank=4, dt_init="constant").dt_proj.weight == 0.5).all()
    assert [Mamba(d_model).dt_rank for d_model in (1, 16, 17)] == [1, 1, 2]


def test_memoryless_cannot_learn_to_remember():
    torch.manual_seed(0)
    block, x = Memoryless(8, d_state=4).double(), torch.randn(2, 30, 8, dtype=torch.float64)
    block(x).sum().backward()
    torch.optim.SGD(block.parameters(), lr=0.1).step()
    assert (block.A_log == 30).all() and all(p.grad.isfinite().all() for p in block.parameters() if p.requires_grad)


@needs_numba
def test_under_compile():
    """As one graph with its gradients; the compiler behind it, Inductor, would need a C++ compiler."""
    block, x = block_and_input(d_model=16)
    y, expected = torch.compile(block, fullgraph=True, backend="aot_eager")(x), block(x)
    assert error(y, expected) < 1e-6
    for found, exact in zip(gradients(y, block), gradients(expected, block), strict=True):
        assert error(found, exact) < 1e-5


@pytest.mark.parametrize(
    "call, said",
    [
        (
            lambda block: block(torch.zeros(2, 11, 15)),
            r"x must be \(batch, length, d_model\) with d_model = 16, got \(2, 11, 15\)",
        ),
        (lambda block: block(torch.zeros(2, 16)), r"x must be \(batch, length, d_model\) .*, got \(2, 16\)"),
        (lambda block: block.step_sizes(torch.zeros(2, 16)), r"x must be \(batch, length, d_model\) .*, got \(2, 16\)"),
        (
            lambda block: block.step(torch.zeros(2, 3, 16), None),
            r"x must be \(batch, d_model\) .* 16, got \(2, 3, 16\)",
        ),
        (lambda block: block(torch.zeros(2, 0, 16)), r"x must have at least one position, got \(2, 0, 16\)"),
        (lambda block: Mamba(16, dt_init="zero"), "dt_init must be 'random' or 'constant', got 'zero'"),
    ],
)
def test_errors_name_the_argument(call, said):
    with pytest.raises(ValueError, match=said):
        call(Mamba(16))
