"""What the notebooks write out by hand equals the helpers."""

import pytest
import torch
from notebook_definitions import definitions

from helpers import copying, inspect
from helpers.benchmark.measure import saved_bytes
from helpers.layers import S4D, Mamba
from helpers.layers.s4d import causal_convolution
from helpers.models import PixelClassifier
from helpers.scan import associative, selective_scan
from helpers.ssd import quadratic, ssd
from helpers.testing import relative_error, worst_error


@pytest.mark.parametrize("scan", ["loop", "unbound_loop", "parallel_scan"])
def test_scans_written_out_equal_the_helper(scan):
    page = definitions("04_selective_scan")
    arguments = page["example"](100, dtype=torch.float64)
    ours = selective_scan(*arguments, backend="reference")
    theirs = page[scan](*arguments)
    torch.testing.assert_close(theirs, ours, rtol=1e-12, atol=1e-14)
    weight = torch.randn_like(ours)
    for name, x, y in zip(
        "u delta A B C".split(),
        torch.autograd.grad((theirs * weight).sum(), arguments),
        torch.autograd.grad((ours * weight).sum(), arguments),
        strict=True,
    ):
        torch.testing.assert_close(x, y, rtol=1e-10, atol=1e-12, msg=lambda text, name=name: f"{name}: {text}")


@pytest.mark.parametrize("mixer", ["mamba", "mamba-rope"])
@torch.no_grad()
def test_hidden_matrix_written_out_equals_the_helper(mixer):
    torch.manual_seed(0)
    model = PixelClassifier(mixer, 8, 2, length=23, d_state=4).double().eval()
    pixels = torch.randn(1, 23, 1, dtype=torch.float64)
    hidden_matrix = definitions("07_inside_the_state")["hidden_matrix"]
    for block, x in zip(model.blocks, inspect.inputs_of_blocks(model, pixels), strict=True):
        chosen = inspect.selection(block, x)
        for channel in (0, 11):
            expected = inspect.implicit_matrix(chosen, [channel])[0, 0]
            assert relative_error(hidden_matrix(chosen, channel), expected) < 1e-12


def test_ssd_written_out_equals_the_helper():
    page = definitions("10_mamba_2_and_3")
    x, dt = torch.randn(37, 5, dtype=torch.float64), torch.rand(37, dtype=torch.float64)
    B, C = torch.randn(2, 37, 3, dtype=torch.float64)
    A = torch.tensor(-0.7, dtype=torch.float64)
    torch.testing.assert_close(page["decay_mask"](dt, A), quadratic.mask(dt * A))
    heads = [form[None, :, None] for form in (x, dt, B, C)]
    expected = ssd(heads[0], heads[1], A[None], *heads[2:], form="recurrent")[0, :, 0]
    for y in (page["loop"](x, dt, A, B, C), page["in_chunks"](x, dt, A, B, C, 8)):
        torch.testing.assert_close(y, expected)


@pytest.mark.parametrize("dtype, bound", [(torch.float32, 2e-6), (torch.float64, 1e-14)])
@pytest.mark.parametrize("stem, name", [("04_selective_scan", "fused"), ("A3_fusing_the_scan", "by_hand")])
def test_kernel_written_out_equals_the_helper(stem, name, dtype, bound):
    arguments = definitions("04_selective_scan")["example"](100, dtype=dtype)
    expected = selective_scan(*arguments, backend="numba")
    assert relative_error(definitions(stem)[name](*arguments), expected) < bound


@pytest.mark.parametrize("every", [1, 7, 16, 200])
def test_way_back_written_out_equals_the_helper(every):
    arguments = definitions("04_selective_scan")["example"](100, batch=2, dim=5, d_state=3, dtype=torch.float64)
    y = selective_scan(*arguments, backend="numba")
    dy = torch.randn_like(y)
    expected = torch.autograd.grad(y, arguments, dy)
    with torch.no_grad():
        ours = definitions("A3_fusing_the_scan")["way_back"](*arguments, dy, every)
    assert worst_error(ours, expected) < 1e-12


@pytest.mark.parametrize("segments", [1, 3, 16])
def test_segments_written_out_equal_the_helper(segments):
    arguments = definitions("04_selective_scan")["example"](100, batch=2, dim=5, d_state=3, dtype=torch.float64)
    ours = definitions("A3_fusing_the_scan")["in_segments"](*arguments, segments)
    assert relative_error(ours, selective_scan(*arguments)) < 1e-14


def test_power_of_two_written_out_equals_the_helper():
    x = torch.linspace(-30, 30, 1001)
    ours = torch.from_numpy(definitions("A3_fusing_the_scan")["exp2_by_hand"](x.numpy()))
    assert relative_error(ours / torch.exp2(x), torch.ones_like(x)) < 5e-7


