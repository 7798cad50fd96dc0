"""The scan fused on the CPU, as a kernel: what it keeps, copies and returns, and that it is an operator of torch."""

import pytest
import torch
from repository import run_python
from scan_cases import BATCH, BOUND, NARROW, WIDE, arguments, error, gradients, scan

from helpers.scan import backends, selective_scan

if "numba" not in backends("cpu"):
    pytest.skip("Numba does not work here", allow_module_level=True)

from helpers.scan import numba_kernel

both_sizes = pytest.mark.parametrize("sizes", [WIDE, NARROW], ids=["wide", "narrow"])


def kernel_arguments(dtype=torch.float32, channels_last=True, **sizes):
    """The arguments of the operator: B and C in one group, and where channels are last no copy is needed."""
    return arguments(37, "groups", dtype=dtype, groups=1, channels_last=channels_last, **sizes)


@both_sizes
def test_bfloat16_is_read_and_written_as_it_is(sizes):
    """Sequences in bfloat16, the rest in float32: only what is rounded at the end may differ, by half a unit."""
    given = arguments(37, dtype=torch.float32, **sizes)
    sequences = ("u", "delta", "z")
    given |= {name: given[name].bfloat16() for name in sequences}
    exact = {name: x.double() for name, x in given.items()}
    weights = torch.randn(BATCH, sizes["dim"], 37).bfloat16(), torch.randn(BATCH, sizes["dim"], sizes["d_state"])
    (y, last), (y_exact, last_exact) = scan(given, "numba"), scan(exact, "reference")
    assert y.dtype == torch.bfloat16 and error(y, y_exact) < 2**-8
    assert last.dtype == torch.float32 and error(last, last_exact) < BOUND
    found = gradients(given, "numba", weights)
    for name, expected in gradients(exact, "reference", [w.double() for w in weights]).items():
        assert found[name].dtype == given[name].dtype
        assert error(found[name], expected) < (2**-8 if name in sequences else BOUND), name


@pytest.mark.parametrize("sizes", [WIDE, NARROW, dict(dim=128, d_state=16)])
def test_no_bit_depends_on_the_number_of_threads(set_threads, sizes):
    given = arguments(300, dtype=torch.float32, batch=3, **sizes)
    found = []
    for number in (1, 2, 5, 2):
        set_threads(number)
        results = scan(given, "numba")
        found.append([*results, *gradients(given, "numba", [torch.ones_like(x) for x in results]).values()])
    for other in found[1:]:
        assert all(torch.equal(x, y) for x, y in zip(found[0], other, strict=True))


def test_channels_last_is_not_copied():
    given = kernel_arguments(dim=32, d_state=16)
    layout = numba_kernel._Layout(given["u"], given["A"], given["B"], given["C"])
    u, delta, _, B, C, _, z, _ = layout.inputs(*(given[k] for k in ("u", "delta", *"ABCDz", "delta_bias")))
    for name, array in dict(u=u, delta=delta, B=B, C=C, z=z).items():
        assert array.ctypes.data == given[name].data_ptr(), name
    y = selective_scan(given["u"], given["delta"], given["A"], given["B"], given["C"], backend="numba")
    assert y.mT.is_contiguous()


@both_sizes
def test_of_the_states_only_one_in_sixteen_is_kept(sizes):
    given = {k: x.requires_grad_() for k, x in kernel_arguments(**sizes).items()}
    *_, copies = numba_kernel._scan(*given.values(), True, True)
    assert numba_kernel.BLOCK == 16 and copies.shape[1] == -(-37 // 16)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        numba_kernel.scan(*given.values(), True)
    assert {x.data_ptr() for x in kept} > {x.data_ptr() for x in given.values() if x is not given["initial_state"]}
    assert sum(x.numel() for x in kept) <= sum(x.numel() for x in given.values()) + copies.numel()
    with torch.no_grad():
        assert numba_kernel._scan(*given.values(), True, False)[2].numel() == 0


@both_sizes
@pytest.mark.parametrize("channels_last", [False, True], ids=["channels first", "channels last"])
@pytest.mark.parametrize("sequences", [torch.float64, torch.bfloat16])
def test_it_is_a_proper_operator(sizes, channels_last, sequences):
    given = kernel_arguments(torch.promote_types(sequences, torch.float32), channels_last, **sizes)
    given |= {name: given[name].to(sequences) for name in ("u", "delta", "z")}
    for options in ((), ("D", "z", "delta_bias", "initial_state")):
        values = [None if k in options else x.detach().requires_grad_() for k, x in given.items()]
        torch.library.opcheck(numba_kernel._scan, (*values, True, True))


@both_sizes
def test_compiles_as_one_graph(sizes):
    given = arguments(20, dtype=torch.float32, **sizes)

    def loss(*values):
        return sum(x.sum() for x in scan(dict(zip(given, values, strict=True)), None))

    compiled = torch.compile(loss, fullgraph=True, backend="aot_eager")
    leaves = [x.requires_grad_() for x in given.values()]
    found = torch.autograd.grad(compiled(*leaves), leaves)
    for x, y in zip(found, torch.autograd.grad(loss(*leaves), leaves), strict=True):
        assert error(x, y) < 1e-6


def test_complex_A_is_refused_by_name_and_left_to_others():
    given = arguments(complex_A=True)
    with pytest.raises(ValueError, match=r"A must be real for backend 'numba', got torch\.complex128"):
        scan(given, "numba")
    assert all(map(torch.equal, scan(given, None), scan(given, "associative")))


@pytest.mark.slow
def test_the_first_call_says_nothing_and_the_second_process_compiles_nothing(tmp_path):
    code = """if True:
        import torch
        from helpers.scan import selective_scan
        u = torch.rand(2, 32, 40, requires_grad=True)
        selective_scan(u, u, -u[0, :, :16], u[:, :16], u[:, :16]).sum().backward()
    """
    caches = []
    for _ in range(2):
        run = run_python("-W", "error", "-c", code, NUMBA_CACHE_DIR=str(tmp_path))
        assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
        caches.append({path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.nb?")})
    assert caches[0] and caches[0] == caches[1]
