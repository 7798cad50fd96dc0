"""Mamba-2's scan, three ways: equal to the oracle and to each other, for any shape, in any precision."""

import numpy as np
import pytest
import ssd_oracle
import torch
from scan_cases import error

from helpers.ssd import FORMS, chunked, quadratic, scan, ssd

BATCH, HEADS, HEADDIM, D_STATE = 2, 4, 3, 5
every_form = pytest.mark.parametrize("form", FORMS)


def arguments(length=11, groups=2, D="heads", dtype=torch.float64, headdim=HEADDIM, d_state=D_STATE, heads=HEADS):
    """All arguments by name."""
    random = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(*shape, generator=random, dtype=dtype)

    return {
        "x": normal(BATCH, length, heads, headdim),
        "dt": normal(BATCH, length, heads),
        "A": -torch.rand(heads, generator=random, dtype=dtype) - 0.1,
        "B": normal(BATCH, length, groups, d_state),
        "C": normal(BATCH, length, groups, d_state),
        "D": normal(heads) if D == "heads" else normal(heads, headdim),
        "z": normal(BATCH, length, heads, headdim),
        "dt_bias": normal(heads),
        "initial_state": normal(BATCH, heads, headdim, d_state),
    }


def numpy(given):
    return {name: x.numpy() for name, x in given.items()}


@every_form
@pytest.mark.parametrize("length, chunk_size", [(1, 4), (4, 4), (11, 4), (11, 1), (11, 64)])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_equals_the_oracle(form, length, chunk_size, groups):
    given = arguments(length, groups, D="channels" if groups == 2 else "heads")
    options = {"dt_softplus": True, "dt_limit": (0.2, 1.5)}
    found = ssd(**given, **options, chunk_size=chunk_size, return_last_state=True, form=form)
    for x, y in zip(found, ssd_oracle.ssd(**numpy(given), **options), strict=True):
        assert error(x, torch.from_numpy(y)) < 1e-13


@every_form
def test_what_may_be_left_out_is_left_out(form):
    given = arguments(groups=1)
    given = {name: given[name] for name in ("x", "dt", "A", "B", "C")} | {"dt": given["dt"].abs()}
    y = ssd(**given, form=form, chunk_size=4)
    assert error(y, torch.from_numpy(ssd_oracle.ssd(**numpy(given))[0])) < 1e-13


def test_chunks_are_the_default():
    given = arguments(length=150)
    assert torch.equal(ssd(**given), ssd(**given, form="chunked", chunk_size=28))


@every_form
@pytest.mark.parametrize("strict", [False, True])
def test_several_inputs_and_outputs_a_head(form, strict):
    """With a rank, all rows of a position are written, and then all are read; strict: all are read first."""
    torch.manual_seed(0)
    length, rank = 7, 3
    x = torch.randn(BATCH, length * rank, HEADS, HEADDIM, dtype=torch.float64)
    B, C = torch.randn(2, BATCH, length * rank, 2, D_STATE, dtype=torch.float64)
    write, log_decay = torch.randn(2, BATCH, length, HEADS, dtype=torch.float64)
    log_decay, own = -log_decay.abs(), torch.randn(BATCH, length, HEADS, rank, rank, dtype=torch.float64)
    h = torch.randn(BATCH, HEADS, HEADDIM, D_STATE, dtype=torch.float64)
    y, last = scan(x, write, log_decay, B, C, h, own, chunk_size=3, form=form, strict=strict)
    for t in range(length):
        rows = slice(t * rank, (t + 1) * rank)
        B_t, C_t = (matrix[:, rows].repeat_interleave(2, 2) for matrix in (B, C))
        kept = log_decay[:, t, :, None, None].exp() * h
        h = kept + torch.einsum("bh,brhp,brhn->bhpn", write[:, t], x[:, rows], B_t)
        read = torch.einsum("bhpn,brhn->brhp", kept if strict else h, C_t)
        read = read + torch.einsum("bhrs,bshp->brhp", own[:, t], x[:, rows])
        torch.testing.assert_close(y[:, rows], read)
    torch.testing.assert_close(last, h)


@every_form
def test_gradients(form):
    given = arguments(length=5, groups=2, headdim=2, d_state=2, heads=2)
    leaves = [x.requires_grad_() for x in given.values()]

    def both(*tensors):
        named = dict(zip(given, tensors, strict=True))
        return ssd(**named, dt_softplus=True, return_last_state=True, form=form, chunk_size=2)

    assert torch.autograd.gradcheck(both, leaves)
    assert torch.autograd.gradgradcheck(both, leaves)


@every_form
def test_continues_where_it_stopped(form):
    given = arguments(length=13)
    options = {"dt_softplus": True, "chunk_size": 4, "form": form, "return_last_state": True}
    y, last = ssd(**given, **options)
    by_position, parts, state = ("x", "dt", "B", "C", "z"), [], given.pop("initial_state")
    for part in (slice(0, 6), slice(6, 7), slice(7, 13)):
        now = {name: x[:, part] if name in by_position else x for name, x in given.items()}
        y_part, state = ssd(**now, initial_state=state, **options)
        parts.append(y_part)
    torch.testing.assert_close(torch.cat(parts, 1), y)
    torch.testing.assert_close(state, last)


