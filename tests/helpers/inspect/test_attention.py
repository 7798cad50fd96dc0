"""What a model chooses and the matrix inside its scans, against their definitions and the blocks' own results."""

import pytest
import torch

from helpers import inspect
from helpers.layers import S4D, MambaRoPE
from helpers.models import PixelClassifier
from helpers.testing import relative_error

LENGTH = 19


def classifier(mixer="mamba-rope", **options):
    torch.manual_seed(0)
    model = PixelClassifier(mixer, 8, 2, length=LENGTH, d_state=4, **options).double().eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.endswith(("A_log", "_bias", "dt_proj.weight")):
                parameter.add_(torch.randn_like(parameter))  # or much of it would be ones
    return model, torch.randn(3, LENGTH, 1, dtype=torch.float64)


MIXERS = pytest.mark.parametrize("mixer", ["mamba", "mamba-rope"])


@MIXERS
@pytest.mark.parametrize("glu", [False, True])
def test_inputs_are_what_the_blocks_read(mixer, glu):
    model, pixels = classifier(mixer, glu=glu)
    read = inspect.inputs_of_blocks(model, pixels)
    assert len(read) == 2 and not any(x.requires_grad for x in read)
    x = model.embedding(pixels)
    for number, found in enumerate(read):
        expected = model.norms[number](x)
        assert relative_error(found, expected) < 1e-12
        y = model.blocks[number](expected)
        x = x + (model.gates[number](y) if glu else y)
    assert not any(block._forward_hooks for block in model.blocks), "nothing is left behind"


@MIXERS
@torch.no_grad()
def test_selection_and_its_matrix_make_what_the_block_puts_out(mixer):
    model, pixels = classifier(mixer)
    for block, x in zip(model.blocks, inspect.inputs_of_blocks(model, pixels), strict=True):
        chosen = inspect.selection(block, x)
        assert relative_error(chosen.delta, block.step_sizes(x)) < 1e-12
        M = inspect.implicit_matrix(chosen, list(range(block.d_inner)))  # (batch, d_inner, length, length)
        y = torch.einsum("bcts,bsc->btc", M, chosen.u) + chosen.D * chosen.u
        assert relative_error(block.out_proj(y * chosen.gate), block(x)) < 1e-12
        some = inspect.implicit_matrix(chosen, [5, 2])
        assert torch.equal(some, M[:, [5, 2]]) and torch.equal(M, M.tril())


@MIXERS
@torch.no_grad()
def test_every_entry_is_that_of_the_formula(mixer):
    model, pixels = classifier(mixer)
    chosen = inspect.selection(model.blocks[1], inspect.inputs_of_blocks(model, pixels)[1])
    M = inspect.implicit_matrix(chosen, [3])[1, 0]
    u, delta, A, B, C = chosen.u[1], chosen.delta[1, :, 3], chosen.A[3], chosen.B[1], chosen.C[1]
    assert u.shape == (LENGTH, 16)
    for t in range(LENGTH):
        for s in range(t + 1):
            decay = torch.ones_like(A)
            for r in range(s + 1, t + 1):
                decay = decay * torch.exp(delta[r] * A)
            assert M[t, s].item() == pytest.approx((C[t] * decay * delta[s] * B[s]).sum().item(), rel=1e-9, abs=1e-15)


def test_what_has_no_such_scan_is_refused():
    with pytest.raises(ValueError, match="block must be a Mamba or MambaRoPE, got S4D"):
        inspect.selection(S4D(8), torch.zeros(1, 5, 8))


@torch.no_grad()
def test_half_lives_are_when_half_is_left():
    block = MambaRoPE(8, d_state=4)
    delta, A = torch.rand(5, 16) + 0.01, block._A()
    lives = inspect.half_lives(delta, A)
    assert lives.shape == (5, 16, 4)
    torch.testing.assert_close(torch.exp(lives * delta.unsqueeze(-1) * A), torch.full_like(lives, 0.5))


@MIXERS
@torch.no_grad()
def test_looking_back_is_the_length_of_what_arrives(mixer):
    model, pixels = classifier(mixer)
    block, x = model.blocks[1], inspect.inputs_of_blocks(model, pixels)[1]
    chosen, t = inspect.selection(block, x), 11
    M = inspect.implicit_matrix(chosen, list(range(block.d_inner)))
    arrived = torch.stack(
        [block.out_proj(chosen.gate[:, t] * M[:, :, t, s] * chosen.u[:, s]) for s in range(LENGTH)], 1
    )
    skip = block.out_proj(chosen.gate[:, t] * chosen.D * chosen.u[:, t])
    assert relative_error(arrived.sum(1) + skip, block(x)[:, t]) < 1e-12, "nothing else arrives"
    look = inspect.looks_back(block, chosen, t)
    assert relative_error(look, arrived.norm(dim=-1)) < 1e-12 and (look[:, t + 1 :] == 0).all()


@torch.no_grad()
def test_looked_at_is_the_mean_of_shares():
    model, pixels = classifier()
    expected = torch.zeros(3, LENGTH, dtype=torch.float64)
    for block, x in zip(model.blocks, inspect.inputs_of_blocks(model, pixels), strict=True):
        for t in (7, 14):
            look = inspect.looks_back(block, inspect.selection(block, x), t)
            expected += look / look.sum(1, keepdim=True) / 4
    found = inspect.looked_at(model, pixels, every=7)
    assert relative_error(found, expected) < 1e-12 and torch.allclose(found.sum(1), torch.ones(3).double())


@torch.no_grad()
def test_by_distance_takes_the_mean_along_the_diagonals():
    model, pixels = classifier()
    chosen = inspect.selection(model.blocks[0], inspect.inputs_of_blocks(model, pixels)[0])
    M = inspect.implicit_matrix(chosen, list(range(16))).abs()
    expected = torch.zeros(3, 6, dtype=torch.float64)
    for t in (8, 17):
        row = torch.stack([M[:, :, t, t - distance] for distance in range(6)], -1)  # (batch, d_inner, 6)
        expected += (row / row.sum(-1, keepdim=True)).mean(1) / 2
    assert relative_error(inspect.by_distance(chosen, (8, 17), 5), expected) < 1e-12


@MIXERS
def test_mean_steps_over_what_is_marked(mixer):
    model, pixels = classifier(mixer)
    pixels = pixels.repeat(20, 1, 1) * torch.linspace(0.5, 2, 60).double()[:, None, None]  # more than one part
    mask = torch.rand(60, LENGTH) < 0.4
    mask[:, 0] = True
    of_mask, of_rest = inspect.mean_steps(model, pixels, mask, ~mask)
    assert of_mask.shape == (60, 2, 16)
    for layer, (block, x) in enumerate(zip(model.blocks, inspect.inputs_of_blocks(model, pixels), strict=True)):
        steps = block.step_sizes(x)
        for found, marked in ((of_mask, mask), (of_rest, ~mask)):
            expected = torch.stack([one[where].mean(0) for one, where in zip(steps, marked, strict=True)])
            assert relative_error(found[:, layer], expected) < 1e-12
    assert not any(block.dt_proj._forward_hooks for block in model.blocks), "nothing is left behind"
