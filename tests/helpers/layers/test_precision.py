"""What needs float32 keeps it, whatever a layer is cast to, moved to, or loaded from."""

import copy

import pytest
import torch
from scan_cases import error

from helpers import mnist, models
from helpers.layers import S4D, Mamba, MambaRoPE

LAYERS = {"Mamba": lambda: Mamba(16), "MambaRoPE": lambda: MambaRoPE(16, d_state=6), "S4D": lambda: S4D(16, d_state=6)}
BULK = {S4D: "glu.1.weight", Mamba: "out_proj.weight", MambaRoPE: "out_proj.weight"}  # what can be cut
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
CASTS = {
    "bfloat16": lambda layer: layer.bfloat16(),
    "half": lambda layer: layer.half(),
    "to": lambda layer: layer.to(torch.bfloat16),
    "there and back": lambda layer: layer.bfloat16().float(),
}


@every_layer
@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
def test_parameters_of_the_recurrence_are_not_cut(make, cast):
    layer = make()
    before = copy.deepcopy(layer)
    for parameter in layer.parameters():
        parameter.grad = torch.ones_like(parameter)
    cast(layer)
    for name, parameter in layer.named_parameters():
        if name in layer.float32_parameters:
            assert torch.equal(parameter, before.get_parameter(name)) and parameter.grad.dtype == torch.float32, name
    assert layer.get_parameter(BULK[type(layer)]).dtype == torch.bfloat16 or cast is not CASTS["bfloat16"]
    assert make().double().D.dtype == torch.float64


@every_layer
def test_a_layer_in_half_precision_is_as_good_as_its_numbers(make):
    torch.manual_seed(0)
    layer, x = make(), torch.randn(2, 40, 16)
    expected = layer(x)
    half, x = copy.deepcopy(layer).bfloat16(), x.bfloat16()
    y, state = half(x, return_state=True)
    assert y.dtype == torch.bfloat16 and error(y.float(), expected) < 0.03
    step, _ = half.step(x[:, 0], half.initial_state(2))
    assert step.dtype == torch.bfloat16 and error(step.float(), expected[:, 0]) < 0.03
    assert half(x, state).isfinite().all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["smnist", "psmnist"])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.half])
def test_a_published_classifier_survives_the_cast(name, dtype):
    pixels, labels = (x[:100] for x in mnist.sequences(mnist.load(train=False)))
    model = models.load_checkpoint(name).to(dtype)
    with torch.inference_mode():
        assert (model(pixels.to(dtype)).argmax(-1) == labels).float().mean() > 0.95


@pytest.mark.parametrize("position", [10**6, 10**8])
def test_far_away_a_difference_of_positions_is_what_it_was(position):
    torch.manual_seed(0)
    block, x = MambaRoPE(16), torch.randn(2, 30, 16)
    start = block.initial_state(2)
    far = start._replace(position=position)
    assert error(block(x, far), block(x, start)) < 1e-5
    one, other = (block.step(x[:, 0], state)[1] for state in (far, start))
    assert error(block(x[:, 1:], one), block(x[:, 1:], other)) < 1e-5


@pytest.mark.parametrize("assign", [False, True])
def test_a_classifier_from_the_meta_device_answers_as_its_original(assign):
    arguments = {"mixer": "mamba-rope", "length": 9, "d_state": 4, "positional_encoding": True, "permutation": 3}
    original = models.PixelClassifier(**arguments)
    with torch.device("meta"):
        model = models.PixelClassifier(**arguments)
    if not assign:
        model.to_empty(device="cpu")
    model.load_state_dict(original.state_dict(), assign=assign)
    x = torch.randn(2, 9, 1)
    assert torch.equal(model(x), original(x))
    assert not [name for name, x in model.named_buffers() if name not in model.state_dict()], "a buffer is not saved"
