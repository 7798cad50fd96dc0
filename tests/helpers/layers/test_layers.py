"""What every layer promises: one interface, causality, and the same result at once, in parts and step by step."""

import copy
import pickle

import pytest
import torch
from scan_cases import error, random_sum
from torch import nn

from helpers import layers
from helpers.layers import GLU, LSTM, S4D, Attention, FeedForward, Mamba, Mamba2, Mamba3, MambaRoPE, Memoryless

# Sizes small, and odd where a layer allows it; with every option of Mamba's somewhere.
LAYERS = {
    "Mamba": lambda: Mamba(16),
    "Mamba, expand 1": lambda: Mamba(6, d_state=5, expand=1, d_conv=3),
    "Mamba, biases": lambda: Mamba(1, d_conv=1, bias=True, conv_bias=False),
    "Mamba, dt_rank": lambda: Mamba(10, dt_rank=3, dt_init="constant"),
    "Mamba2": lambda: Mamba2(8, d_state=6, headdim=4, chunk_size=4),
    "Mamba2, groups": lambda: Mamba2(8, d_state=3, headdim=4, ngroups=2, D_has_hdim=True, bias=True, rmsnorm=False),
    "Mamba2, d_ssm": lambda: Mamba2(8, d_state=5, headdim=4, d_ssm=8, dt_limit=(0.001, 0.2), norm_before_gate=True),
    "Mamba3": lambda: Mamba3(8, d_state=8, headdim=4, chunk_size=4),
    "Mamba3, groups": lambda: Mamba3(8, d_state=6, headdim=4, ngroups=2, rope_fraction=1.0, is_outproj_norm=True),
    "Mamba3, MIMO": lambda: Mamba3(8, d_state=8, headdim=4, is_mimo=True, mimo_rank=3, chunk_size=4),
    "Mamba3, MIMO, norm": lambda: Mamba3(8, d_state=4, headdim=8, is_mimo=True, mimo_rank=2, is_outproj_norm=True),
    "MambaRoPE": lambda: MambaRoPE(16, d_state=6, periods=(5, 40)),
    "Memoryless": lambda: Memoryless(8, d_state=4),
    "S4D": lambda: S4D(5, d_state=8, dt_min=0.01, dt_max=0.3),
    "LSTM": lambda: LSTM(7),
    "Attention": lambda: Attention(8, n_head=2),
}
DTYPES = {torch.float32: 5e-6, torch.float64: 1e-13}
every_layer = pytest.mark.parametrize("name", LAYERS)


def layer_and_input(name, dtype=torch.float64, length=11):
    """A layer whose parameters have all left their initial values, and two sequences."""
    torch.manual_seed(0)
    layer = LAYERS[name]().to(dtype)
    with torch.no_grad():
        for parameter in layer.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn_like(parameter)
    d_model = {"Mamba": 16, "Mamba, biases": 1, "Mamba, expand 1": 6, "Mamba, dt_rank": 10, "MambaRoPE": 16, "S4D": 5}
    return layer, torch.randn(2, length, {**d_model, "LSTM": 7}.get(name, 8), dtype=dtype)


def gradients(y, layer):
    parameters = [p for p in layer.parameters() if p.requires_grad]
    return torch.autograd.grad(random_sum(y), parameters, retain_graph=True)


def stepped(layer, x, state):
    ys = []
    for x_t in x.unbind(1):
        y, state = layer.step(x_t, state)
        ys.append(y)
    return torch.stack(ys, 1), state


def assert_same_state(found, expected, bound):
    found, expected = ((s,) if torch.is_tensor(s) else s for s in (found, expected))
    for x, y in zip(found, expected, strict=True):
        assert error(x, y) < bound if torch.is_tensor(x) else x == y


def test_all_of_them_are_here():
    assert {type(make()).__name__ for make in LAYERS.values()} | {"FeedForward", "GLU"} == set(layers.__all__)


