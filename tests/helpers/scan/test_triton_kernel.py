"""The scan fused on the GPU: its numbers, and that it is an operator of torch.

Every test runs in Triton's interpreter, on the CPU, and where there is a GPU once more on that. The interpreter needs a
process of its own: TRITON_INTERPRET must be set before triton is imported, and what was interpreted there cannot be
compiled. Outputs are held against the oracle, gradients against autograd through the reference in float64.
"""

import itertools
import os

import oracle
import pytest
import scan_cases
import torch
import torch.nn.functional as F
from scan_cases import BOUND, error

pytest.importorskip("triton", reason="Triton is not installed: it is for Linux")

from helpers.scan import reference, triton_kernel

DEVICE = "cpu" if os.environ.get("TRITON_INTERPRET") == "1" else "cuda"
NAMES = ("u", "delta", "A", "B", "C", "D", "z", "delta_bias", "initial_state")
OPTIONAL = ("D", "z", "delta_bias", "initial_state")
layouts = pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])


@pytest.fixture(
    autouse=True,
    params=[
        pytest.param("interpreted", marks=pytest.mark.own_process(TRITON_INTERPRET="1", OMP_NUM_THREADS="1")),
        *([pytest.param("on the GPU", marks=pytest.mark.gpu)] if torch.cuda.is_available() else []),
    ],
)
def where(request):
    """Once in the interpreter and once on the GPU."""


def slow(*cases):
    return [pytest.param(case, marks=pytest.mark.slow) for case in cases]


def arguments(batch=2, dim=3, length=9, d_state=3, groups=1, channels_last=False, without=(), seed=0):
    """All tensors by name, requiring gradients; those in ``without`` are None."""
    sizes = {"batch": batch, "dim": dim, "d_state": d_state, "groups": groups, "channels_last": channels_last}
    given = scan_cases.arguments(length, "groups", dtype=torch.float32, seed=seed, **sizes)
    return {name: None if name in without else given[name].to(DEVICE).requires_grad_() for name in NAMES}


