"""Steps that are recorded and replayed end where plain steps end. On a CPU all of it is tested but the recording."""

import contextlib
import functools
import warnings
from types import SimpleNamespace

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.data import DataLoader, TensorDataset

from helpers import checkpoint, cuda_graph, mnist, models, train
from helpers.train import TrainingConfig, capture
from helpers.train.capture import CapturedStep, choose_step
from helpers.train.monitor import Monitor
from helpers.train.step import Step

N, BATCH = 40, 16  # the last batch of an epoch has 8


def call(function):
    """In place of a recording."""
    function()


rehearsed = functools.partial(CapturedStep, record=lambda: call)

SMNIST = {"mixer": "mamba-rope", "pooling": "sum", "dropout": 0.2}
GENERATOR = {"mixer": "mamba-rope", "dropout": 0.2, "classes": 10}
PSMNIST = {**SMNIST, "pooling": "last", "permutation": 1, "positional_encoding": True}
CASES = {
    "plain": ({"mixer": "mamba", "pooling": "mean"}, {}, "32-true", 1e-5),
    "smnist": (SMNIST, {"deep_supervision": 0.3, "ssm_learning_rate": 1e-3, "weight_decay": 0.05}, "32-true", 1e-5),
    # Muon computes in bfloat16: what differs in the last bit of a float32 may differ by 0.4 % there.
    "psmnist": (PSMNIST, {"deep_supervision": 0.3, "muon_learning_rate": 0.02, "weight_decay": 0.05}, "32-true", 1e-3),
    "bfloat16": (SMNIST, {"deep_supervision": 0.3}, "bf16-mixed", 1e-2),
    "generator": (GENERATOR, {"muon_learning_rate": 0.02, "weight_decay": 0.05}, "32-true", 1e-3),
}


def loader(n=N, batch=BATCH, read=mnist.sequences):
    pixels, labels = (tensor[:n].clone() for tensor in read(mnist.load(train=False)))
    return DataLoader(TensorDataset(pixels[:, ::8], labels), sampler=mnist.Shuffled(n, batch, seed=0), batch_size=None)


def fit(step, arguments=SMNIST, precision="32-true", data=None, **options):
    """Train a small classifier, or generator, on sequences of 98 pixels: its weights and the records."""
    torch.manual_seed(0)
    if arguments is GENERATOR:
        model, data = models.PixelGenerator(d_model=8, n_layer=1, d_state=4, **arguments), loader(read=mnist.levels)
    else:
        model = models.PixelClassifier(d_model=8, n_layer=1, d_state=4, length=98, **arguments)
    config = {"steps": 8, "learning_rate": 1e-2, "log_every": 3}
    config |= {name: options.pop(name) for name in list(options) if name in TrainingConfig.__dataclass_fields__}
    fabric = train.make_fabric(precision)
    records = train.fit(model, data or loader(), TrainingConfig(**config), fabric=fabric, step=step, **options)
    return model.state_dict(), records


def assert_close(one, other, bound):
    (weights, records), (expected, told) = one, other
    for name, weight in expected.items():
        torch.testing.assert_close(weights[name], weight, rtol=bound, atol=bound)
    for record, right in zip(records, told, strict=True):
        assert {**record, "seconds": 0} == {
            key: pytest.approx(value, rel=bound) for key, value in {**right, "seconds": 0}.items()
        }


@pytest.mark.parametrize("case", CASES)
def test_ends_where_plain_steps_end(case):
    arguments, config, precision, bound = CASES[case]
    one, other = (fit(step, arguments, precision, **config) for step in (rehearsed, Step))
    assert [record["images"] for record in one[1]] == [40, 80, 112], "every third batch is a smaller one"
    assert_close(one, other, bound)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
@pytest.mark.parametrize("case", CASES)
def test_recorded_steps_end_where_plain_steps_end(case, monkeypatch):
    """On a GPU, with the recording: three steps of warm-up, then replays."""
    arguments, config, precision, bound = CASES[case]
    replays, replay = [], torch.cuda.CUDAGraph.replay
    monkeypatch.setattr(torch.cuda.CUDAGraph, "replay", lambda graph: (replays.append(1), replay(graph)))
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message=".*CUDA graph")
        one, other = (fit(step, arguments, precision, steps=12, **config) for step in (choose_step, Step))
    assert len(replays) == 12 - 4 - cuda_graph.WARM_UP, "all but the warm-up and four smaller batches"
    assert_close(one, other, max(bound, 1e-4))


