"""What a GPU is asked to do again and again, recorded once as a CUDA graph: one call then starts all of its kernels.

A graph holds the kernels and the addresses that they read and write. So a recorded function must find its input at the
same place every time, read nothing back, and copy nothing from Python's memory.

Source: PyTorch's notes on CUDA graphs, https://docs.pytorch.org/docs/stable/notes/cuda.html#cuda-graphs.
"""

import warnings

import torch

WARM_UP = 3  # calls before the recording, in which kernels are compiled, and libraries and optimizers make room


class Recording:
    """Calls a function ``WARM_UP`` times, then records on the GPU what it does, and then replays that.

    If it cannot be recorded, a warning says why, and it is called from then on.
    """

    def __init__(self):
        self.calls, self.graph = 0, None
        # The default stream cannot be recorded, and autograd wants a parameter to stay on the stream of its first use.
        self.stream = torch.cuda.Stream()

    def __call__(self, function) -> None:
        """Do what ``function()`` does. It must be the same one every time."""
        self.calls += 1
        if self.calls <= WARM_UP:
            self._run_apart(function)
            return
        if self.calls == WARM_UP + 1:
            self._record(function)
        if self.graph is None:
            function()
        else:
            self.graph.replay()

    def _run_apart(self, function):
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            function()
        torch.cuda.current_stream().wait_stream(self.stream)

    def _record(self, function):
        """Nothing is computed here: whatever happens, all tensors stay as they are."""
        generator, stream = torch.cuda.default_generators[torch.cuda.current_device()], torch.cuda.current_stream()
        before, graph = generator.clone_state(), torch.cuda.CUDAGraph()
        try:
            with torch.cuda.graph(graph, stream=self.stream):
                function()
            self.graph = graph
        except Exception as error:  # whatever cannot be recorded
            # A recording that breaks off may leave both waiting for its end (pytorch/pytorch#171263).
            generator.graphsafe_set_state(before)
            torch.cuda.set_stream(stream)
            reason = (str(error).splitlines() or [""])[0]
            warnings.warn(
                "Going on without a CUDA graph, which is several times slower, because it could not be recorded:"
                f" {type(error).__name__}: {reason}",
                stacklevel=4,
            )
