"""Fit a classifier and evaluate it: a loop that can be read, and nothing else."""

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from tqdm import tqdm


class Evaluation(NamedTuple):
    """What a classifier made of a data set."""

    loss: float  # mean cross-entropy, nats
    accuracy: float  # share of right answers, 0 to 1
    labels: torch.Tensor  # int64 (n,), on the CPU
    predictions: torch.Tensor  # int64 (n,), on the CPU

    def __str__(self):
        low, high = interval(self.accuracy, len(self.labels))
        return f"{self.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%}, {len(self.labels):,} digits)"


def interval(accuracy: float, n: int) -> tuple[float, float]:
    """The 95 % confidence interval of an accuracy measured on ``n`` examples (Wilson's score interval, 1927)."""
    z = 1.959964
    centre = (accuracy + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(accuracy * (1 - accuracy) / n + z * z / (4 * n * n))
    return centre - half, centre + half


def fit(model, loader, steps: int, *, lr: float, weight_decay: float = 0.0, every: int = 0) -> list[dict]:
    """Train with AdamW and a one-cycle learning rate for a fixed number of steps, with a progress bar.

    The rate rises for a fifth of the steps and falls for the rest; gradients are clipped to norm 1. Weights are decayed
    only where that makes sense: not biases, gains, or what carries upstream's mark ``_no_weight_decay``.

    Args:
        model: maps a batch of pixels to logits.
        loader: yields ``(pixels, labels)``; it is started again as often as the steps need.
        steps: number of updates, at least 1.
        lr: the highest learning rate.
        weight_decay: of AdamW.
        every: steps between two records. Default: so many that there are about 50.

    Returns:
        The records: ``{"step", "images", "loss", "accuracy"}``, the last two over the batches since the last record,
        measured while training.

    Raises:
        FloatingPointError: if the loss is not a number any more.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    every = every or max(1, steps // 50)
    where = next(model.parameters()).device
    decayed, kept = [], []
    for parameter in model.parameters():
        undecayed = parameter.dim() < 2 or getattr(parameter, "_no_weight_decay", False)
        (kept if undecayed else decayed).append(parameter)
    optimizer = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": weight_decay}, {"params": kept, "weight_decay": 0.0}], lr=lr
    )
    # Of five steps torch's cycle makes a division by zero; fewer than six are the beginning of six.
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=max(steps, 6), pct_start=0.2)

    records, images, since, loss_sum, right = [], 0, 0, 0.0, 0
    batches = iter(())
    model.train()
    with tqdm(total=steps, unit="step", leave=False) as bar:
        for step in range(1, steps + 1):
            batch = next(batches, None)
            if batch is None:  # an epoch is over
                batches = iter(loader)
                batch = next(batches)
            pixels, labels = (tensor.to(where) for tensor in batch)
            logits = model(pixels)
            loss = F.cross_entropy(logits, labels)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            schedule.step()

            images += len(labels)
            since += len(labels)
            loss_sum += loss.item() * len(labels)
            right += (logits.argmax(-1) == labels).sum().item()
            if not math.isfinite(loss_sum):
                raise FloatingPointError(f"the loss is {loss.item()} at step {step}: try a lower lr than {lr}")
            if step % every == 0 or step == steps:
                records.append({"step": step, "images": images, "loss": loss_sum / since, "accuracy": right / since})
                bar.set_postfix(loss=f"{loss_sum / since:.3f}", accuracy=f"{right / since:.1%}", refresh=False)
                since, loss_sum, right = 0, 0.0, 0
            bar.update()
    return records


@torch.inference_mode()
def evaluate(model, loader) -> Evaluation:
    """Answer every example of a loader once, with a progress bar."""
    where = next(model.parameters()).device
    training = model.training
    model.eval()
    loss, labels, predictions = 0.0, [], []
    for pixels, batch_labels in tqdm(loader, unit="batch", leave=False):
        logits = model(pixels.to(where)).cpu()
        loss += F.cross_entropy(logits, batch_labels, reduction="sum").item()
        labels.append(batch_labels)
        predictions.append(logits.argmax(-1))
    model.train(training)
    labels, predictions = torch.cat(labels), torch.cat(predictions)
    return Evaluation(loss / len(labels), (labels == predictions).double().mean().item(), labels, predictions)
