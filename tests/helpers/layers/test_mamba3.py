"""Mamba-3 is its paper's recurrence, and the same with complex numbers; each of its novelties can be switched off."""

import numpy as np
import pytest
import ssd_oracle
import torch
from scan_cases import error

from helpers.layers import Mamba3

LENGTH = 13
OPTIONS = {
    "one input": {"d_state": 8},
    "all turns": {"d_state": 6, "rope_fraction": 1.0},
    "groups": {"d_state": 8, "ngroups": 2},
    "several inputs": {"d_state": 8, "is_mimo": True, "mimo_rank": 3},
}


def layer_and_input(**options):
    torch.manual_seed(0)
    layer = Mamba3(8, headdim=4, chunk_size=4, **options).double()
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter += 0.3 * torch.randn_like(parameter)
    return layer, torch.randn(2, LENGTH, 8, dtype=torch.float64)


def selected(layer, x):
    """What the layer makes of its input, as the oracle wants it, and its gate."""
    z, u, B, C, dt, log_decay, weight, turns = (part.detach().numpy() for part in layer._select(x))
    inputs = layer._inputs(torch.from_numpy(u)).detach().numpy()
    return z, {"x": inputs, "dt": dt, "A": log_decay / dt, "weight": weight, "angles": turns, "B": B, "C": C}


def finished(layer, y, z, inputs):
    """Skip, gate and projection, of what the recurrence gave."""
    y = torch.from_numpy(y) + layer.D.detach().unsqueeze(-1) * torch.from_numpy(inputs)
    return layer.out_proj(layer._finish(y, torch.from_numpy(z))).detach()


def pairs_side_by_side(layer, form):
    """B or C with the two numbers of each pair side by side, where the layer has them apart."""
    n = form.shape[-1]
    return form[..., np.arange(n).reshape(2, -1).T.flatten()] if layer.is_mimo else form


@pytest.mark.parametrize("name", OPTIONS)
def test_is_the_recurrence_of_the_paper(name):
    layer, x = layer_and_input(**OPTIONS[name])
    z, given = selected(layer, x)
    given |= {form: pairs_side_by_side(layer, given[form]) for form in "BC"}
    y, (turned, h, B_last, _) = ssd_oracle.mamba3(**given)
    found, state = layer(x, return_state=True)
    assert error(found, finished(layer, y, z, given["x"])) < 1e-13
    assert (
        error(torch.from_numpy(pairs_side_by_side(layer, state.ssm_state.detach().numpy())), torch.from_numpy(h))
        < 1e-13
    )
    B_state = pairs_side_by_side(layer, state.B_state.detach().numpy())
    assert error(torch.from_numpy(B_state), torch.from_numpy(B_last)) < 1e-13
    around = (state.angle_state.detach() - torch.from_numpy(turned)) / (2 * np.pi)
    assert (around - around.round()).abs().max() < 1e-12


def test_a_turn_is_a_complex_decay():
    layer, x = layer_and_input(**OPTIONS["all turns"])
    z, given = selected(layer, x)
    flat = {name: part[:, :, 0] if name in "xBC" else part for name, part in given.items()}
    y = ssd_oracle.complex_mamba3(**flat)[:, :, None]
    assert error(layer(x).detach(), finished(layer, y, z, given["x"])) < 1e-13


def test_half_of_the_pairs_turn_or_all():
    assert (Mamba3(8, d_state=8, headdim=4).angles, Mamba3(8, d_state=8, headdim=4, rope_fraction=1.0).angles) == (2, 4)


def test_a_decay_rate_is_not_below_its_floor():
    layer, x = layer_and_input(d_state=4, A_floor=0.5)
    _, given = selected(layer, x)
    assert given["A"].max() <= -0.5 + 1e-12 and (given["A"] < -0.51).any()


def test_biases_start_at_one_and_inputs_share_alike():
    layer = Mamba3(8, d_state=4, headdim=4, is_mimo=True, mimo_rank=2)
    assert (layer.B_bias == 1).all() and (layer.C_bias == 1).all() and (layer.mimo_x == 0.5).all()


@pytest.mark.parametrize(
    "options, said",
    [
        ({"headdim": 5}, r"headdim must divide expand \* d_model = 16, got 5"),
        ({"ngroups": 3}, "ngroups must divide the 4 heads, got 3"),
        ({"rope_fraction": 0.3}, r"rope_fraction must be 0\.5 or 1, got 0\.3"),
        ({"d_state": 2}, "d_state must be even and give at least one angle, got 2"),
        ({"d_state": 5}, "d_state must be even and give at least one angle, got 5"),
    ],
)
def test_what_cannot_be_is_named(options, said):
    with pytest.raises(ValueError, match=f"^{said}$"):
        Mamba3(8, **{"headdim": 4, "d_state": 8, **options})
