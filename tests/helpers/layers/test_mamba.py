"""The Mamba block by itself; against upstream's it is held in ``upstream.py``, which ``test_official.py`` runs."""

import copy
import math

import pytest
import torch
from test_scan import error
from torch import nn

from helpers.layers.mamba import Mamba, MambaRoPE
from helpers.scan import backends

OPTIONS = [
    {"d_model": 16},
    {"d_model": 6, "d_state": 5, "expand": 1, "d_conv": 3},
    {"d_model": 1, "d_conv": 1, "bias": True, "conv_bias": False},
]


def block_and_input(dtype=torch.float32, length=11, **options):
    torch.manual_seed(0)
    block = Mamba(**options).to(dtype)
    return block, torch.randn(2, length, options["d_model"], dtype=dtype)


def gradients_of(y, *leaves):
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    return torch.autograd.grad((y * weight).sum(), leaves)


def gradients(y, block):
    return gradients_of(y, *block.parameters())


def stepped(block, x, state):
    ys = []
    for t in range(x.shape[1]):
        y, state = block.step(x[:, t], state)
        ys.append(y)
    return torch.stack(ys, 1), state


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("options", OPTIONS)
def test_parallel_equals_step_by_step(options, dtype, bound):
    block, x = block_and_input(dtype, **options)
    y, state = block(x, return_state=True)
    ys, last = stepped(block, x, block.initial_state(2))
    assert y.dtype == ys.dtype == dtype and y.shape == x.shape
    assert error(ys, y) < bound and error(last.h, state.h) < bound
    assert torch.equal(block(x), y)
    assert last.window.shape == state.window.shape == (2, block.D.numel(), options.get("d_conv", 4) - 1)
    assert not state.window.numel() or error(last.window, state.window) < bound
    for found, expected in zip(gradients(ys, block), gradients(y, block), strict=True):
        assert error(found, expected) < 10 * bound


@pytest.mark.parametrize("cut", [1, 2, 7, 10])
@pytest.mark.parametrize("options", OPTIONS)
def test_a_prefix_in_parallel_and_the_rest_from_its_state(options, cut):
    block, x = block_and_input(**options)
    whole, end = block(x, return_state=True)
    start, state = block(x[:, :cut], return_state=True)
    parallel, one = block(x[:, cut:], state, return_state=True)
    assert torch.equal(block(x[:, cut:], state), parallel)
    steps, other = stepped(block, x[:, cut:], state)
    for rest, last in ((parallel, one), (steps, other)):
        assert error(torch.cat([start, rest], 1), whole) < 2e-6
        assert error(last.h, end.h) < 2e-6
        assert not end.window.numel() or error(last.window, end.window) < 2e-6
    for found, expected in zip(gradients(torch.cat([start, parallel], 1), block), gradients(whole, block), strict=True):
        assert error(found, expected) < 1e-5


@pytest.mark.parametrize("options", OPTIONS)
def test_nothing_is_seen_of_the_future(options):
    block, x = block_and_input(**options)
    changed = x.clone()
    changed[:, 6:] += 1
    assert torch.equal(block(x)[:, :6], block(changed)[:, :6])
    assert not torch.equal(block(x)[:, 6], block(changed)[:, 6])


def test_gradcheck():
    block, x = block_and_input(torch.float64, length=5, d_model=2, d_state=2)
    names, parameters = zip(*block.named_parameters(), strict=True)

    def function(x, *parameters):
        return torch.func.functional_call(block, dict(zip(names, parameters, strict=True)), (x,))

    assert torch.autograd.gradcheck(function, [x.requires_grad_(), *parameters])


