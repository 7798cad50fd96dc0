"""Upstream's own Python code, unmodified, on the stand-in for its kernel: run by ``test_official.py``, by itself.

By itself, because a module named ``selective_scan_cuda`` must not stay behind for other tests. Where the CUDA kernel
is there, the same tests run on it, and those of the stand-in are skipped.
"""

import functools
import importlib.machinery
import sys
import types

import oracle
import pytest
import torch
import torch.nn.functional as F
from test_scan import arguments, error
from torch._subclasses.fake_tensor import FakeTensorMode

from helpers.layers import mamba
from helpers.scan import mamba_ssm_kernel, selective_scan, mamba_ssm_shim

DEVICE = "cuda" if mamba_ssm_kernel.available("cuda") else "cpu"
BOUND = 1e-5 if DEVICE == "cpu" else 1e-4
if DEVICE == "cpu":
    mamba_ssm_shim.install()

from mamba_ssm.modules import mamba_simple  # noqa: E402
from mamba_ssm.ops import selective_scan_interface as interface  # noqa: E402
from mamba_ssm.utils.generation import InferenceParams  # noqa: E402

kernel = interface.selective_scan_cuda
FORMS = ["fixed", "varying", "groups"]
on_the_stand_in = pytest.mark.skipif(DEVICE == "cuda", reason="the CUDA kernel is there, so there is no stand-in")


class Oracle(torch.autograd.Function):
    """The float64 oracle and its hand-derived gradient, as a scan for the stand-in."""

    @staticmethod
    def forward(ctx, delta_softplus, names, *tensors):
        ctx.given = {name: x.double().numpy() for name, x in zip(names, tensors, strict=True)}
        ctx.given["delta_softplus"], ctx.dtypes = delta_softplus, [x.dtype for x in tensors]
        return tuple(torch.from_numpy(x).to(tensors[0].dtype) for x in oracle.selective_scan(**ctx.given))

    @staticmethod
    def backward(ctx, dy, dlast):
        grads = oracle.selective_scan_backward(dy.double().numpy(), dlast.double().numpy(), **ctx.given)
        return None, None, *(torch.from_numpy(g).to(dt) for g, dt in zip(grads.values(), ctx.dtypes, strict=True))


def by_the_oracle(
    u, delta, A, B, C, D=None, z=None, delta_bias=None, softplus=False, return_last_state=False, *, initial_state=None
):
    given = dict(u=u, delta=delta, A=A, B=B, C=C, D=D, z=z, delta_bias=delta_bias, initial_state=initial_state)
    given = {name: x for name, x in given.items() if x is not None}
    y, last = Oracle.apply(softplus, tuple(given), *given.values())
    return (y, last) if return_last_state else y


@pytest.fixture(params=["kernel", "oracle"])
def scan(request):
    """The stand-in twice: on our own kernel, and on the oracle."""
    if DEVICE == "cpu":
        mamba_ssm_shim.install(**({"scan": by_the_oracle} if request.param == "oracle" else {}))
        yield
        mamba_ssm_shim.install()
    elif request.param == "oracle":
        pytest.skip("the CUDA kernel is there")
    else:
        yield


def inputs(dtype=torch.float32, without=("initial_state",), **options):
    return {name: x.to(DEVICE) for name, x in arguments(dtype=dtype, **options).items() if name not in without}


def exact(x):
    return x.detach().cpu().to(torch.promote_types(x.dtype, torch.float64))


def with_gradients(function, given):
    """Every result of ``function(**given)``, and the gradients of a random sum of the first."""
    leaves = {name: x.detach().requires_grad_() for name, x in given.items()}
    y, *rest = function(**leaves)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    grads = torch.autograd.grad((y * weight).sum(), list(leaves.values()))
    return dict(zip(["y", "last_state", *(f"d{name}" for name in leaves)], [y, *rest, *grads], strict=True))


def assert_equal(found, expected, bound=BOUND):
    assert found.keys() == expected.keys()
    errors = {name: error(exact(x), exact(expected[name])) for name, x in found.items()}
    assert max(errors.values()) < bound, errors


def upstream_scan(**given):
    return with_B(given["B"], *interface.selective_scan_fn(**given, return_last_state=True))


def with_B(B, y, last_state):
    """Upstream leaves a fixed B out of the last state: see selective_scan_fwd_kernel.cuh; seen on an H200."""
    return y, last_state * B if B.dim() == 2 else last_state