@pytest.mark.parametrize("before, after", [(rehearsed, rehearsed), (Step, rehearsed), (rehearsed, Step)])
def test_stopped_in_the_middle_of_an_epoch_and_taken_up_again(tmp_path, before, after):
    case = {**CASES["psmnist"][1], "save_every": 3}
    calls = iter(range(1, 1000))
    with pytest.raises(train.Stopped, match="stopped after step 4 of 8"):
        fit(before, PSMNIST, folder=tmp_path / "parts", stop=lambda: next(calls) == 4, **case)
    parts = fit(after, PSMNIST, folder=tmp_path / "parts", **case)
    whole = fit(after, PSMNIST, folder=tmp_path / "whole", **case)
    assert_close(parts, whole, 0 if before is after else 1e-3)


def test_what_is_counted_is_looked_at_when_somebody_wants_to_know(tmp_path, monkeypatch):
    looks, check = [], Monitor.check
    monkeypatch.setattr(Monitor, "check", lambda self, *rest: (looks.append(self.step), check(self, *rest)))
    monkeypatch.setattr(CapturedStep, "check_every", 5)
    fit(rehearsed, steps=12, log_every=8, save_every=7, folder=tmp_path)
    assert looks == [5, 7, 8, 10, 12]
    looks.clear()
    fit(Step, steps=3, log_every=3)
    assert looks == [1, 2, 3]


def test_a_failure_is_found_before_a_checkpoint_is_written(tmp_path):
    data = loader()
    _, _, third = mnist.Shuffled(N, BATCH, seed=0)
    data.dataset.tensors[0][third[0]] = 1e30  # finite, and its square is not
    with pytest.raises(FloatingPointError, match=r"failed at one of the steps 3 to 4: .* checkpoint is .* of step 2\."):
        fit(rehearsed, data=data, folder=tmp_path, log_every=100, save_every=2)
    tensors, state = checkpoint.load(tmp_path / checkpoint.LAST)
    assert all(tensor.isfinite().all() for tensor in tensors.values()) and state["counters"]["step"] == 2


@pytest.mark.parametrize(
    "which, value, said",
    [(0, float("nan"), "numbers that are not finite"), (1, 10, "labels must be 0 to 9")],
)
def test_all_digits_are_checked_before_the_first_step(which, value, said):
    data = loader()
    data.dataset.tensors[which][-1] = value
    with pytest.raises(ValueError, match=said):
        fit(rehearsed, data=data, steps=1)


class NothingButTheDevice(TorchDispatchMode):
    """Raises where a GPU would be waited for, or something be copied to it from Python's memory."""

    FORBIDDEN = ("_local_scalar_dense", "lift_fresh", "nonzero", "is_nonzero", "equal", "item")

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        if operation.overloadpacket.__name__ in self.FORBIDDEN:
            raise AssertionError(f"{operation} cannot be recorded")
        return operation(*args, **(kwargs or {}))


@pytest.mark.parametrize("case", CASES)
def test_a_step_reads_nothing_back_and_copies_nothing_from_python(case):
    """As far as a CPU shows it: not what a kernel does inside, nor a library."""
    calls = []

    def watched(function):
        calls.append(function)
        with NothingButTheDevice() if len(calls) > cuda_graph.WARM_UP else contextlib.nullcontext():
            function()

    arguments, config, precision, _ = CASES[case]
    fit(functools.partial(CapturedStep, record=lambda: watched), arguments, precision, **config)
    assert len(calls) == 6


# --- when ------------------------------------------------------------------------------------------------------------


def arguments_on_a_gpu(processes=1, data=None, on_gpu=True):
    """Of choose_step, as far as it looks at them."""
    parameters = [SimpleNamespace(is_cuda=True), SimpleNamespace(is_cuda=on_gpu)]
    net = SimpleNamespace(module=None, parameters=lambda: parameters)
    fabric = SimpleNamespace(device=torch.device("cuda"), world_size=processes, global_rank=0)
    return net, [], data or loader(), TrainingConfig(), fabric, None


@pytest.mark.parametrize(
    "given, why",
    [
        ({"processes": 2}, "2 processes train together"),
        (
            {"data": [(torch.zeros(2, 98, 1), torch.zeros(2, dtype=torch.int64))]},
            "the loader is not one of helpers.mnist",
        ),
        ({"on_gpu": False}, "not all of the model is on the GPU"),
    ],
)
def test_where_steps_cannot_be_captured_a_warning_says_why(given, why):
    with pytest.warns(UserWarning, match=f"Training without a CUDA graph, .*: {why}"):
        assert type(choose_step(*arguments_on_a_gpu(**given))) is Step


def test_where_they_can_be_captured_they_are(monkeypatch):
    monkeypatch.setattr(capture, "CapturedStep", lambda *arguments: "captured")
    assert choose_step(*arguments_on_a_gpu()) == "captured"


def test_on_a_cpu_steps_are_plain_and_nothing_is_said():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fabric = SimpleNamespace(device=torch.device("cpu"))
        assert type(choose_step(SimpleNamespace(module=None), [], loader(), TrainingConfig(), fabric, None)) is Step