@every_layer
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("cut", [0, 1, 7, 10])
def test_at_once_in_two_parts_and_step_by_step(name, dtype, cut):
    layer, x = layer_and_input(name, dtype)
    whole, end = layer(x, return_state=True)
    assert whole.shape == x.shape and whole.dtype == dtype
    assert error(layer(x), whole) < DTYPES[dtype]
    first, state = layer(x[:, :cut], return_state=True) if cut else (x[:, :0], layer.initial_state(2))
    second, last = layer(x[:, cut:], state, return_state=True)
    assert error(layer(x[:, cut:], state), second) < DTYPES[dtype]  # with a state, and none asked for
    steps, last_stepped = stepped(layer, x[:, cut:], state)
    expected = gradients(whole, layer)
    for rest, after in ((second, last), (steps, last_stepped)):
        found = torch.cat([first, rest], 1)
        assert error(found, whole) < DTYPES[dtype]
        assert_same_state(after, end, DTYPES[dtype])
        assert all(error(*pair) < 10 * DTYPES[dtype] for pair in zip(gradients(found, layer), expected, strict=True))


@every_layer
def test_causal_and_reaches_back_to_the_beginning(name):
    layer, x = layer_and_input(name, length=30)
    (gradient,) = torch.autograd.grad(layer(x.requires_grad_())[:, 12].sum(), x)
    assert gradient[:, 13:].abs().max() < 1e-12  # S4D's FFT rounds
    assert gradient[:, 12].abs().max() > 1e-6
    # Without a memory a block sees what its convolution sees.
    reaches = gradient[:, :13].abs().amax((0, 2)) > (0 if name == "Memoryless" else 1e-9)
    assert reaches.tolist() == [name != "Memoryless"] * 9 + [True] * 4


@every_layer
def test_gradcheck(name):
    layer, x = layer_and_input(name, length=3)
    names, parameters = zip(*[(n, p) for n, p in layer.named_parameters() if p.requires_grad], strict=True)
    state = layer.initial_state(1)

    def function(x, *parameters):
        return torch.func.functional_call(layer, dict(zip(names, parameters, strict=True)), (x, state))

    assert torch.autograd.gradcheck(function, [x[:1].requires_grad_(), *parameters], fast_mode=True)


@pytest.mark.parametrize("name", [name for name in LAYERS if name != "LSTM"])  # torch has it on some CPUs alone
def test_under_autocast(name):
    layer, x = layer_and_input(name, torch.float32, length=50)
    exact = layer(x)
    with torch.autocast("cpu", torch.bfloat16):
        y, _ = layer(x, return_state=True)
        steps, _ = stepped(layer, x, layer.initial_state(2))
    assert error(y, exact) < 0.05 and error(steps, exact) < 0.05
    for found, expected in zip(gradients(y, layer), gradients(exact, layer), strict=True):
        assert found.dtype == expected.dtype and error(found, expected) < 0.1


@every_layer
def test_copies_compute_the_same_and_have_the_same_groups_of_parameters(name, tmp_path):
    layer, x = layer_and_input(name)
    loaded = LAYERS[name]().to(x.dtype)
    torch.save(layer.state_dict(), tmp_path / "layer.pt")
    assert not torch.equal(loaded(x), layer(x))
    loaded.load_state_dict(torch.load(tmp_path / "layer.pt", weights_only=True))
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer)), loaded):
        assert torch.equal(twin(x), layer(x))
        for kind in ("ssm_parameters", "no_weight_decay", "no_muon"):
            names = getattr(twin, kind, ())
            assert names == getattr(layer, kind, ()) and set(names) <= dict(twin.named_parameters()).keys()


def test_a_gated_linear_unit_sees_each_position_alone():
    """Its first half times the sigmoid of its second (arXiv 1612.08083, equation 1)."""
    torch.manual_seed(0)
    layer, x = GLU(8), torch.randn(2, 11, 8)
    one, other = (nn.functional.gelu(x) @ layer[1].weight.T + layer[1].bias).chunk(2, -1)
    torch.testing.assert_close(layer(x), one / (1 + torch.exp(-other)))


def test_feed_forward_sees_each_position_alone():
    torch.manual_seed(0)
    layer, x = FeedForward(8, n_head=2), torch.randn(2, 11, 8)
    assert [type(part) for part in layer] == [nn.Linear, nn.GELU, nn.Linear]
    assert layer[0].weight.shape == (16, 8), "through twice the width"
    torch.testing.assert_close(layer(x)[:, 4], layer(x[:, 4]))
