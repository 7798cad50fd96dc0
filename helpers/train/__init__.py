"""Fit a classifier and evaluate it: a loop that fits on a screen. As a command: ``python -m helpers.train --help``.

Lightning Fabric sees to the device, the precision and the processes; the loop is ours. Everything that a step depends
on (weights, the optimizers' averages, the place in the data, the learning rate, the dropout) is in the checkpoint or
follows from the number of the step. So a training that was cut off goes on as if nothing had happened.
"""

import logging
import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import machine, mnist
from helpers.checkpoint import Checkpointer
from helpers.threads import keep_freed_memory
from helpers.train.config import TrainingConfig
from helpers.train.monitor import Monitor, Stopped
from helpers.train.optimizers import make_optimizers, set_learning_rates

__all__ = [
    "Evaluation",
    "Stopped",
    "TrainingConfig",
    "evaluate",
    "fit",
    "make_fabric",
    "make_optimizers",
    "wilson_interval",
]


def fit(
    model,
    loader,
    config: TrainingConfig,
    *,
    validation=None,
    fabric: Fabric | None = None,
    folder=None,
    settings: dict | None = None,
    stop=lambda: False,
) -> list[dict]:
    """Train a classifier, with a progress bar.

    Args:
        model: maps a batch of sequences to logits.
        loader: yields ``(pixels, labels)``; it is started again as often as the steps need.
        config: how the training goes.
        validation: a loader; with it every record says how good the model is there.
        fabric: a Lightning Fabric, for another precision, or for several processes, each with its share of the batches.
        folder: where to keep a checkpoint to go on from, the weights that were best on ``validation``, and the log. If
            there is a checkpoint already, the training goes on from it; the loader must be one of :mod:`helpers.mnist`.
        settings: whatever else decides the result. A folder in which others are noted is refused.
        stop: called after every step; when it says true, a checkpoint is written and :class:`Stopped` is raised.

    Returns:
        The records: ``{"step", "images", "learning_rate", "loss", "accuracy", "seconds"}``, loss and accuracy over the
        batches since the last record, measured while training; with ``validation`` also ``"validation_loss"`` and
        ``"validation_accuracy"``.

    Raises:
        FloatingPointError: if the training has failed: the loss is not a number any more, or far above what guessing
            gives. The last good checkpoint is kept.
        helpers.checkpoint.CheckpointError: if ``folder`` cannot be used.
    """
    resumable = isinstance(getattr(loader, "sampler", None), mnist.Shuffled)
    if folder is not None and not resumable:
        raise ValueError("with a folder, loader must be one of helpers.mnist, whose order can be taken up midway")
    keep_freed_memory()
    fabric = fabric or make_fabric()
    steps = config.total_steps(len(loader))
    log_every = config.log_every or max(1, steps // 50)
    optimizers = make_optimizers(model, config)
    net, *fabric_optimizers = fabric.setup(model, *optimizers)
    settings = config.identity() | (settings or {})
    checkpointer = Checkpointer(folder, model, optimizers, settings, writes=fabric.global_rank == 0)
    monitor = Monitor(steps, *checkpointer.resume(), fabric)
    if resumable:
        loader.sampler.step = monitor.step
    batches = _endless(loader)
    model.train()
    with monitor.bar:
        while monitor.step < steps:
            pixels, labels = (tensor.to(fabric.device) for tensor in next(batches))
            rate = config.rate(monitor.step, steps)
            set_learning_rates(optimizers, rate)
            _seed_dropout(config.seed, monitor.step, fabric)

            logits, loss, objective = _losses(net, pixels, labels, config.deep_supervision)
            right = (logits.argmax(-1) == labels).sum().item()
            examples, stopping = monitor.count(len(labels), loss.item(), right, stop())
            for optimizer in fabric_optimizers:
                optimizer.zero_grad()
            fabric.backward(objective * (fabric.world_size / examples))  # gradients are averaged over processes
            limit = config.gradient_clip or math.inf
            norm = fabric.clip_gradients(net, fabric_optimizers[0], max_norm=limit, error_if_nonfinite=False)
            monitor.check(norm, logits.shape[1], config.learning_rate, checkpointer.advice)
            for optimizer in fabric_optimizers:
                optimizer.step()
            monitor.advance(examples)

            done = monitor.step == steps
            if monitor.step % log_every == 0 or done:
                found = None if validation is None else evaluate(model, validation, fabric)
                if monitor.record(config.learning_rate * rate, found):
                    checkpointer.keep_best()
                checkpointer.log(monitor.records)
            if monitor.step % config.save_every == 0 or done or stopping:
                checkpointer.keep(**monitor.counters)
            if stopping and not done:
                raise Stopped(f"stopped after step {monitor.step} of {steps}.{checkpointer.advice()}")
    return monitor.records


def _losses(net, pixels, labels, deep_supervision):
    """Logits of whole sequences; the sum of their cross-entropies; and what is minimized.

    With deep supervision the classifier is also asked after each 28th of the sequence, from the tenth on ("target
    replication": Lipton and others, arXiv 1511.03677). The mean of these losses, weighted, is added.
    """
    if not deep_supervision:
        logits = net(pixels)
        loss = F.cross_entropy(logits, labels, reduction="sum")
        return logits, loss, loss
    prefix_lengths = [math.ceil(pixels.shape[1] * part / 28) for part in range(10, 29)]
    answers = net(pixels, prefix_lengths)  # (batch, 19, classes)
    logits, early = answers[:, -1], answers[:, :-1]
    loss = F.cross_entropy(logits, labels, reduction="sum")
    copies = labels.repeat_interleave(early.shape[1])
    supervision = F.cross_entropy(early.flatten(0, 1), copies, reduction="sum") / early.shape[1]
    return logits, loss, loss + deep_supervision * supervision


def _seed_dropout(seed, step, fabric):
    # torch.manual_seed would seed all devices, which takes half a millisecond where there are none.
    generator = torch.cuda if fabric.device.type == "cuda" else torch.default_generator
    generator.manual_seed((seed * 2**20 + step) * fabric.world_size + fabric.global_rank)


def _endless(loader):
    while True:
        yield from loader


def make_fabric(precision: str = "32-true", **options) -> Fabric:
    """A Lightning Fabric on the device that is here, in one process, without its remarks on what it was given."""
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return Fabric(**{"accelerator": machine.device().type, "devices": 1, "precision": precision, **options})
    finally:
        logger.setLevel(level)


class Evaluation(NamedTuple):
    """What a classifier made of a data set."""

    loss: float  # mean cross-entropy, nats
    accuracy: float  # share of right answers, 0 to 1
    labels: torch.Tensor  # int64 (n,), on the CPU
    predictions: torch.Tensor  # int64 (n,), on the CPU

    def __str__(self):
        low, high = wilson_interval(self.accuracy, len(self.labels))
        return f"{self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}, {len(self.labels):,} digits)"


@torch.inference_mode()
def evaluate(model, loader, fabric: Fabric | None = None) -> Evaluation:
    """Answer every example of a loader once, in full precision, with a progress bar.

    With a ``fabric`` of several processes each of them answers its share of the batches, and all get the whole result.
    """
    where = next(model.parameters()).device
    process, processes = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    training = model.training
    model.eval()
    loss, labels, predictions = 0.0, [], []
    for number, (pixels, right) in enumerate(tqdm(loader, unit="batch", leave=False, disable=process > 0)):
        labels.append(right)
        predictions.append(torch.zeros_like(right))
        if number % processes == process:
            logits = model(pixels.to(where)).cpu()
            loss += F.cross_entropy(logits, right, reduction="sum").item()
            predictions[-1] = logits.argmax(-1)
    model.train(training)
    labels, predictions = torch.cat(labels), torch.cat(predictions)
    if processes > 1:
        loss = fabric.all_reduce(torch.tensor(loss, dtype=torch.float64, device=where), reduce_op="sum").item()
        predictions = fabric.all_reduce(predictions.to(where), reduce_op="sum").cpu()
    return Evaluation(loss / len(labels), (labels == predictions).double().mean().item(), labels, predictions)


def wilson_interval(accuracy: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy measured on ``n`` examples (Wilson's score interval, 1927)."""
    z = 1.959964
    center = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return center - half, center + half