def test_under_autocast():
    block, x = block_and_input(d_model=16, length=50)
    expected = block(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, state = block(x, return_state=True)
        ys, _ = stepped(block, x, block.initial_state(2))
    assert y.dtype == torch.bfloat16 and state.h.dtype == state.window.dtype == torch.float32
    assert error(y.float(), expected) < 0.03 and error(ys.float(), expected) < 0.03
    for found, exact in zip(gradients(y, block), gradients(expected, block), strict=True):
        assert found.dtype == exact.dtype and error(found, exact) < 0.06


@pytest.mark.parametrize("options", OPTIONS)
def test_a_second_opinion(options):
    """The mixer of transformers, written by others. Without upstream's kernel it has a scan of its own."""
    pytest.importorskip("transformers", reason="transformers comes with mamba-ssm: make mamba-ssm")
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
    y, expected = block(x), theirs(x)
    assert error(y, expected) < 1e-5
    names = [name for name, _ in block.named_parameters()]
    theirs = gradients_of(expected, *map(theirs.get_parameter, names))
    for name, found, exact in zip(names, gradients(y, block), theirs, strict=True):
        assert error(found, exact) < 1e-5, name


@pytest.mark.skipif("numba" not in backends("cpu"), reason="without Numba the plain scan is unrolled, for minutes")
def test_under_compile():
    block, x = block_and_input(d_model=16)
    compiled = torch.compile(block, fullgraph=True)
    y, expected = compiled(x), block(x)
    assert error(y, expected) < 1e-6
    for found, exact in zip(gradients(y, block), gradients(expected, block), strict=True):
        assert error(found, exact) < 1e-5


def rotary():
    torch.manual_seed(0)
    block = MambaRoPE(16, d_state=6, periods=(5, 40)).double()
    for bias in (block.B_bias, block.C_bias):
        nn.init.normal_(bias)
    return block, torch.randn(2, 23, 16, dtype=torch.float64, requires_grad=True)


@pytest.mark.parametrize("cut", [1, 7, 22])
def test_rotary_in_parallel_equals_step_by_step_and_both_together(cut):
    block, x = rotary()
    y, end = block(x, return_state=True)
    expected = gradients(y, block)

    def at_once(block, x, state):
        return block(x, state, return_state=True)

    for first, then in ((0, stepped), (cut, stepped), (cut, at_once)):
        start, state = at_once(block, x[:, :first], None) if first else (x[:, :0], block.initial_state(2))
        rest, state = then(block, x[:, first:], state)
        found = torch.cat([start, rest], 1)
        assert error(found, y) < 1e-14
        assert all(error(*pair) < 1e-13 for pair in zip(gradients(found, block), expected, strict=True))
        assert error(state.h, end.h) < 1e-14 and state.position == end.position == 23


def test_rotary_is_a_mamba_with_b_and_c_shifted_and_turned():
    block, x = rotary()
    plain = Mamba(16, d_state=6).double()
    state = block.state_dict()
    biases = [state.pop("B_bias"), state.pop("C_bias")]
    state["A_log"] = state["A_log"].repeat(1, 2)
    plain.load_state_dict(state)  # in all else the parameters are the same
    u = torch.randn(2, 23, 32, dtype=torch.float64)
    periods = torch.logspace(math.log10(5), math.log10(40), 3, dtype=torch.float64)
    phases = torch.exp(2j * math.pi * (7 + torch.arange(23)[:, None]) / periods)  # (length, d_state / 2)
    (dt, *turned), (dt_plain, *expected) = block._select(u, 7), plain._select(u, 7)
    assert torch.equal(dt, dt_plain)
    for found, exact, bias in zip(turned, expected, biases, strict=True):
        found, exact = (torch.complex(*pairs.chunk(2, -1)) for pairs in (found, exact + bias))
        assert error(torch.view_as_real(found), torch.view_as_real(exact * phases)) < 1e-5  # float32's angles
    assert error(block(x), plain(x)) > 1e-3
    for tensor in (block.angles, *(bias.data for bias in (block.B_bias, block.C_bias))):
        tensor.zero_()
    assert torch.equal(block(x), plain(x))


def test_rotary_knows_distances_and_no_places():
    block, x = rotary()
    nn.init.normal_(block.A_log)
    start = block.initial_state(2)
    late, early = block(x, start._replace(position=301)), block(x, start)
    assert error(late, early) < 1e-12
    state = block(x[:, :11], return_state=True)[1]  # a pause: what was read is further away than it was
    paused = state._replace(position=state.position + 3)
    assert error(block(x[:, 11:], paused), block(x[:, 11:], state)) > 1e-3


def test_rotary_starts_with_biases_of_one_and_needs_pairs():
    block = MambaRoPE(16, d_state=6)
    assert (block.B_bias == 1).all() and (block.C_bias == 1).all() and block.A_log.shape == (32, 3)
    assert torch.equal(copy.deepcopy(block).angles, block.angles)
    with pytest.raises(ValueError, match="d_state must be even and at least 2, got 5"):
        MambaRoPE(16, d_state=5)


def test_copies_and_checkpoints(tmp_path):
    block, x = block_and_input(d_model=16)
    twin = copy.deepcopy(block)
    torch.save(block.state_dict(), tmp_path / "block.pt")
    other = Mamba(16)
    assert not torch.equal(other(x), block(x))
    other.load_state_dict(torch.load(tmp_path / "block.pt", weights_only=True))
    assert torch.equal(twin(x), block(x)) and torch.equal(other(x), block(x))
    assert {name for name, p in twin.named_parameters() if getattr(p, "_no_weight_decay", False)} == {"A_log", "D"}


@pytest.mark.skipif("numba" not in backends("cpu"), reason="plain PyTorch can be differentiated twice")
def test_a_second_derivative_is_refused():
    block, x = block_and_input(d_model=16)
    (grad,) = torch.autograd.grad(block(x.requires_grad_()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="the fused CPU kernels have no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize(
    "shape, said",
    [
        ((2, 11, 15), r"x must be \(batch, length, d_model\) with d_model = 16, got \(2, 11, 15\)"),
        ((2, 16), r"x must be \(batch, length, d_model\) .*, got \(2, 16\)"),
    ],
)
def test_errors_name_the_argument(shape, said):
    with pytest.raises(ValueError, match=said):
        Mamba(16)(torch.zeros(shape))
    block = Mamba(16)
    with pytest.raises(ValueError, match=r"x must be \(batch, d_model\) with d_model = 16, got \(2, 3, 16\)"):
        block.step(torch.zeros(2, 3, 16), block.initial_state(2))
    with pytest.raises(ValueError, match="dt_init must be 'random' or 'constant', got 'zero'"):
        Mamba(16, dt_init="zero")
