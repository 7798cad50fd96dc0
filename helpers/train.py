"""Fit a classifier and evaluate it: a loop that can be read. As a command: ``python -m helpers.train --help``.

Lightning Fabric sees to the device, the precision and the processes; the loop is ours. Everything that a step depends
on (weights, the optimiser's averages, the place in the data, the learning rate, the dropout) is in the checkpoint or
follows from the number of the step. So a run that was cut off goes on as if nothing had happened.
"""

import logging
import math
import sys
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from lightning_fabric import Fabric
from tqdm import tqdm

from helpers import mnist
from helpers.checkpoint import Keeper

logging.getLogger("lightning_fabric").setLevel(logging.WARNING)  # or it says on every page what precision it was given


class Evaluation(NamedTuple):
    """What a classifier made of a data set."""

    loss: float  # mean cross-entropy, nats
    accuracy: float  # share of right answers, 0 to 1
    labels: torch.Tensor  # int64 (n,), on the CPU
    predictions: torch.Tensor  # int64 (n,), on the CPU

    def __str__(self):
        low, high = interval(self.accuracy, len(self.labels))
        return f"{self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}, {len(self.labels):,} digits)"


class Stopped(Exception):
    """Somebody asked the training to stop, and it did."""


def interval(accuracy: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy measured on ``n`` examples (Wilson's score interval, 1927)."""
    z = 1.959964
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def rate(step: int, steps: int, lr: float, warmup: float = 0.1) -> float:
    """The learning rate of a step, counted from 0: a line up to ``lr``, then half a cosine down towards zero."""
    rising = warmup * steps
    if step < rising:
        return lr * (step + 1) / (rising + 1)
    return lr * 0.5 * (1 + math.cos(math.pi * (step - rising) / (steps - rising)))


def optimisers(
    model, lr: float, *, muon: float = 0.0, ssm_lr: float = 0.0, weight_decay: float = 0.0
) -> list[torch.optim.Optimizer]:
    """AdamW for all, or for all but the matrices in the model's ``blocks``, which are then Muon's.

    Each group of parameters notes its ``highest`` learning rate: ``lr``, ``muon``, or ``ssm_lr`` for what carries our
    mark ``_ssm``: all that decides what a state keeps, takes in and shows. A small change there is felt over hundreds
    of positions; S5 was trained like that, too (Smith, Warrington and Linderman, arXiv 2208.04933).

    Only weights are decayed: not biases, gains, or what carries upstream's mark ``_no_weight_decay``.

    Muon takes the mean of a matrix's past gradients and makes all of its singular values about equal: a step that is as
    long in the directions that are rarely asked for as in the others (Jordan and others, 2024,
    https://kellerjordan.github.io/posts/muon). It is not for what is no matrix, nor for the first and the last layer,
    nor for what carries our mark ``_no_muon``, or has a rate of its own.
    """
    inner = {p for block in getattr(model, "blocks", ()) for p in block.parameters()} if muon else set()
    matrices, others = [], {}
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        weight = parameter.dim() >= 2 and not getattr(parameter, "_no_weight_decay", False)
        own = bool(ssm_lr) and getattr(parameter, "_ssm", False)
        suits = weight and parameter.dim() == 2 and not own and not getattr(parameter, "_no_muon", False)
        if suits and parameter in inner:
            matrices.append(parameter)
        else:
            others.setdefault((ssm_lr if own else lr, weight_decay if weight else 0.0), []).append(parameter)
    adamw = torch.optim.AdamW(
        [{"params": group, "highest": highest, "weight_decay": decay} for (highest, decay), group in others.items()],
        fused=True,
    )
    if not matrices:
        return [adamw]
    return [adamw, torch.optim.Muon([{"params": matrices, "highest": muon}], weight_decay=weight_decay)]


def fit(
    model,
    loader,
    steps: int,
    *,
    lr: float,
    muon: float = 0.0,
    ssm_lr: float = 0.0,
    weight_decay: float = 0.0,
    constant: bool = False,
    clip: float = 1.0,
    early: float = 0.0,
    every: int = 0,
    validation=None,
    seed: int = 0,
    fabric: Fabric | None = None,
    folder=None,
    settings: dict | None = None,
    save_every: int = 100,
    stop=lambda: False,
) -> list[dict]:
    """Train with AdamW, and Muon if asked to, for a fixed number of steps, with a progress bar.

    The learning rate rises for a tenth of the steps and falls along a cosine for the rest; see :func:`rate`.

    Args:
        model: maps a batch of sequences to logits.
        loader: yields ``(pixels, labels)``; it is started again as often as the steps need.
        steps: number of updates, at least 1.
        lr: the highest learning rate.
        muon: the highest learning rate of Muon, which then sees to the matrices in the model's ``blocks``. 0: AdamW's.
        ssm_lr: the highest learning rate of what the state space models in it are made of. 0: the same as the others'.
        weight_decay: of weights; see :func:`optimisers`.
        constant: keep the learning rate at ``lr``.
        clip: the largest norm of the gradient; what is longer is shortened to it. 0: as it comes.
        early: weight of the answers that a :class:`helpers.models.PixelClassifier` would give before the end: from ten
            28ths of a sequence on (the tenth row of a digit), after each 28th of it. The mean of their cross-entropies,
            so many times, is added to what is made small; it is not in the records. ("Target replication": Lipton
            and others, arXiv 1511.03677.)
        every: steps between two records. Default: so many that there are about 50.
        validation: a loader; with it every record says how good the model is there.
        seed: of the dropout. (That of the weights and of the batches are the caller's.)
        fabric: a Lightning Fabric, for another precision, or for several processes, each with its share of the batches.
        folder: where to keep a checkpoint to go on from, the weights that were best on ``validation``, and the log. If
            there is a checkpoint already, the training goes on from it; the loader must be one of :mod:`helpers.mnist`.
        settings: whatever else decides the result. A folder in which others are noted is refused.
        save_every: steps between two checkpoints.
        stop: called after every step; when it says true, a checkpoint is written and :class:`Stopped` is raised.

    Returns:
        The records: ``{"step", "images", "lr", "loss", "accuracy", "seconds"}``, loss and accuracy over the batches
        since the last record, measured while training; with ``validation`` also ``"validation_loss"`` and
        ``"validation_accuracy"``.

    Raises:
        FloatingPointError: if the training has failed: the loss is not a number any more, or far above what guessing
            gives. The last good checkpoint is kept.
        helpers.checkpoint.CheckpointError: if ``folder`` cannot be used.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    ordered = isinstance(getattr(loader, "sampler", None), mnist.Shuffled)
    if folder is not None and not ordered:
        raise ValueError(
            "with a folder, loader must be one of helpers.mnist, whose order can be taken up in its middle"
        )
    every = every or max(1, steps // 50)
    fabric = fabric or Fabric(accelerator="cuda" if torch.cuda.is_available() else "cpu", devices=1)
    optimizers = optimisers(model, lr, muon=muon, ssm_lr=ssm_lr, weight_decay=weight_decay)
    net, *fabric_optimizers = fabric.setup(model, *optimizers)
    keeper = Keeper(folder, model, optimizers, settings or {}, writes=fabric.global_rank == 0)
    state, records = keeper.resume()
    step, images, seconds, best = state["step"], state["images"], state["seconds"], state["best"]
    tally = torch.tensor(state["tally"], dtype=torch.float64)  # examples, loss, right answers since the last record
    if ordered:
        loader.sampler.step = step
    # Of the dropout. torch.manual_seed would see to all devices, which takes half a millisecond where there are none.
    dice = torch.cuda if fabric.device.type == "cuda" else torch.default_generator
    batches, began, read = _again_and_again(loader), time.monotonic(), 0
    model.train()
    with tqdm(total=steps, initial=step, unit="step", leave=False, disable=fabric.global_rank > 0) as bar:
        while step < steps:
            pixels, labels = (tensor.to(fabric.device) for tensor in next(batches))
            lr_now = lr if constant else rate(step, steps, lr)
            for group in (group for optimizer in optimizers for group in optimizer.param_groups):
                group["lr"] = group["highest"] / lr * lr_now
            dice.manual_seed((seed * 2**20 + step) * fabric.world_size + fabric.global_rank)
            logits, answers = _answers(net, pixels) if early else (net(pixels), None)
            loss = aim = F.cross_entropy(logits, labels, reduction="sum")
            if early:
                copies = labels.repeat_interleave(answers.shape[1])
                aim = loss + early * F.cross_entropy(answers.flatten(0, 1), copies, reduction="sum") / answers.shape[1]
            right = (logits.argmax(-1) == labels).sum()
            found = torch.tensor([len(labels), loss.item(), right.item(), stop()], dtype=torch.float64)
            if fabric.world_size > 1:  # a batch is what all processes have of it together
                found = found.to(fabric.device)
                torch.distributed.all_reduce(found)  # fabric's own waits for everyone once more before it
                found = found.cpu()
            count, stopping = found[0].item(), bool(found[3])
            tally += found[:3]
            for optimizer in fabric_optimizers:
                optimizer.zero_grad()
            fabric.backward(aim * (fabric.world_size / count))  # the mean over processes is taken of the gradients
            norm = fabric.clip_gradients(net, fabric_optimizers[0], max_norm=clip or math.inf, error_if_nonfinite=False)
            mean = (tally[1] / tally[0]).item()
            if not math.isfinite(mean + norm) or (tally[0] >= 2_000 and mean > 2 * math.log(logits.shape[1])):
                raise FloatingPointError(
                    f"the training failed at step {step + 1}: the loss is {mean:.3g}, the norm of the gradient"
                    f" {norm:.3g}. Try a lower lr than {lr}.{keeper.says()}"
                )
            for optimizer in fabric_optimizers:
                optimizer.step()
            step, images, read = step + 1, images + int(count), read + int(count)

            elapsed = seconds + time.monotonic() - began
            if step % every == 0 or step == steps:
                _, loss, accuracy = (tally / tally[0]).tolist()
                record = {"step": step, "images": images, "lr": lr_now, "loss": loss, "accuracy": accuracy}
                if validation is not None:
                    found = evaluate(model, validation, fabric)
                    record |= {"validation_loss": found.loss, "validation_accuracy": found.accuracy}
                    if best is None or [found.accuracy, -found.loss] > best:
                        best = [found.accuracy, -found.loss]
                        keeper.keep_best()
                records.append(record | {"seconds": round(elapsed, 1)})
                keeper.log(records)
                tally.zero_()
            if step % save_every == 0 or step == steps or stopping:
                keeper.keep(step=step, images=images, seconds=elapsed, best=best, tally=tally.tolist())
            if tally[0]:
                loss, accuracy = (tally[1:] / tally[0]).tolist()
                pace = f"{read / (time.monotonic() - began):,.0f}/s"
                bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}", images=pace, refresh=False)
            bar.update()
            if stopping and step < steps:
                raise Stopped(f"stopped after step {step} of {steps}.{keeper.says()}")
    return records


def _answers(net, pixels):
    """The answer to whole sequences, ``(batch, classes)``, and those before the end, ``(batch, 18, classes)``."""
    read = [math.ceil(pixels.shape[1] * part / 28) for part in range(10, 29)]
    answers = net(pixels, read)
    return answers[:, -1], answers[:, :-1]


def _again_and_again(loader):
    while True:
        yield from loader


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


if __name__ == "__main__":
    from helpers.runs import main  # which needs this file, under its own name

    sys.exit(main())