def reference_scan(**given):
    """In float64 on the CPU, so that the bound is that of the other side."""
    given = {name: x.cpu().double() if torch.is_tensor(x) else x for name, x in given.items()}
    return selective_scan(**given, return_last_state=True, backend="reference")


@pytest.mark.parametrize("delta_softplus", [True, False])
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("form", FORMS)
def test_upstreams_function_in_all_its_forms(scan, form, left_out, delta_softplus):
    given = inputs(form=form, length=7, without=("initial_state", *left_out))
    theirs, ours = (functools.partial(x, delta_softplus=delta_softplus) for x in (upstream_scan, reference_scan))
    assert_equal(with_gradients(theirs, given), with_gradients(ours, given))


@pytest.mark.parametrize("complex_A", [False, pytest.param(True, marks=on_the_stand_in)])
@pytest.mark.parametrize("form", FORMS)
def test_upstreams_function_equals_upstreams_reference(form, complex_A):
    given = inputs(form=form, complex_A=complex_A)
    slow = functools.partial(interface.selective_scan_ref, return_last_state=True)
    fast, slow = (functools.partial(x, delta_softplus=True) for x in (upstream_scan, slow))
    assert_equal(with_gradients(fast, given), with_gradients(slow, given))


# The block.

OPTIONS = [
    {"d_model": 16},
    {"d_model": 6, "d_state": 4, "expand": 1, "d_conv": 3},
    {"d_model": 10, "dt_rank": 3, "bias": True, "conv_bias": False},
    {"d_model": 1, "d_state": 5, "expand": 3, "d_conv": 2, "dt_init": "constant"},
]


def pair(use_fast_path=True, **options):
    """Upstream's block and ours, with the same weights."""
    torch.manual_seed(0)
    theirs, ours = mamba_simple.Mamba(use_fast_path=use_fast_path, **options), mamba.Mamba(**options)
    ours.load_state_dict(theirs.state_dict())
    return theirs.to(DEVICE), ours.to(DEVICE)


def block_with_gradients(block, x):
    """Output, and the gradients of a random sum of it: of the input and of every parameter."""
    x = x.clone().requires_grad_()
    y = block(x)
    weight = torch.randn(y.shape, generator=torch.Generator().manual_seed(1)).to(y)
    names, parameters = zip(*sorted(block.named_parameters()), strict=True)
    return dict(zip(["y", "dx", *names], [y, *torch.autograd.grad((y * weight).sum(), [x, *parameters])], strict=True))


@pytest.mark.parametrize("use_fast_path", [True, False])
@pytest.mark.parametrize("batch, length", [(2, 20), (3, 1), (1, 150)])
@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_is_ours(scan, options, batch, length, use_fast_path):
    theirs, ours = pair(use_fast_path, **options)
    x = torch.randn(batch, length, options["d_model"], device=DEVICE)
    assert_equal(block_with_gradients(ours, x), block_with_gradients(theirs, x))


@pytest.mark.parametrize("options", OPTIONS)
def test_the_block_has_our_parameters(options):
    torch.manual_seed(0)
    theirs = mamba_simple.Mamba(**options)
    torch.manual_seed(0)
    ours = mamba.Mamba(**options)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for name, x in theirs.state_dict().items():
        assert torch.equal(ours.state_dict()[name], x), name  # drawn from one seed, in one order

    def without_decay(block):
        return {name for name, p in block.named_parameters() if getattr(p, "_no_weight_decay", False)}

    assert without_decay(ours) == without_decay(theirs) == {"A_log", "D"}


def test_the_block_learns(scan):
    """To give back what it read four positions ago: and as ours does, step by step."""
    x = torch.randn(4, 24, 6).to(DEVICE)
    losses = []
    for block in pair(d_model=6, d_state=8):
        optimiser = torch.optim.Adam(block.parameters(), lr=0.02)
        losses.append([])
        for _ in range(12):
            loss = F.mse_loss(block(x)[:, 4:], x[:, :-4])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            losses[-1].append(loss.item())
    assert losses[0][-1] < 0.9 * losses[0][0], losses
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


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
def test_one_token_at_a_time(scan, monkeypatch, options):
    """The state that a prefix leaves behind, carried on by upstream's own PyTorch step: its Triton step needs a GPU."""
    if DEVICE == "cpu":
        monkeypatch.setattr(mamba_simple, "selective_state_update", None)
    theirs, ours = pair(**options)
    theirs.layer_idx = 0  # the key of its states in the cache
    x = torch.randn(2, 12, options["d_model"], device=DEVICE)
    cache = InferenceParams(max_seqlen=12, max_batch_size=2)
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
            assert error(state.window, window[..., 1:]) < BOUND and error(state.h, h) < BOUND
        assert error(torch.cat(ys, 1), ours(x)) < BOUND


