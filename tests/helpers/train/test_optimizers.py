"""Which optimizer sees to which parameter, and at which learning rate: by the names that the layers list."""

import copy
import pickle

import pytest
import torch
from torch import nn

from helpers import models
from helpers.layers import S4D, Mamba
from helpers.train import TrainingConfig, make_optimizers

SSM = {
    "mamba": "A_log dt_proj.weight dt_proj.bias x_proj.weight",
    "mamba-rope": "A_log dt_proj.weight dt_proj.bias x_proj.weight B_bias C_bias",
    "mamba2": "A_log dt_bias",
    "mamba3": "dt_bias B_bias C_bias",
    "memoryless": "dt_proj.weight dt_proj.bias x_proj.weight",  # its A is not trained
    "s4d": "log_dt log_A_real A_imag C",
    "lstm": "",
    "attention": "",
}
NOT_DECAYED = ("A_log", ".D", "log_dt", "log_A_real", "A_imag", "_bias")


def classifier(mixer, n_layer=2):
    options = {} if mixer in ("lstm", "attention") else {"d_state": 4}
    options |= {"headdim": 4} if mixer in ("mamba2", "mamba3") else {}
    return models.PixelClassifier(mixer, 4, n_layer, **options)


def groups(model, **config):
    """``{name of a parameter: (class of its optimizer, highest learning rate, weight decay)}``."""
    names = {parameter: name for name, parameter in model.named_parameters()}
    return {
        names[parameter]: (type(optimizer).__name__, group["highest"], group["weight_decay"])
        for optimizer in make_optimizers(model, TrainingConfig(learning_rate=5e-3, **config))
        for group in optimizer.param_groups
        for parameter in group["params"]
    }


def copies(model, fresh):
    fresh.load_state_dict(model.state_dict())
    return model, copy.deepcopy(model), pickle.loads(pickle.dumps(model)), fresh


@pytest.mark.parametrize("mixer", models.MIXERS)
def test_biases_gains_and_what_a_layer_names_are_not_decayed(mixer):
    for model in copies(classifier(mixer), classifier(mixer)):
        found = groups(model, weight_decay=0.1)
        assert found.keys() == {name for name, p in model.named_parameters() if p.requires_grad}
        kept = {name for name, (_, _, decay) in found.items() if decay == 0}
        vectors = {name for name, p in model.named_parameters() if p.dim() < 2 and name in found}
        assert kept == vectors | {name for name in found if name.endswith(NOT_DECAYED)}
        assert {decay for _, _, decay in found.values()} == {0, 0.1}


@pytest.mark.parametrize("mixer", models.MIXERS)
@pytest.mark.parametrize("muon", [0.0, 0.02])
def test_a_state_space_model_has_a_rate_of_its_own(mixer, muon):
    for model in copies(classifier(mixer), classifier(mixer)):
        found = groups(model, muon_learning_rate=muon, ssm_learning_rate=1e-3)
        slow = {name for name, (_, rate, _) in found.items() if rate == 1e-3}
        assert slow == {f"blocks.{i}.{part}" for i in (0, 1) for part in SSM[mixer].split()}
        rates = {rate for _, rate, _ in found.values()}
        assert rates == {5e-3, *([1e-3] if slow else []), *([muon] if muon else [])}


def test_muon_gets_the_matrices_inside_of_the_blocks():
    model = classifier("mamba")
    found = groups(model, muon_learning_rate=0.1)
    matrices = {name for name, (optimizer, _, _) in found.items() if optimizer == "Muon"}
    assert matrices == {f"blocks.{i}.{part}.weight" for i in (0, 1) for part in ("in_proj", "x_proj", "out_proj")}
    assert {found[name] for name in matrices} == {("Muon", 0.1, 0.0)}
    gated = groups(models.PixelClassifier("lstm", 4, glu=True), muon_learning_rate=0.1)
    assert gated["gates.1.1.weight"] == ("Muon", 0.1, 0.0) and gated["gates.1.1.bias"] == ("AdamW", 5e-3, 0.0)
    for other, muon in ((model, 0.0), (models.LinearClassifier(), 0.1)):
        assert {optimizer for optimizer, _, _ in groups(other, muon_learning_rate=muon).values()} == {"AdamW"}


class Nested(nn.Module):
    """Layers of two kinds in a model of somebody's own, two levels down, and one of them not in blocks."""

    def __init__(self):
        super().__init__()
        self.first = Mamba(4, d_state=2)
        self.blocks = nn.ModuleList([nn.ModuleDict({"inner": nn.Sequential(Mamba(4, d_state=2), S4D(4, d_state=2))})])


def test_layers_are_found_wherever_they_are():
    for model in copies(Nested(), Nested()):
        found = groups(model, weight_decay=0.1, muon_learning_rate=0.02, ssm_learning_rate=1e-3)
        slow = {name for name, (_, rate, _) in found.items() if rate == 1e-3}
        places = {"first": "mamba", "blocks.0.inner.0": "mamba", "blocks.0.inner.1": "s4d"}
        assert slow == {f"{place}.{part}" for place, kind in places.items() for part in SSM[kind].split()}
        assert found["blocks.0.inner.1.A_imag"] == ("AdamW", 1e-3, 0) and found["first.D"] == ("AdamW", 5e-3, 0)
        assert found["blocks.0.inner.1.glu.1.weight"][0] == "Muon" and found["first.in_proj.weight"][0] == "AdamW"


def test_a_layer_alone_is_a_model_too():
    assert groups(Mamba(4, d_state=2), ssm_learning_rate=1e-3)["A_log"] == ("AdamW", 1e-3, 0)


def test_tensors_that_are_moved_keep_their_groups():
    model = classifier("mamba")
    before = groups(model, weight_decay=0.1, ssm_learning_rate=1e-3)
    for block in model.blocks:
        block.A_log = nn.Parameter(block.A_log.detach().clone())  # a new tensor under the same name
    assert groups(model.to(torch.float64), weight_decay=0.1, ssm_learning_rate=1e-3) == before
