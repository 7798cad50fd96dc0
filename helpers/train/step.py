"""One step of a training: a batch, its loss and gradient, and what the optimizers make of them."""

import functools
import math

import torch
import torch.nn.functional as F

from helpers.train.augment import augment
from helpers.train.inputs import check_batch, check_labels, endless
from helpers.train.objectives import objective_of
from helpers.train.optimizers import set_learning_rates


class Step:
    """Called for every step: takes the loader's next batch and updates the weights.

    It starts each operation from Python, for any model, loader, device and number of processes. See
    :class:`helpers.train.capture.CapturedStep` for a GPU that does not wait for Python.

    Args:
        net: the model, set up by ``fabric``.
        optimizers: as :func:`helpers.train.make_optimizers` makes them, set up by ``fabric``.
        loader: yields ``(pixels, labels)``; it is started again as often as is needed.
        config: a :class:`helpers.train.TrainingConfig`.
        fabric: a Lightning Fabric.
        monitor: a :class:`helpers.train.monitor.Monitor`, which counts what the steps find.
    """

    check_every = 1  # steps after which the monitor checks what it has counted

    def __init__(self, net, optimizers, loader, config, fabric, monitor):
        self.net, self.optimizers, self.config = net, optimizers, config
        self.fabric, self.monitor = fabric, monitor
        self.objective = objective_of(net.module)
        self.batches = endless(loader)

    def __call__(self, rate: float, stop: bool) -> tuple[int, bool]:
        """Take a step.

        Args:
            rate: the share of their highest learning rates that the optimizers use.
            stop: whether this process is asked to stop.

        Returns:
            How many examples the batch had, and whether any process is asked to stop.

        Raises:
            ValueError: if the batch is not what it must be.
        """
        pixels, labels = next(self.batches)
        check_batch(pixels, labels)
        set_learning_rates(self.optimizers, rate)
        self.seed()  # after the batch: a DataLoader that begins an epoch draws a number
        return self.update(pixels.to(self.fabric.device), labels.to(self.fabric.device), stop)

    def update(self, pixels, labels, stop: bool = False) -> tuple[int, bool]:
        """The step itself, with a batch that is on the device."""
        answers = self._answers(augment(pixels) if self.config.augment else pixels, labels)
        self.check_labels(labels, answers.shape[-1])
        targets = self.objective.targets(pixels, labels).long()
        share = len(labels) / max(1, len(targets))  # of an example in each question about it
        loss, objective = (share * x for x in _losses(answers, targets, self.config.deep_supervision))
        right = share * (answers[:, -1].argmax(-1) == targets).sum()
        examples, stopping = self.monitor.count(len(labels), loss.detach(), right, stop)
        for optimizer in self.optimizers:
            optimizer.zero_grad()
        self.fabric.backward(objective * (self.fabric.world_size / examples))  # gradients are averaged over processes
        limit = self.config.gradient_clip or math.inf
        norm = self.fabric.clip_gradients(self.net, self.optimizers[0], max_norm=limit, error_if_nonfinite=False)
        self.monitor.note(norm, classes=answers.shape[-1])
        self.optimize()
        return examples, stopping

    def seed(self) -> None:
        """Let dropout and augmentation depend on nothing but the seed and the number of the step."""
        # torch.manual_seed would seed all devices, which takes half a millisecond where there are none.
        generator = torch.cuda if self.fabric.device.type == "cuda" else torch.default_generator
        step = self.config.seed * 2**20 + self.monitor.step
        generator.manual_seed(step * self.fabric.world_size + self.fabric.global_rank)

    def check_labels(self, labels, classes: int) -> None:
        """Raise ValueError if a label is not one of ``classes``."""
        check_labels(labels, classes)

    def optimize(self) -> None:
        """Let the optimizers change the weights."""
        for optimizer in self.optimizers:
            optimizer.step()

    def _answers(self, pixels, labels):
        """Logits ``(questions, answers, classes)``: the last answer is to the whole sequence.

        With deep supervision the classifier is also asked after each 28th of the sequence, from the tenth on ("target
        replication": Lipton and others, arXiv 1511.03677).
        """
        if not self.config.deep_supervision:
            return self.objective.logits(self.net, pixels, labels).unsqueeze(1)
        return self.net(pixels, _prefix_lengths(pixels.shape[1], pixels.device))


@functools.cache  # a CUDA graph cannot copy them from Python's memory
def _prefix_lengths(length, device):
    return torch.tensor([math.ceil(length * part / 28) for part in range(10, 29)], device=device)


def _losses(answers, labels, deep_supervision):
    """The sum of the cross-entropies of the last answers, and what is minimized: the mean of the others is added."""
    logits, early = answers[:, -1], answers[:, :-1]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    if not deep_supervision:
        return loss, loss
    copies = labels.repeat_interleave(early.shape[1])
    supervision = F.cross_entropy(early.flatten(0, 1), copies, reduction="sum") / early.shape[1]
    return loss, loss + deep_supervision * supervision
