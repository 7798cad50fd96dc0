"""Fit a classifier, or a generator, and evaluate it: a loop that fits on a screen.

As a command: ``python -m helpers.train --help``.

Lightning Fabric handles the device, the precision and the processes; the loop is ours. Everything that a step depends
on (weights, the optimizers' averages, the place in the data, the learning rate, the dropout) is in the checkpoint or
follows from the number of the step. So a training that was cut off resumes as if nothing had happened.
"""

import contextlib
import logging
import math
import os
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from lightning_fabric.plugins.environments import LightningEnvironment
from tqdm import tqdm

from helpers import machine, mnist
from helpers.checkpoint import Checkpointer
from helpers.threads import keep_freed_memory
from helpers.train.capture import choose_step
from helpers.train.config import TrainingConfig
from helpers.train.inputs import check_batch, check_labels, check_loader, length_of
from helpers.train.monitor import Monitor, Stopped
from helpers.train.objectives import objective_of
from helpers.train.optimizers import make_optimizers

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
    step=choose_step,
) -> list[dict]:
    """Train a classifier, or a generator, with a progress bar.

    Args:
        model: maps a batch of sequences to logits; or a :class:`helpers.models.PixelGenerator`, whose loss is in nats
            a pixel, and whose accuracy says how often the most probable level was the right one.
        loader: yields ``(pixels, labels)``, for a generator ``(levels, labels)``; it is started again as often as the
            steps need.
        config: how the training goes.
        validation: a loader; with it every record says how good the model is there.
        fabric: a Lightning Fabric, for another precision, or for several processes, each with its share of the batches.
        folder: where to keep a checkpoint to resume from, the weights that were best on ``validation``, and the log. If
            there is a checkpoint already, the training resumes from it; the loader must be one of :mod:`helpers.mnist`.
        settings: whatever else decides the result. A folder whose checkpoint has other settings is refused.
        stop: called at every step; once it returns true, a checkpoint is written after the step, and :class:`Stopped`
            is raised.
        step: makes what takes the steps, a :class:`helpers.train.step.Step`. By default a GPU replays them where that
            is possible (:mod:`helpers.train.capture`).

    Returns:
        The records: ``{"step", "images", "learning_rate", "loss", "accuracy", "seconds"}``, loss and accuracy over the
        batches since the last record, measured while training; with ``validation`` also ``"validation_loss"`` and
        ``"validation_accuracy"``.

    Raises:
        ValueError: if a loader or a batch is not what it must be; the message says what it is.
        FloatingPointError: if the training has failed: the loss is not finite, or far above what guessing gives. The
            last good checkpoint is kept.
        helpers.checkpoint.CheckpointError: if ``folder`` cannot be used.
        Stopped: if ``stop`` asked for it.
    """
    resumable = isinstance(getattr(loader, "sampler", None), mnist.Shuffled)
    if folder is not None and not resumable:
        raise ValueError("with a folder, loader must be one of helpers.mnist, whose order can be taken up midway")
    check_loader(loader, "loader")
    if validation is not None:
        check_loader(validation, "validation")
    keep_freed_memory()
    fabric = fabric or make_fabric()
    steps = config.steps or config.total_steps(length_of(loader))
    log_every = config.log_every or max(1, steps // 50)
    optimizers = make_optimizers(model, config)
    net, *fabric_optimizers = fabric.setup(model, *optimizers)
    settings = config.identity() | (settings or {})
    checkpointer = Checkpointer(folder, model, optimizers, settings, writes=fabric.global_rank == 0)
    with checkpointer, Monitor(steps, *checkpointer.resume(), fabric) as monitor:
        if resumable:
            loader.sampler.step = monitor.step
        take_step = step(net, fabric_optimizers, loader, config, fabric, monitor)
        model.train()
        while monitor.step < steps:
            rate = config.rate(monitor.step, steps)
            examples, stopping = take_step(rate, stop())
            monitor.advance(examples)

            done = monitor.step == steps
            recording = monitor.step % log_every == 0 or done
            saving = monitor.step % config.save_every == 0 or done or stopping
            if recording or saving or monitor.step % take_step.check_every == 0:
                monitor.check(config.learning_rate, checkpointer.advice)
            if recording:
                found = None if validation is None else evaluate(model, validation, fabric)
                if monitor.record(config.learning_rate * rate, found, objective_of(model).rank):
                    checkpointer.keep_best()
                checkpointer.log(monitor.records)
            if saving:
                checkpointer.keep(**monitor.counters)
            if stopping and not done:
                raise Stopped(f"stopped after step {monitor.step} of {steps}.{checkpointer.advice()}")
    return monitor.records


def make_fabric(precision: str = "32-true", **options) -> Fabric:
    """A Lightning Fabric on this machine's device, by default in one process, without its messages on what it found."""
    options = {"accelerator": machine.device().type, "devices": 1, "precision": precision, **options}
    processes = options["devices"] * options.get("num_nodes", 1)
    if processes == 1 or os.environ.get("SLURM_NTASKS", str(processes)) != str(processes):
        # Inside a SLURM job, Lightning would take the job's tasks for the processes that were asked for.
        options.setdefault("plugins", LightningEnvironment())
    logger = logging.getLogger("lightning_fabric")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return Fabric(**options)
    finally:
        logger.setLevel(level)


class Evaluation(NamedTuple):
    """What a classifier made of a data set. A generator is asked for every pixel, and its level is the answer."""

    loss: float  # mean cross-entropy, nats
    accuracy: float  # share of right answers, 0 to 1
    labels: torch.Tensor  # (n,), on the CPU, what is right
    predictions: torch.Tensor  # (n,), on the CPU, what was most probable

    def __str__(self):
        low, high = wilson_interval(self.accuracy, len(self.labels))
        return f"{self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}, n = {len(self.labels):,})"


@torch.inference_mode()
def evaluate(model, loader, fabric: Fabric | None = None) -> Evaluation:
    """Answer every example of a loader once, in full precision, with a progress bar.

    With a ``fabric`` of several processes each of them answers its share of the batches, and all get the whole result.

    Raises:
        ValueError: if there is nothing to answer, or a batch is not what it must be.
    """
    where = next(model.parameters()).device
    process, processes = (fabric.global_rank, fabric.world_size) if fabric else (0, 1)
    objective = objective_of(model)
    loss, labels, predictions = 0.0, [], []
    with _evaluating(model):
        for number, (pixels, right) in enumerate(tqdm(loader, unit="batch", leave=False, disable=process > 0)):
            check_batch(pixels, right)
            targets = objective.targets(pixels, right)
            labels.append(targets)
            predictions.append(torch.zeros_like(targets))
            if number % processes == process:
                logits = objective.logits(model, pixels.to(where), None).cpu()
                check_labels(targets, logits.shape[-1])
                loss += F.cross_entropy(logits, targets.long(), reduction="sum").item()
                predictions[-1] = logits.argmax(-1).to(targets.dtype)
    if not labels:
        raise ValueError("loader has no batches: there is nothing to evaluate")
    labels, predictions = torch.cat(labels), torch.cat(predictions)
    if processes > 1:
        loss = fabric.all_reduce(torch.tensor(loss, dtype=torch.float64, device=where), reduce_op="sum").item()
        predictions = fabric.all_reduce(predictions.to(where), reduce_op="sum").cpu()
    return Evaluation(loss / len(labels), (labels == predictions).double().mean().item(), labels, predictions)


@contextlib.contextmanager
def _evaluating(model):
    """A model in evaluation mode; afterwards each of its modules is in the mode that it was in."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training


def wilson_interval(accuracy: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy measured on ``n`` examples (Wilson's score interval, 1927)."""
    z = 1.959964
    center = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return center - half, center + half