def test_bytes_kept_are_those_of_the_formulas():
    page = definitions("04_selective_scan")
    arguments = page["example"](300, batch=3, dim=16, d_state=4)
    page["every"] = 16
    for scan, numbers in zip(
        ("unbound_loop", "parallel_scan", None, "numba"), page["kept_numbers"](3, 300, 16, 4).tolist(), strict=True
    ):
        if scan:
            form = page["helper"]("numba") if scan == "numba" else page[scan]
            assert saved_bytes(lambda form=form: form(*arguments)) == pytest.approx(4 * numbers, rel=0.02)


def test_doubling_written_out_equals_the_helper():
    a, b = torch.rand(37, 3, dtype=torch.float64), torch.randn(37, 3, dtype=torch.float64)
    _, h = definitions("04_selective_scan")["prefixes"](a, b)
    torch.testing.assert_close(h, associative.states(a, b, torch.zeros(3, dtype=torch.float64)))


def test_discretization_and_kernel_written_out_equal_the_helper():
    page = definitions("03_state_space_models")
    torch.manual_seed(0)
    layer = S4D(3, d_state=8).double()
    A, C = -layer.log_A_real.exp() + 1j * layer.A_imag, torch.view_as_complex(layer.C)
    delta, B = layer.log_dt.exp().unsqueeze(-1), torch.ones_like(A)
    dtA, B_bar = layer.discretize()
    for ours, theirs in zip(page["zero_order_hold"](delta, A, B), (dtA.exp(), B_bar), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    K = page["diagonal_kernel"](delta, A, B, C, 100)
    torch.testing.assert_close(K, layer.kernel(100), rtol=1e-11, atol=1e-13)


def test_mambas_discretization_written_out_equals_the_scan():
    page = definitions("03_state_space_models")
    torch.manual_seed(0)
    u, delta, B = torch.randn(20, dtype=torch.float64), torch.rand(20, dtype=torch.float64), torch.randn(20).double()
    A, h, states = torch.tensor(-1.3, dtype=torch.float64), 0, []
    for u_t, delta_t, B_t in zip(u, delta, B, strict=True):
        A_bar, B_bar = page["as_mamba_does"](delta_t, A, B_t)
        h = A_bar * h + B_bar * u_t
        states.append(h)
    one = (1, 1, 20)
    y = selective_scan(u.view(one), delta.view(one), A.view(1, 1), B.view(one), torch.ones(one).double())
    torch.testing.assert_close(torch.stack(states), y.flatten(), rtol=1e-12, atol=1e-14)


def test_convolutions_written_out_equal_the_helper():
    page = definitions("03_state_space_models")
    u, K = torch.randn(2, 50, dtype=torch.float64)
    expected = causal_convolution(u, K)
    torch.testing.assert_close(page["fft_convolution"](K, u, padded=2), expected, rtol=1e-11, atol=1e-12)
    torch.testing.assert_close(page["convolution"](K, u), expected, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("fixed", [True, False])
def test_copying_task_is_what_the_page_says(fixed):
    page = definitions("03_state_space_models")
    sequences, answers = page["copying"](500, fixed, seed=0, noise=30)
    assert sequences.shape == (500, 30 + page["COPIES"])
    assert (sequences[:, 30:] == page["QUESTION"]).all()
    tokens = [row[row > 0] - 1 for row in sequences[:, :30]]
    assert torch.equal(torch.stack(tokens), answers)  # in their order
    assert answers.unique().tolist() == list(range(page["TOKENS"]))
    places = {tuple(row.nonzero().flatten().tolist()) for row in sequences[:, :30]}
    assert len(places) == 1 if fixed else len(places) > 400


BLOCKS = [{"d_model": 32}, {"d_model": 6, "d_state": 4, "expand": 1, "d_conv": 3}, {"d_model": 10, "dt_rank": 3}]


def close(x, y, bound=1e-5):
    return (x - y).abs().max() <= bound * y.abs().max()


def noisy_block(options, make=Mamba):
    """With no weight where it starts: nothing is right because something is zero or one."""
    torch.manual_seed(0)
    block = make(**options)
    with torch.no_grad():
        for p in block.parameters():
            p += 0.1 * torch.randn_like(p)
    return block, torch.randn(2, 40, options["d_model"])


@pytest.mark.parametrize("options", BLOCKS)
def test_block_written_out_equals_the_helper(options):
    page = definitions("05_the_mamba_block")
    block, x = noisy_block(options)
    theirs = page["with_gradients"](lambda x: page["by_hand"](block, x), block, x)
    ours = page["with_gradients"](block, block, x)
    assert set(ours) == {"x", "y", *dict(block.named_parameters())}
    assert {name for name in ours if not close(theirs[name], ours[name])} == set()


@pytest.mark.parametrize("options", BLOCKS)
def test_step_written_out_equals_the_helper(options):
    page = definitions("05_the_mamba_block")
    block, x = noisy_block(options)
    state, state_by_hand = (block.initial_state(2) for _ in range(2))
    for x_t in x.unbind(1):
        y, state = block.step(x_t, state)
        y_by_hand, state_by_hand = page["one_step"](block, x_t, state_by_hand)
        for theirs, ours in zip((y_by_hand, *state_by_hand[:2]), (y, *state[:2]), strict=True):
            assert theirs.shape == ours.shape and close(theirs, ours, 1e-6)
    with torch.no_grad():
        ys, _ = page["in_steps"](block.step, x, block.initial_state(2))
        assert close(ys, block(x))


def test_what_is_taken_out_is_out():
    page = definitions("05_the_mamba_block")
    delta, B_and_C = page["SELECTION"]
    gate = slice(12, 24)  # the rows of in_proj that make it, at d_model 6

    def gradients(*without):
        block, x = noisy_block({"without": without, "d_model": 6}, page["Ablated"])
        names, parameters = zip(*block.named_parameters(), strict=True)
        grads = torch.autograd.grad(block(x).square().sum(), parameters, allow_unused=True, materialize_grads=True)
        return dict(zip(names, grads, strict=True))

    for name, grad in gradients().items():
        assert grad.any(), name
    assert not gradients("convolution")["conv1d.weight"].any()
    assert not gradients("skip")["D"].any()
    assert not gradients("gate")["in_proj.weight"][gate].any() and gradients("skip")["in_proj.weight"][gate].any()

    def adds_up(*without):
        """Whether two positions act on the output as if each were alone, and the same at every place."""
        block, _ = noisy_block({"without": ("convolution", "gate", *without), "d_model": 6}, page["Ablated"])
        x = torch.zeros(3, 20, 6)
        x[0, 3], x[1, 9] = torch.randn(6), torch.randn(6)
        x[2] = x[0] + x[1]
        with torch.no_grad():
            y = block(x)
            return close(y[0] + y[1], y[2]) and close(block(x[:1].roll(4, dims=1))[0, 4:], y[0, :-4])

    assert adds_up(delta, B_and_C)
    assert not adds_up(delta) and not adds_up(B_and_C) and not adds_up()


def test_classifier_written_out_equals_the_helper():
    classifier, pixels = PixelClassifier(d_model=6, length=40, d_state=4), torch.randn(2, 40, 1)
    with torch.no_grad():
        for p in classifier.parameters():
            p += 0.1 * torch.randn_like(p)
        torch.testing.assert_close(definitions("06_training")["classify"](classifier, pixels), classifier(pixels))


def test_recall_is_what_the_page_says():
    page = definitions("05_the_mamba_block")
    keys, values, pairs = (page[name] for name in ("KEYS", "VALUES", "PAIRS"))
    sequences, answers = page["recall"](2_000, seed=0)
    assert sequences.shape == (2_000, 2 * pairs + 1) and answers.unique().tolist() == list(range(values))
    commonest = 0
    for row, answer in zip(sequences.tolist(), answers.tolist(), strict=True):
        shown = dict(zip(row[:-1:2], row[1::2], strict=True))
        assert len(shown) == pairs and set(shown) <= set(range(keys)) and shown[row[-1]] == keys + answer
        commonest += max(row[1::2].count(value) for value in row[1::2]) / pairs
    assert commonest / 2_000 == pytest.approx(0.412, abs=0.01)  # what can be right without binding, as the page counts


def test_inverse_softplus_written_out_is_the_blocks_bias():
    page = definitions("05_the_mamba_block")
    bias = Mamba(32).dt_proj.bias.detach()
    torch.testing.assert_close(page["inverse_softplus"](torch.nn.functional.softplus(bias)), bias)


@pytest.mark.parametrize("fixed", [True, False])
def test_copying_written_out_equals_the_helper(fixed):
    page = definitions("03_state_space_models")
    for ours, theirs in zip(page["copying"](9, fixed, 4, 50), copying.copying(9, fixed, 4, 50), strict=True):
        assert torch.equal(ours, theirs)
    assert (page["TOKENS"], page["QUESTION"], page["COPIES"]) == (copying.TOKENS, copying.QUESTION, copying.COPIES)


@torch.no_grad()
def test_reading_in_pieces_written_out_equals_the_helper():
    torch.manual_seed(0)
    model = copying.CopyingModel("mamba", 16).double()
    sequences, _ = copying.copying_batches(3, 40, 0, 3)[0]
    theirs = definitions("09_longer_sequences")["read_in_pieces"](model, sequences, 8)
    assert relative_error(theirs, copying.InPieces(model, 8)(sequences)) < 1e-12
