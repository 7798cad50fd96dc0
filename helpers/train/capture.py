"""A training step that is recorded once as a CUDA graph, and then replayed (:mod:`helpers.cuda_graph`).

A step of a small classifier is some hundred kernels of a few microseconds each. Python takes longer to start one than
the GPU to run it, and so the GPU waits. In a graph one call starts them all. What it takes:

* What differs from step to step lies at fixed addresses: which digits, and the learning rate. All digits are on the
  GPU, so a batch is a few indices. The seed of dropout and augmentation is the generator's, which every replay reads
  anew.
* Nothing is read back while the step runs, and nothing copied from Python's memory. Loss, right answers and the
  gradient's norm add up on the GPU, and are looked at every ``CapturedStep.check_every`` steps and before each record
  and checkpoint; so a failure is found that much later, and still before a checkpoint is written.
"""

import warnings

import torch
from torch.utils.data import TensorDataset

from helpers import mnist
from helpers.cuda_graph import Recording
from helpers.train.inputs import check_labels
from helpers.train.optimizers import set_learning_rates
from helpers.train.step import Step


def choose_step(net, optimizers, loader, config, fabric, monitor) -> Step:
    """A :class:`CapturedStep` where there can be one, else a plain :class:`Step`; a warning says why, on a GPU."""
    arguments = (net, optimizers, loader, config, fabric, monitor)
    if fabric.device.type != "cuda":
        return Step(*arguments)
    why = refusal(net, loader, fabric)
    if not why:
        return CapturedStep(*arguments)
    if fabric.global_rank == 0:
        warnings.warn(f"Training without a CUDA graph, which is several times slower: {why}.", stacklevel=3)
    return Step(*arguments)


def refusal(net, loader, fabric) -> str | None:
    """Why the steps cannot be captured, as the end of a sentence, or None if they can."""
    if fabric.world_size > 1:
        return f"{fabric.world_size} processes train together"
    if not isinstance(getattr(loader, "sampler", None), mnist.Shuffled) or type(loader.dataset) is not TensorDataset:
        return "the loader is not one of helpers.mnist"
    if not all(parameter.is_cuda for parameter in net.parameters()):
        return "not all of the model is on the GPU"
    return None


class CapturedStep(Step):
    """A :class:`Step` of one process, with a loader of :mod:`helpers.mnist`, of which the GPU needs to be told little.

    Args:
        net, optimizers, loader, config, fabric, monitor: as of a :class:`Step`. What is in the loader has been checked
            (:func:`helpers.train.inputs.check_loader`).
        record: makes a recorder, which is called with the update of every full batch. The default needs a GPU; with one
            that simply calls the update, everything else also runs on a CPU.
    """

    check_every = 50

    def __init__(self, net, optimizers, loader, config, fabric, monitor, record=Recording):
        super().__init__(net, optimizers, loader.sampler, config, fabric, monitor)  # of which the batches are indices
        self.pixels, self.labels = (tensor.to(fabric.device) for tensor in loader.dataset.tensors)
        self.checked = False
        size = min(loader.sampler.batch_size, loader.sampler.n)
        self.indices = torch.zeros(size, dtype=torch.int64, device=fabric.device)
        self.rate = torch.zeros((), device=fabric.device)
        self.repeat = record()

    def __call__(self, rate: float, stop: bool) -> tuple[int, bool]:
        """Take a step; see :meth:`Step.__call__`."""
        indices = next(self.batches)
        self.rate.fill_(rate)
        self.seed()
        if len(indices) == len(self.indices):
            self.indices.copy_(indices, non_blocking=True)
            self.repeat(self._update_full)
        else:  # the last batch of an epoch
            self._update_with(indices.to(self.fabric.device))
        return len(indices), stop

    def _update_full(self):
        self._update_with(self.indices)

    def _update_with(self, indices):
        self.update(self.pixels[indices], self.labels[indices])

    def check_labels(self, labels, classes: int) -> None:
        """Raise ValueError if a label of any digit is not one of ``classes``; asked once, as it makes the GPU wait."""
        if not self.checked:
            check_labels(self.labels, classes)
        self.checked = True

    @torch.no_grad()
    def optimize(self) -> None:
        """Let the optimizers change the weights, at a learning rate that is a tensor.

        AdamW takes one. Muon does not; but the length of its step is proportional to its learning rate. So it takes the
        longest step, and the weights go their share of the way.
        """
        adamw, *others = self.optimizers
        set_learning_rates([adamw], self.rate)
        for group in adamw.param_groups:  # it refuses to be recorded without this, and warns of it elsewhere
            group["capturable"] = self.rate.is_cuda and torch.cuda.is_current_stream_capturing()
        adamw.step()
        set_learning_rates(others, 1.0)
        weights = [weight for other in others for group in other.param_groups for weight in group["params"]]
        before = [weight.clone() for weight in weights]
        for other in others:
            other.step()
        for weight, start in zip(weights, before, strict=True):
            weight.copy_(start.lerp(weight, self.rate))