def plain(u, delta, A, B, C, D, z, delta_bias, initial_state, delta_softplus):
    """The same by helpers.scan.reference, in the dtype given."""
    B, C = (x.repeat_interleave(len(A) // x.shape[1], dim=1) for x in (B, C))
    step = delta if delta_bias is None else delta + delta_bias[:, None]
    step = F.softplus(step, threshold=800) if delta_softplus else step
    state = u.new_zeros(len(u), *A.shape) if initial_state is None else initial_state
    y, last_state = reference.scan(u, step, A, B, C, state)
    y = y if D is None else y + D[:, None] * u
    return y if z is None else y * F.silu(z), last_state


def check(given, delta_softplus=True, through=("y", "last_state"), half_bound=None):
    """Hold y, the last state and all gradients, arriving ``through`` these results, against float64."""
    results = dict(zip(("y", "last_state"), triton_kernel.scan(**given, delta_softplus=delta_softplus), strict=True))
    assert results["y"].dtype == given["u"].dtype and results["last_state"].dtype == torch.float32
    exact = {name: x if x is None else x.detach().cpu().double().requires_grad_() for name, x in given.items()}
    expected = dict(zip(("y", "last_state"), plain(**exact, delta_softplus=delta_softplus), strict=True))
    right = expected.values()
    if 0 < given["u"].numel() < 1000:  # the oracle takes a minute for a real layer
        arrays = {name: x if x is None else x.detach().numpy() for name, x in exact.items()}
        right = map(torch.from_numpy, oracle.selective_scan(**arrays, delta_softplus=delta_softplus))
    for (name, x), y in zip(results.items(), right, strict=True):
        assert error(x, y) < (half_bound or BOUND if name == "y" else BOUND), name

    present = {name: x for name, x in given.items() if x is not None}
    weights = [torch.randn(results[name].shape, generator=torch.Generator().manual_seed(1)) for name in through]
    weights = [w.to(results[name]) for w, name in zip(weights, through, strict=True)]
    found = torch.autograd.grad([results[name] for name in through], list(present.values()), weights, allow_unused=True)
    right = torch.autograd.grad(
        [expected[name] for name in through],
        [exact[name] for name in present],
        [w.cpu().double() for w in weights],
        allow_unused=True,
        materialize_grads=True,
    )
    for (name, x), got, y in zip(present.items(), found, right, strict=True):
        assert got.dtype == x.dtype and got.shape == x.shape, name
        if y.any():
            assert error(got, y) < (BOUND if x.dtype == torch.float32 else half_bound), name
        else:
            assert not got.any(), name


SUBSETS = [names for n in range(5) for names in itertools.combinations(OPTIONAL, n)]
SUBSETS[1:-1] = slow(*SUBSETS[1:-1])


@pytest.mark.parametrize("delta_softplus", [False, True])
@pytest.mark.parametrize("without", SUBSETS, ids="-".join)
@pytest.mark.parametrize("through", [("y",), ("y", "last_state")], ids="-".join)
def test_every_combination_of_options(without, delta_softplus, through):
    channels_last = len(without) % 2 == delta_softplus
    check(arguments(batch=1, channels_last=channels_last, without=without), delta_softplus, through)


@layouts
@pytest.mark.parametrize(
    "sizes",
    [
        {"length": 7},
        {"batch": 1, "dim": 9, "d_state": 16},  # two programs, the second with one channel
        {"batch": 0},
        *slow(
            {"length": 1},
            {"length": 8, "d_state": 1},
            {"length": 22, "dim": 2},
            {"batch": 1, "dim": 10, "groups": 2, "d_state": 5, "length": 3},
            {"batch": 1, "dim": 34, "d_state": 2, "length": 3},  # 32 channels in a program, and two more; backwards 16
            {"batch": 1, "dim": 19, "d_state": 33, "length": 4},  # several warps a program
            {"batch": 1, "dim": 6, "groups": 6, "length": 2},
        ),
    ],
    ids=str,
)
def test_shapes(sizes, channels_last):
    check(arguments(**sizes, channels_last=channels_last))


@layouts
@pytest.mark.parametrize(
    "sizes",
    [
        {"batch": 16, "dim": 128, "d_state": 16, "length": 784},
        {"batch": 32, "dim": 2, "d_state": 16, "length": 784},
        {"batch": 3, "dim": 200, "d_state": 64, "groups": 2, "length": 1000},
        {"batch": 2, "dim": 24, "d_state": 256, "length": 50},
        {"batch": 100, "dim": 128, "d_state": 16, "length": 100},  # one segment
        {"batch": 1, "dim": 128, "d_state": 16, "length": 5_000},  # as many as there may be
    ],
    ids=str,
)
def test_shapes_of_real_layers(sizes, channels_last):
    if DEVICE == "cpu":
        pytest.skip("there is no GPU here, and the interpreter would take hours")
    check(arguments(**sizes, channels_last=channels_last))


@pytest.fixture
def in_segments(monkeypatch):
    """Split every length into that many segments, of that many chunks."""
    return lambda *split: monkeypatch.setattr(triton_kernel, "_split", lambda u, A, B, tile: split)


@pytest.mark.parametrize(
    "case",
    [
        {"split": (3, 1), "batch": 1, "length": 20, "groups": 3},  # the last chunk is not full
        *slow(
            {"split": (2, 2), "length": 22, "channels_last": True},
            {"split": (6, 1), "batch": 1, "length": 36},  # more than are joined at once
            {"split": (2, 1), "batch": 1, "dim": 9, "length": 14, "d_state": 16},  # several programs
            {"split": (2, 1), "batch": 1, "dim": 19, "d_state": 33, "length": 8},  # several warps a program
        ),
    ],
    ids=str,
)
def test_segments(in_segments, case):
    sizes = dict(case)
    in_segments(*sizes.pop("split"))
    check(arguments(**sizes))


@pytest.mark.slow
@pytest.mark.parametrize("delta_softplus", [False, True])
@pytest.mark.parametrize("through", [("y",), ("last_state",)], ids="-".join)
@pytest.mark.parametrize("without", [("z",), ("initial_state",), OPTIONAL], ids="-".join)
def test_options_in_segments(in_segments, without, delta_softplus, through):
    in_segments(2, 1)
    check(arguments(batch=1, length=9, without=without), delta_softplus, through)


def test_a_split_scan_equals_a_whole_one(in_segments):
    """Where states live long and a carry passes through many segments."""
    given, runs = arguments(batch=1, dim=2, length=49), []
    given["A"] = (given["A"].detach() / 50).requires_grad_()
    for split in ((1, 7), (7, 1)):
        in_segments(*split)
        results = triton_kernel.scan(**given, delta_softplus=True)
        runs.append([*results, *torch.autograd.grad(results, list(given.values()), results)])
    assert all(error(x, y) < 2e-6 for x, y in zip(*runs, strict=True))


@pytest.mark.parametrize(
    "batch, forward, backward",
    [
        (1, (28, 4), (28, 4)),
        (16, (16, 7), (16, 7)),
        (64, (4, 28), (1, 112)),
        (100, (1, 112), (1, 112)),
        (0, (28, 4), (28, 4)),
    ],
)
def test_as_many_segments_as_an_h100_needs(monkeypatch, batch, forward, backward):
    monkeypatch.setattr(triton_kernel, "_schedulers", lambda device: 528)
    u, A, B = torch.empty(batch, 128, 784), torch.empty(128, 16), torch.empty(batch, 1, 16, 784)
    assert triton_kernel._split(u, A, B, triton_kernel._wide) == forward
    assert triton_kernel._split(u, A, B, triton_kernel._narrow) == backward


def test_gradient_through_the_last_state_only():
    check(arguments(), through=("last_state",))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@layouts
def test_half_precision_is_only_storage(dtype, channels_last):
    given = arguments(channels_last=channels_last)
    for name in ("u", "delta", "z", "B", "C"):
        given[name] = given[name].detach().to(dtype).requires_grad_()
    check(given, half_bound=torch.finfo(dtype).eps)


@pytest.mark.slow
def test_dtypes_may_differ():
    given = arguments()
    for name, dtype in {"u": torch.bfloat16, "z": torch.float16, "C": torch.float16}.items():
        given[name] = given[name].detach().to(dtype).requires_grad_()
    check(given, half_bound=torch.finfo(torch.bfloat16).eps)
    # Autograd would cast the gradients by itself; the operator must not rely on it.
    tensors = [x.detach() for x in given.values()]
    y, last_state, states = triton_kernel._forward(*tensors, True, True)
    gradients = triton_kernel._backward(*tensors, True, states, y, last_state)
    assert [x.dtype for x in gradients] == [x.dtype for x in tensors]


def test_any_strides():
    g = torch.Generator().manual_seed(2)

    def normal(*shape):
        return torch.randn(*shape, generator=g).to(DEVICE)  # before it is viewed: a copy would be put in order

    u, z = normal(2, 10, 8).transpose(1, 2).chunk(2, dim=1)  # as a projection leaves them
    _, B, C = normal(2, 10, 1 + 3 + 3).transpose(1, 2).split([1, 3, 3], dim=1)
    given = arguments(dim=4, length=10) | {"u": u, "z": z, "B": B.unsqueeze(1), "C": C.unsqueeze(1)}
    given["delta"] = normal(2, 1, 10).expand(2, 4, 10)
    given["A"] = given["A"].detach().t().contiguous().t()
    for name in ("u", "z", "B", "C", "delta", "A"):
        assert not given[name].is_contiguous()
        given[name].requires_grad_()
    check(given)


@pytest.mark.slow
@layouts
def test_layout_is_kept(channels_last):
    given = arguments(channels_last=channels_last)
    y, _ = triton_kernel.scan(**given, delta_softplus=True)
    assert y.stride() == given["u"].stride()
    du, dz = torch.autograd.grad(y.sum(), [given["u"], given["z"]])
    assert du.stride() == dz.stride() == given["u"].stride()


def test_softplus_is_right_where_it_is_large_and_where_it_is_small():
    """One position, one state number: y is the step, and its derivative the slope, each number held for itself."""
    raw = torch.tensor([-80.0, -40.0, -20.0, -10.0, -3.0, -0.5, 0.0, 0.5, 3.0, 10.0, 20.0, 40.0, 80.0, 1e4])
    raw = raw.to(DEVICE)
    delta = raw.clone().view(1, -1, 1).requires_grad_()
    one = torch.ones(1, 1, 1, 1, device=DEVICE)
    A = -torch.ones(len(raw), 1, device=DEVICE)
    y, _ = triton_kernel.scan(torch.ones_like(delta), delta, A, one, one, *[None] * 4, True)
    y.sum().backward()
    exact = raw.double()
    for found, right in ((y, torch.log1p(exact.exp())), (delta.grad, exact.sigmoid())):
        right = torch.where(exact > 50, exact if found is y else 1.0, right)
        assert ((found.flatten() - right) / right).abs().max() < BOUND
    for extreme in (-1e4, -float("inf")):
        u = torch.ones(1, 1, 1, device=DEVICE)
        y, _ = triton_kernel.scan(u, torch.full_like(u, extreme), A[:1], one, one, *[None] * 4, True)
        assert y.item() == 0


@pytest.mark.slow
def test_large_steps_forget_and_their_gradients_are_right():
    """Where every state is forgotten at once the gradient of A is tiny, and must not drown in the states' rounding."""
    given = arguments(without=("delta_bias", "D", "initial_state"))
    given["delta"] = (given["delta"].detach().abs() + 12).requires_grad_()
    given["A"] = (given["A"].detach() - 0.5).requires_grad_()
    check(given, delta_softplus=False)


@pytest.mark.slow
@pytest.mark.parametrize("split", [(1, 2), (2, 1)], ids=["whole", "split"])
def test_the_same_every_time(in_segments, split):
    in_segments(*split)
    runs = []
    for _ in range(2):
        given = arguments(batch=1, dim=9, d_state=16)
        results = triton_kernel.scan(**given, delta_softplus=True)
        runs.append([*results, *torch.autograd.grad(results, list(given.values()), results)])
    assert all(torch.equal(x, y) for x, y in zip(*runs, strict=True))


@pytest.mark.slow
def test_no_states_are_kept_without_a_gradient(monkeypatch):
    kept = []
    original = triton_kernel._results
    monkeypatch.setattr(triton_kernel, "_results", lambda u, A, keep: kept.append(keep) or original(u, A, keep))
    given = arguments()
    y, _ = triton_kernel.scan(**given, delta_softplus=True)
    with torch.no_grad():
        again, _ = triton_kernel.scan(**given, delta_softplus=True)
    assert kept == [True, False] and torch.equal(y, again)


@pytest.mark.slow
@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "minimal"])
def test_second_derivatives_are_those_of_the_plain_form(without):
    given = arguments(batch=1, length=8, without=without)
    tensors, found = [x for x in given.values() if x is not None], []
    for scan in (triton_kernel.scan, plain):
        y, last_state = scan(**given, delta_softplus=True)
        slopes = torch.autograd.grad(y.square().sum() + last_state.sum(), tensors, create_graph=True)
        found.append(torch.autograd.grad(sum(slope.square().sum() for slope in slopes), tensors))
    for x, y in zip(*found, strict=True):
        assert (x - y).abs().max() <= 1e-4 * y.abs().max()


@pytest.mark.slow
@layouts
@pytest.mark.parametrize("without", [(), OPTIONAL], ids=["all", "minimal"])
def test_operators(channels_last, without):
    given = arguments(batch=1, length=8, channels_last=channels_last, without=without)
    torch.library.opcheck(triton_kernel._forward, (*given.values(), True, True))
    tensors = [x if x is None else x.detach() for x in given.values()]
    y, last_state, states = triton_kernel._forward(*tensors, True, True)
    torch.library.opcheck(triton_kernel._backward, (*tensors, True, states, y, last_state))


@pytest.mark.slow
@layouts
def test_compile(channels_last):
    given = arguments(channels_last=channels_last)

    def loss(**given):
        y, last_state = triton_kernel.scan(**given, delta_softplus=True)
        return y.square().sum() + last_state.square().sum()

    eager = torch.autograd.grad(loss(**given), list(given.values()))
    compiled = torch.autograd.grad(
        torch.compile(loss, fullgraph=True, backend="aot_eager")(**given), list(given.values())
    )
    assert all(torch.equal(x, y) for x, y in zip(compiled, eager, strict=True))
