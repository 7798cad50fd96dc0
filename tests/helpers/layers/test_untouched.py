"""What was put in the place of a block's parts, or hangs on them, is called: it is not passed by."""

import copy
import warnings

import pytest
import torch
from scan_cases import error
from torch import nn
from torch.nn.utils import parametrizations, prune

from helpers.layers import Mamba, MambaRoPE
from helpers.layers.untouched import is_untouched

PARTS = ("in_proj", "conv1d", "x_proj", "dt_proj", "out_proj")
every_part = pytest.mark.parametrize("part", PARTS)


def block_and_input(kind=Mamba):
    torch.manual_seed(0)
    return kind(16).double(), torch.randn(2, 9, 16, dtype=torch.float64)


class Wrapped(nn.Module):
    """What an adapter puts in a layer's place: the layer, and something that is added."""

    def __init__(self, base, added=0.0):
        super().__init__()
        self.base, self.added = base, nn.Parameter(torch.tensor(added))

    def forward(self, x):
        return self.base(x) + self.added


@every_part
@pytest.mark.parametrize("kind", [Mamba, MambaRoPE])
def test_a_wrapper_is_called_in_every_way_of_reading(part, kind):
    block, x = block_and_input(kind)
    wrapped = copy.deepcopy(block)
    setattr(wrapped, part, Wrapped(getattr(wrapped, part)).double())
    y, state = block(x, return_state=True)
    found, found_state = wrapped(x, return_state=True)
    assert error(found, y) < 1e-12 and error(found_state.ssm_state, state.ssm_state) < 1e-12
    assert error(wrapped(x, state), block(x, state)) < 1e-12
    assert error(wrapped.step(x[:, 0], state)[0], block.step(x[:, 0], state)[0]) < 1e-12
    assert error(wrapped.step_sizes(x), block.step_sizes(x)) < 1e-12
    getattr(wrapped, part).added.data.fill_(0.5)
    found = wrapped(x)
    assert error(found, y) > 1e-3
    found.sum().backward()
    assert getattr(wrapped, part).added.grad != 0


@every_part
def test_hooks_see_what_goes_by(part):
    block, x = block_and_input()
    seen = []
    module = getattr(block, part)
    module.register_forward_hook(lambda module, given, result: seen.append(result))
    module.register_full_backward_hook(lambda module, given, result: seen.append(result[0]))
    block(x).sum().backward()
    assert len(seen) == 2


def test_a_hook_on_all_modules_sees_all_parts():
    block, x = block_and_input()
    seen = []
    handle = nn.modules.module.register_module_forward_hook(lambda module, given, result: seen.append(module))
    block(x)
    handle.remove()
    assert {part for part in PARTS if getattr(block, part) in seen} == set(PARTS)
    assert is_untouched(block.in_proj, nn.Linear)


@every_part
@pytest.mark.parametrize(
    "change",
    [
        lambda module: prune.l1_unstructured(module, "weight", 0.5),
        nn.utils.weight_norm,
        nn.utils.spectral_norm,
        parametrizations.weight_norm,
    ],
    ids=["pruned", "weight_norm", "spectral_norm", "parametrized"],
)
def test_what_makes_a_weight_of_others_is_trained(part, change):
    block, x = block_and_input()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # the older norms are on their way out, and still in use
        change(getattr(block, part))
    optimizer, outputs = torch.optim.SGD(getattr(block, part).parameters(), lr=0.1), []
    for _ in range(2):
        outputs.append(block(x))
        optimizer.zero_grad()
        outputs[-1].square().mean().backward()
        optimizer.step()
    assert not torch.equal(*outputs)


def test_a_replaced_forward_is_called():
    block, x = block_and_input()
    before = block(x)
    original = block.in_proj.forward
    block.in_proj.forward = lambda x: 2 * original(x)
    assert error(block(x), before) > 0.1


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_quantized_projections_run():
    torch.manual_seed(0)
    block, x = Mamba(16), torch.randn(2, 9, 16)
    if not torch.backends.quantized.supported_engines:
        pytest.skip("this build of PyTorch has no quantized kernels")
    quantized = torch.ao.quantization.quantize_dynamic(block, {nn.Linear}, dtype=torch.qint8)
    assert error(quantized(x), block(x)) < 0.05


@pytest.mark.parametrize("options", [{"dilation": 2, "padding": 6}, {"padding": 3, "padding_mode": "circular"}])
def test_another_convolution_in_its_place_is_not_taken_for_the_plain_one(options):
    block, x = block_and_input()
    block.conv1d = nn.Conv1d(32, 32, 4, groups=32, **options).double()
    with_wrapper = copy.deepcopy(block)
    with_wrapper.conv1d = Wrapped(with_wrapper.conv1d).double()
    assert error(block(x), with_wrapper(x)) < 1e-12