@on_the_stand_in
def test_the_fused_block(scan, monkeypatch):
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


# The module itself.


def kernel_inputs(dtype=torch.float32, form="groups", length=9):
    """The arguments of fwd, in their order."""
    given = inputs(form=form, length=length)
    given |= {name: given[name].to(dtype) for name in ("u", "delta", "z", *(["B", "C"] if form == "groups" else []))}
    return {**given, "delta_softplus": True}


@on_the_stand_in
@pytest.mark.parametrize("form", ["fixed", "groups"])
def test_what_fwd_returns(form):
    given = kernel_inputs(form=form)
    ungated, x = kernel.fwd(*{**given, "z": None}.values())
    out, x_too, out_z = kernel.fwd(*given.values())
    assert torch.equal(out, ungated) and torch.equal(x, x_too)
    assert error(out_z, out * F.silu(given["z"])) < 1e-6
    assert error(out_z, reference_scan(**given)[0].float()) < 1e-6


@on_the_stand_in
@pytest.mark.parametrize("form", ["fixed", "groups"])
@pytest.mark.parametrize("length, chunks", [(1, 1), (2048, 1), (2049, 2), (4100, 3)])
def test_what_x_holds(length, chunks, form):
    given = kernel_inputs(length=length, form=form)
    given["delta"] = given["delta"] - 9  # small steps, so that something is left of the start of a chunk
    out, x, _ = kernel.fwd(*given.values())
    assert x.shape == (2, 4, chunks, 6) and x.is_contiguous()
    for chunk in range(chunks):
        first = {k: v[..., : 2048 * (chunk + 1)] if torch.is_tensor(v) and v.dim() > 2 else v for k, v in given.items()}
        _, state = reference_scan(**first)
        steps = F.softplus(first["delta"] + first["delta_bias"].unsqueeze(-1)).double()
        decays = torch.exp(steps.unsqueeze(-1) * given["A"].unsqueeze(1)).prod(2)
        assert error(with_B(given["B"], None, x[:, :, chunk, 1::2])[1].double(), state) < 1e-5
        assert error(x[:, :, chunk, 0::2].double(), decays) < 1e-5
    assert error(out.double(), reference_scan(**{**given, "z": None})[0]) < 1e-5