@every_form
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_large_and_tiny_steps_in_float32(form, scale):
    """With steps of 10^4 whatever was there is gone, and what comes next must not be gone with it."""
    given = arguments(length=60, dtype=torch.float32)
    given["dt"] = given["dt"].abs() * torch.where(torch.arange(60) % 7 == 3, scale, 0.1)[None, :, None]
    del given["dt_bias"]
    found = ssd(**given, form=form, chunk_size=16, return_last_state=True)
    expected = ssd_oracle.ssd(**{name: x.astype(np.float64) for name, x in numpy(given).items()})
    for x, y in zip(found, expected, strict=True):
        assert error(x, torch.from_numpy(y)) < 2e-6


def test_segment_sums_are_not_differences():
    """1, 10^8 and 2 in float32: from the beginning the last two sums are the same, and between them lie 2."""
    x = torch.tensor([1.0, 1e8, 2.0])
    expected = [[0, 0, 0], [1e8, 0, 0], [1e8, 2, 0]]
    assert torch.equal(quadratic.segment_sums(x), torch.tensor(expected))
    assert torch.equal(chunked.segment_sums(x), torch.tensor(expected))
    assert x.cumsum(0)[2] - x.cumsum(0)[1] == 0


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 1e-6), (torch.bfloat16, 2e-2), (torch.float16, 3e-3)])
def test_half_precision_is_computed_in_float32(dtype, bound):
    given = {name: x.to(dtype) for name, x in arguments(length=40).items()}
    y, last = ssd(**given, dt_softplus=True, return_last_state=True, chunk_size=16)
    assert y.dtype == dtype and last.dtype == torch.float32
    wide = {name: x.double() for name, x in given.items()}
    expected, expected_last = ssd(**wide, dt_softplus=True, return_last_state=True, form="recurrent")
    assert error(y, expected) < bound and error(last, expected_last) < 1e-6


def test_under_autocast_products_are_in_half_precision_and_decays_are_not(monkeypatch):
    given, seen = arguments(length=64, dtype=torch.float32), []
    sums = chunked.segment_sums
    monkeypatch.setattr(chunked, "segment_sums", lambda x: (seen.append((x.dtype, sums(x).dtype)), sums(x))[1])
    expected = ssd(**given, dt_softplus=True)
    with torch.autocast("cpu", torch.bfloat16):
        y, last = ssd(**given, dt_softplus=True, return_last_state=True)
    assert y.dtype == last.dtype == torch.float32 and seen == [(torch.float32, torch.float32)] * 2
    assert 1e-5 < error(y, expected) < 2e-2


@pytest.mark.slow
def test_compiles_whole():
    given = arguments(length=11, dtype=torch.float32)

    def loss(**given):
        return ssd(**given, dt_softplus=True, chunk_size=4).square().sum()

    torch.testing.assert_close(torch.compile(loss, fullgraph=True, backend="aot_eager")(**given), loss(**given))


def saved(length, form):
    """Bytes that are kept for the gradient."""
    storages = {}

    def pack(x):
        storages[x.untyped_storage().data_ptr()] = x.untyped_storage()
        return x

    given = {name: x.requires_grad_() for name, x in arguments(length, dtype=torch.float32).items()}
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        ssd(**given, form=form, chunk_size=16)
    return sum(storage.nbytes() for storage in storages.values())


def test_memory_grows_with_the_length_in_chunks_and_with_its_square_as_attention():
    assert saved(1024, "chunked") / saved(256, "chunked") == pytest.approx(4, rel=0.1)
    assert saved(1024, "quadratic") / saved(256, "quadratic") > 10


@pytest.mark.parametrize(
    "change, said",
    [
        ({"x": torch.ones(2, 11, 3)}, r"x must be \(batch, length, heads, headdim\), floating, got \(2, 11, 3\)"),
        ({"x": torch.ones(2, 0, 4, 3)}, r"x must be .* got \(2, 0, 4, 3\)"),
        ({"dt": torch.ones(2, 11, 3)}, r"dt must be \(2, 11, 4\), got \(2, 11, 3\)"),
        ({"A": torch.ones(4, 1)}, r"A must be \(4,\), got \(4, 1\)"),
        ({"B": torch.ones(2, 11, 3, 5)}, r"B must be .* with groups dividing 4, got \(2, 11, 3, 5\)"),
        ({"C": torch.ones(2, 11, 1, 5)}, r"C must be \(2, 11, 2, 5\), got \(2, 11, 1, 5\)"),
        ({"D": torch.ones(3)}, r"D must be \(4,\), got \(3,\)"),
        ({"z": torch.ones(2, 11, 12)}, r"z must be \(2, 11, 4, 3\)"),
        ({"dt_bias": torch.ones(1)}, r"dt_bias must be \(4,\)"),
        ({"initial_state": torch.ones(2, 4, 5, 3)}, r"initial_state must be \(2, 4, 3, 5\), got \(2, 4, 5, 3\)"),
        ({"A": torch.ones(4, dtype=torch.int64)}, r"A must be floating, got torch\.int64"),
        ({"A": torch.ones(4, device="meta")}, r"A must be on cpu, where x is, got meta"),
        ({"form": "parallel"}, r"form must be None or one of recurrent, quadratic, chunked, got 'parallel'"),
        ({"chunk_size": 0}, r"chunk_size must be a whole number, at least 1, got 0"),
        ({"chunk_size": 2.5}, r"chunk_size must be a whole number, at least 1, got 2\.5"),
    ],
)
def test_what_is_wrong_is_named(change, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        ssd(**{**arguments(), **change})
