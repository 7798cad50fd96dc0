"""Recording and replaying: on a GPU that is only pretended, and on a real one where there is one."""

import contextlib
from types import SimpleNamespace

import pytest
import torch

from helpers import cuda_graph


class Generator:
    state = "as it was"

    def clone_state(self):
        return self.state

    def graphsafe_set_state(self, state):
        self.state = state


@pytest.fixture
def gpu(monkeypatch):
    """What torch.cuda does with a function that appends to ``done``: a graph that appends "replayed"."""
    gpu = SimpleNamespace(done=[], recording=False, generator=Generator(), stream="default")
    stream = SimpleNamespace(wait_stream=lambda other: gpu.done.append("waited"))

    @contextlib.contextmanager
    def graph(graph, stream):
        gpu.recording, gpu.generator.state, gpu.stream = True, "recording", "of the recording"
        try:
            yield
        finally:
            gpu.recording = False
        gpu.generator.state, gpu.stream = "as it was", "default"  # not if it broke off

    def replay(self):
        gpu.done.append("replayed")

    for name, value in {
        "Stream": lambda: stream,
        "current_stream": lambda: SimpleNamespace(wait_stream=lambda other: gpu.done.append("waited"), name=gpu.stream),
        "set_stream": lambda stream: setattr(gpu, "stream", stream.name),
        "stream": lambda stream: contextlib.nullcontext(),
        "current_device": lambda: 0,
        "default_generators": [gpu.generator],
        "CUDAGraph": type("CUDAGraph", (), {"replay": replay}),
        "graph": graph,
    }.items():
        monkeypatch.setattr(torch.cuda, name, value)
    return gpu


def test_a_recording_warms_up_records_and_replays(gpu):
    repeat = cuda_graph.Recording()
    for _ in range(6):
        repeat(lambda: gpu.done.append("recorded" if gpu.recording else "called"))
    assert gpu.done == ["waited", "called", "waited"] * 3 + ["recorded"] + ["replayed"] * 3


def test_what_cannot_be_recorded_is_called_and_a_warning_says_why(gpu):
    def function():
        if gpu.recording:
            raise RuntimeError("not permitted when stream is capturing\nand more")
        gpu.done.append("called")

    repeat = cuda_graph.Recording()
    with pytest.warns(UserWarning) as said:
        for _ in range(6):
            repeat(function)
    assert [str(warning.message) for warning in said] == [
        "Going on without a CUDA graph, which is several times slower, because it could not be recorded:"
        " RuntimeError: not permitted when stream is capturing"
    ]
    assert gpu.done.count("called") == 6 and "replayed" not in gpu.done
    assert (gpu.generator.state, gpu.stream) == ("as it was", "default")


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_a_replay_does_what_the_call_did_with_new_numbers_and_new_noise():
    x, sums, noise = (torch.zeros(1_000, device="cuda") for _ in range(3))

    def function():
        sums.add_(x)
        noise.copy_(torch.nn.functional.dropout(torch.ones_like(x)))

    repeat, seen = cuda_graph.Recording(), []
    for number in range(8):
        x.fill_(number)
        torch.cuda.manual_seed(number % 2)
        repeat(function)
        seen.append(noise.clone())
    assert repeat.graph is not None and (sums == sum(range(8))).all()
    assert all(torch.equal(seen[number], seen[number % 2]) for number in range(8)) and not torch.equal(*seen[:2])


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU here")
def test_on_a_gpu_what_reads_back_is_called_and_noise_still_works():
    x = torch.zeros(1_000, device="cuda")

    def function():
        x.add_(torch.nn.functional.dropout(torch.ones_like(x)).sum().item())

    repeat = cuda_graph.Recording()
    with pytest.warns(UserWarning, match="Going on without a CUDA graph"):
        for _ in range(6):
            torch.cuda.manual_seed(0)
            repeat(function)
    torch.cuda.manual_seed(0)
    expected = 6 * torch.nn.functional.dropout(torch.ones_like(x)).sum()
    assert repeat.graph is None and torch.equal(x, expected.expand_as(x))
