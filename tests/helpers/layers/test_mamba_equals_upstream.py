"""Our block and upstream's ``mamba_ssm.Mamba``, unmodified, with the same weights: all results are equal."""

import contextlib
import functools

import pytest
import torch
import torch.nn.functional as F
from scan_cases import assert_equal, error, random_sum
from upstream import BOUND, DEVICE, generation, interface, mamba_simple, on_the_stand_in

from helpers.layers import Mamba

pytestmark = pytest.mark.own_process()
assert_equal = functools.partial(assert_equal, bound=BOUND)

OPTIONS = [
    {"d_model": 16},
    {"d_model": 6, "d_state": 4, "expand": 1, "d_conv": 3},
    {"d_model": 10, "dt_rank": 3, "bias": True, "conv_bias": False},
    {"d_model": 1, "d_state": 5, "expand": 3, "d_conv": 2, "dt_init": "constant"},
]


def pair(use_fast_path=True, **options):
    """Upstream's block and ours, with the same weights."""
    torch.manual_seed(0)
    theirs, ours = mamba_simple.Mamba(use_fast_path=use_fast_path, **options), Mamba(**options)
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(DEVICE), ours.to(DEVICE)


def block_with_gradients(block, x):
    """Output, and the gradients of a random sum of it: of the input and of every parameter."""
    x = x.clone().requires_grad_()
    y = block(x)
    names, parameters = zip(*sorted(block.named_parameters()), strict=True)
    return dict(zip(["y", "dx", *names], [y, *torch.autograd.grad(random_sum(y), [x, *parameters])], strict=True))


@pytest.mark.parametrize("use_fast_path", [True, False])
@pytest.mark.parametrize("batch, length", [(2, 20), (3, 1), (1, 150)])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_is_ours(stand_in, options, batch, length, use_fast_path):
    theirs, ours = pair(use_fast_path, **options)
    x = torch.randn(batch, length, options["d_model"], device=DEVICE)
    assert_equal(block_with_gradients(ours, x), block_with_gradients(theirs, x))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_has_our_parameters(options):
    torch.manual_seed(0)
    theirs = mamba_simple.Mamba(**options)
    torch.manual_seed(0)
    ours = Mamba(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, x in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], x), name  # drawn from one seed, in one order

    # What upstream marks on its parameters, our block lists by name.
    marked = {name for name, p in theirs.named_parameters() if getattr(p, "_no_weight_decay", False)}
    assert marked == set(Mamba.no_weight_decay)


@pytest.mark.parametrize("options", OPTIONS)
def test_a_checkpoint_travels_both_ways(tmp_path, options):
    """Through a file, and back after a step of training."""
    theirs, ours = pair(**options)
    x = torch.randn(2, 9, options["d_model"], device=DEVICE)
    ours(x).square().sum().backward()
    torch.optim.SGD(ours.parameters(), 0.1).step()
    torch.save(ours.state_dict(), tmp_path / "block.pt")
    assert error(theirs(x), ours(x)) > 1e-3
    theirs.load_state_dict(torch.load(tmp_path / "block.pt", weights_only=True))
    assert error(theirs(x), ours(x)) < BOUND


@pytest.mark.parametrize("options", OPTIONS)
def test_one_token_at_a_time(stand_in, monkeypatch, options):
    """The state that a prefix leaves behind, carried on by upstream's own PyTorch step: its Triton step needs a GPU."""
    if DEVICE == "cpu":
        monkeypatch.setattr(mamba_simple, "selective_state_update", None)
    theirs, ours = pair(**options)
    theirs.layer_idx = 0  # the key of its states in the cache
    x = torch.randn(2, 12, options["d_model"], device=DEVICE)
    cache = generation.InferenceParams(max_seqlen=12, max_batch_size=2)
    with torch.no_grad():
        ys = [theirs(x[:, :7], inference_params=cache)]
        y, state = ours(x[:, :7], return_state=True)
        assert error(y, ys[0]) < BOUND
        for t in range(7, 12):
            cache.seqlen_offset = t
            ys.append(theirs(x[:, t : t + 1], inference_params=cache))
            y, state = ours.step(x[:, t], state)
            assert error(y, ys[-1][:, 0]) < BOUND
            window, h = cache.key_value_memory_dict[0]
            assert error(state.conv_state, window[..., 1:]) < BOUND and error(state.ssm_state, h) < BOUND
        assert error(torch.cat(ys, 1), ours(x)) < BOUND


@on_the_stand_in
def test_the_fused_block(stand_in, monkeypatch):
    """``MambaInnerFn``, which is used with causal-conv1d: it hands ``bwd`` a dz to fill and asks for out_z."""

    def convolve(x, weight, bias, *_):
        return F.silu(F.conv1d(F.pad(x, (weight.shape[1] - 1, 0)), weight.unsqueeze(1), bias, groups=len(weight)))

    def convolve_backward(x, weight, bias, dout, _seq, _initial, _final, dx, _dinitial, _silu):
        with torch.enable_grad():
            leaves = [x.detach().requires_grad_() for x in (x, weight, bias)]
            grads = torch.autograd.grad(convolve(*leaves), leaves, dout)
        return dx.copy_(grads[0]), *grads[1:]

    monkeypatch.setattr(mamba_simple, "causal_conv1d_fn", convolve)
    monkeypatch.setattr(interface, "causal_conv1d_fwd_function", convolve)
    monkeypatch.setattr(interface, "causal_conv1d_bwd_function", convolve_backward)
    theirs, ours = pair(d_model=6)
    x = torch.randn(2, 20, 6)
    found = block_with_gradients(theirs, x)
    assert "MambaInnerFn" in str(theirs(x).grad_fn.name()), theirs(x).grad_fn
    assert_equal(block_with_gradients(ours, x), found)


@pytest.mark.own_process(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")
@on_the_stand_in
@pytest.mark.parametrize("options", [{"d_model": 16}, {"d_model": 6, "d_state": 4, "expand": 3, "d_conv": 2}])
def test_one_token_at_a_time_with_upstreams_triton_kernel(monkeypatch, options):
    """Interpreted, so that it runs on the CPU, once the GPU that it wants to choose is left out."""
    monkeypatch.setattr(torch.cuda, "device", lambda _: contextlib.nullcontext())
    assert mamba_simple.selective_state_update is not None, "Triton is not installed"
    theirs, ours = pair(**options)
    x = torch.randn(2, 10, options["d_model"])
    with torch.no_grad():
        _, state = ours(x[:, :6], return_state=True)
        # Upstream keeps one input more, which its step throws away first.
        window = torch.cat([torch.zeros_like(state.conv_state[..., :1]), state.conv_state], -1)
        h = state.ssm_state.clone()
        for t in range(6, 10):
            expected, window, h = theirs.step(x[:, t : t + 1], window, h)
            y, state = ours.step(x[:, t], state)
            assert error(y, expected[:, 0]) < 1e-6
            assert error(state.ssm_state, h) < 1e-6 and error(state.conv_state, window[..., 1:]) < 1e-6