@on_the_stand_in
@pytest.mark.parametrize("left_out", [(), ("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_what_bwd_returns(dtype, left_out):
    given = {name: None if name in left_out else x for name, x in kernel_inputs(dtype).items()}
    *tensors, softplus = given.values()
    out, x, *gated = kernel.fwd(*tensors, softplus)
    dout = torch.randn(out.shape, generator=torch.Generator().manual_seed(1)).to(dtype)
    names = ["u", "delta", "A", "B", "C", "D", "delta_bias", *(["z"] if gated else [])]
    plain = kernel.bwd(*tensors, dout, x, out if gated else None, None, softplus, False)
    assert len(plain) == len(names)
    for name, grad in zip(names, plain, strict=True):
        assert (grad is None) == (given[name] is None), name
        assert grad is None or (grad.shape, grad.dtype) == (given[name].shape, given[name].dtype), name

    into = torch.empty_like(given["z"]) if gated else None
    again = kernel.bwd(*tensors, dout, x, out if gated else None, into, softplus, True)
    assert len(again) == len(names) + 1
    if gated:
        assert again[7] is into and torch.equal(into, plain[7])
        assert again[8].dtype == dtype and error(again[8].float(), gated[0].float()) < torch.finfo(dtype).eps
        # What is said of the gate comes from the out that is handed in, and from nothing else.
        doubled = kernel.bwd(*tensors, dout, x, 2 * out, None, softplus, True)
        assert torch.equal(doubled[7], 2 * plain[7]) and torch.equal(doubled[0], plain[0])
    else:
        assert again[7] is None


@on_the_stand_in
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_rounded_once(dtype):
    given = kernel_inputs(dtype)
    out, x, out_z = kernel.fwd(*given.values())
    assert (out.dtype, x.dtype, out_z.dtype) == (dtype, torch.float32, dtype)
    y, last = reference_scan(**given)
    assert error(x[:, :, -1, 1::2].double(), last) < 1e-5
    assert ((out_z.double() - y).abs() <= 0.501 * torch.finfo(dtype).eps * y.abs() + 1e-6).all()


@on_the_stand_in
@pytest.mark.parametrize(
    "name, change, said",
    [
        ("u", lambda x: x.double(), "u must be float32, float16 or bfloat16"),
        ("u", lambda x: x.to("meta"), "u must be on the CPU: this .* is a stand-in .*; got meta"),
        ("z", lambda x: x.to("meta"), "z must be on the CPU"),
        ("delta", lambda x: x.half(), "delta must be .*float32; got .*float16"),
        ("delta", lambda x: x[:1], r"delta must be \(2, 4, 9\), .* got \(1, 4, 9\)"),
        ("delta", lambda x: x.mT.contiguous().mT, "delta must have neighbours in its last dimension"),
        ("A", lambda x: x.half(), "A float32 or complex64"),
        ("B", lambda x: x.half(), "B must be .*float32; got .*float16"),
        ("C", lambda x: x[:, :1], r"C must be \(2, 2, 3, 9\)"),
        ("C", lambda x: x.mT.contiguous().mT, "C must have neighbours"),
        ("D", lambda x: x.half(), "D must be .*float32; got .*float16"),
        ("delta_bias", lambda x: x.repeat_interleave(2)[::2], "delta_bias must have neighbours"),
    ],
)
def test_the_stand_in_takes_no_more_than_the_kernel(name, change, said):
    given = kernel_inputs()
    given[name] = change(given[name])
    with pytest.raises(ValueError, match=said):
        kernel.fwd(*given.values())
    *tensors, softplus = given.values()
    with pytest.raises(ValueError, match=said):
        kernel.bwd(*tensors, tensors[0], None, tensors[0], None, softplus, False)


@on_the_stand_in
def test_the_stand_in_refuses_tensors_on_a_gpu():
    with FakeTensorMode():  # in name only, so no GPU is needed
        given = {name: torch.empty(x.shape, device="cuda") for name, x in kernel_inputs().items() if torch.is_tensor(x)}
        with pytest.raises(ValueError, match=r"u must be on the CPU: .* got cuda:0"):
            kernel.fwd(*given.values(), True)


@on_the_stand_in
def test_d_state_has_the_limit_of_the_kernel():
    u, A = torch.ones(1, 1, 1), -torch.ones(1, 257)
    with pytest.raises(ValueError, match=r"at most 256; got .* 257"):
        kernel.fwd(u, u, A, A, A, None, None, None, False)


@on_the_stand_in
def test_the_stand_in_is_known_for_what_it_is(monkeypatch, capfd):
    assert sys.modules["selective_scan_cuda"] is kernel
    for text in (repr(kernel), kernel.__version__, kernel.__doc__):
        assert "stand-in for the CPU, not upstream's CUDA kernel" in text
    mamba_ssm_shim.install()
    assert capfd.readouterr().err == "", "once was enough"
    assert sys.modules["selective_scan_cuda"] is kernel

    # It is not the CUDA kernel, even where there is a GPU. A compiled module would be.
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    mamba_ssm_kernel._imports.cache_clear()
    assert not mamba_ssm_kernel.available("cuda")
    compiled = types.ModuleType("selective_scan_cuda")
    loader = importlib.machinery.ExtensionFileLoader("selective_scan_cuda", "selective_scan_cuda.so")
    compiled.__spec__ = importlib.machinery.ModuleSpec("selective_scan_cuda", loader)
    monkeypatch.setitem(sys.modules, "selective_scan_cuda", compiled)
    assert mamba_ssm_kernel.available("cuda") and mamba_ssm_kernel.available(torch.device("cuda", 1))
    assert not mamba_ssm_kernel.available("cpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    mamba_ssm_kernel._imports.cache_clear()
    assert not mamba_ssm_kernel.available("cuda")
    mamba_ssm_kernel._imports.cache_clear()


# Our way to the kernel: helpers.scan.mamba_ssm_kernel.


def official_scan(**given):
    return mamba_ssm_kernel.scan(**given, return_last_state=True)


@pytest.mark.parametrize("B_form", FORMS)
@pytest.mark.parametrize("C_form", FORMS)
def test_official_in_all_forms(B_form, C_form):
    given = inputs(form=B_form) | {"C": inputs(form=C_form, seed=1)["C"]}
    ours, reference = (functools.partial(x, delta_softplus=True) for x in (official_scan, reference_scan))
    assert_equal(with_gradients(ours, given), with_gradients(reference, given))


@pytest.mark.parametrize("B_groups, C_groups", [(2, 1), (1, 4), (2, 4), (4, 4)])
def test_official_with_groups_of_two_sizes(B_groups, C_groups):
    given = inputs()
    for name, groups in (("B", B_groups), ("C", C_groups)):
        given[name] = torch.randn(2, groups, 3, 9, device=DEVICE)
    assert_equal(with_gradients(official_scan, given), with_gradients(reference_scan, given))


def test_official_with_a_fixed_B_and_a_group_for_every_channel():
    given = inputs(form="fixed") | {"C": torch.randn(2, 4, 3, 9, device=DEVICE)}
    assert_equal(with_gradients(official_scan, given), with_gradients(reference_scan, given))


@pytest.mark.parametrize("length", [1, 128, 130, 2048, 2050])
@pytest.mark.parametrize("left_out", [("D",), ("z",), ("delta_bias",), ("D", "z", "delta_bias")])
def test_official_without_what_is_optional(left_out, length):
    given = inputs(length=length, without=("initial_state", *left_out))
    given |= {name: x.abs() for name, x in given.items() if name.startswith("delta")}  # as there is no softplus
    assert_equal(with_gradients(official_scan, given), with_gradients(reference_scan, given))
    last = official_scan(**given)[1]
    assert last.shape == (2, 4, 3) and last.dtype == torch.float32
    assert torch.equal(mamba_ssm_kernel.scan(**given), official_scan(**given)[0])


@pytest.mark.parametrize("kept", [(), ("A", "D", "delta_bias"), ("delta",), ("B", "C"), ("z",)])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("form", FORMS)
def test_official_in_half_precision(form, dtype, kept):
    """What is float32 beside a half-precision u keeps its digits."""
    given = {name: x if name in kept else x.to(dtype) for name, x in inputs(form=form, length=30).items()}
    if "delta" in kept:
        given["delta"] = given["delta"] * 2.0**-20 + 1  # digits that half precision does not have
    y, last = official_scan(**given, delta_softplus=True)
    expected, expected_last = reference_scan(**given, delta_softplus=True)
    assert (y.dtype, last.dtype) == (dtype, torch.float32)
    assert error(exact(y), expected) < torch.finfo(dtype).eps and error(exact(last), expected_last) < BOUND


def test_official_takes_float64_beside_float32():
    given = {name: x if name == "u" else x.double() for name, x in inputs().items()}
    found = with_gradients(official_scan, given)
    assert_equal(found, with_gradients(reference_scan, given))
    assert (found["y"].dtype, found["last_state"].dtype, found["dA"].dtype) == (
        torch.float32,
        torch.float32,
        torch.float64,
    )


def test_official_from_any_strides(monkeypatch):
    """Views, and an address that is not a multiple of 16: at length 128 the kernel reads 16 bytes at a time."""
    given = inputs(length=128)
    views = {name: x.transpose(0, -1).contiguous().transpose(0, -1) for name, x in given.items()}
    shifted = {name: torch.cat([x.new_ones(1), x.flatten()])[1:].view(x.shape) for name, x in given.items()}
    expected = with_gradients(reference_scan, given)
    seen = []

    def looked_at(function):
        def call(*arguments):
            tensors = [x for x in arguments if torch.is_tensor(x)]
            seen.append(all(x.is_contiguous() and x.data_ptr() % 16 == 0 for x in tensors))
            return function(*arguments)

        return call

    for name in ("fwd", "bwd"):
        monkeypatch.setattr(kernel, name, looked_at(getattr(kernel, name)))

    def cut(**x):  # so that the gradient that comes back is a view, too
        y, last = official_scan(**x)
        return torch.cat([torch.zeros_like(y[..., :1]), y], -1)[..., 1:], last

    for strided in (views, shifted):
        assert all(strided[name].data_ptr() % 16 or not strided[name].is_contiguous() for name in ("u", "delta", "B"))
        assert_equal(with_gradients(cut, strided), expected)
    assert seen == [True] * 4


def test_official_has_no_gradient_through_the_last_state():
    given = {name: x.requires_grad_() for name, x in inputs().items()}
    y, last = official_scan(**given)
    with pytest.raises(RuntimeError, match="no gradient through the last state with backend 'mamba_ssm'"):
        (y.sum() + last.sum()).backward()
    y, last = official_scan(**given)
    with pytest.raises(RuntimeError, match="no gradient through the last state"):
        last.sum().backward()
    y, last = official_scan(**given)
    (y.sum() + last.detach().sum()).backward()
    assert given["u"].grad is not None
    with torch.no_grad():
        assert not official_scan(**given)[1].requires_grad
