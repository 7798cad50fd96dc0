"""What is watched while a training runs: how far it is, how well it goes, and whether it has failed."""

import math
import sys
import time

import torch
from tqdm import tqdm

from helpers.train.objectives import Classification


class Stopped(Exception):
    """Somebody asked the training to stop, and it did."""


class Monitor:
    """Counts examples, losses and right answers since the last record, keeps the records, and shows a progress bar.

    It counts on the device where a loss is computed. Only :meth:`check`, :meth:`record` and :attr:`counters` read what
    was counted, and so wait for a GPU.

    Args:
        steps: of the whole training.
        counters: those of an earlier part of the training, as :attr:`counters` gives them.
        records: of that part.
        fabric: whose processes train together; the first of them shows the bar.
    """

    def __init__(self, steps: int, counters: dict, records: list[dict], fabric):
        self.steps, self.fabric, self.records = steps, fabric, records
        self.step, self.images, self.best = counters["step"], counters["images"], counters["best"]
        self._seconds, self._began, self._read = counters["seconds"], time.monotonic(), 0
        self._checked, self._classes = self.step, None
        # MPS has no float64, and there what is counted comes to the CPU.
        self._device = fabric.device if fabric.device.type == "cuda" else torch.device("cpu")
        # Examples, loss and right answers since the last record; the largest norm since the last check.
        self._sums = torch.tensor([*counters["tally"], 0.0], dtype=torch.float64).to(self._device)
        if self.step and fabric.global_rank == 0:
            where = f"resumes after step {self.step} of" if self.step < steps else "has been done before, all"
            print(f"The training {where} {steps}.", file=sys.stderr)
        self.bar = tqdm(total=steps, initial=self.step, unit="step", leave=False, disable=fabric.global_rank > 0)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.bar.close()

    @property
    def counters(self) -> dict:
        """All numbers that the training needs to go on from here."""
        same = {"step": self.step, "images": self.images, "best": self.best}
        return same | {"seconds": self.seconds, "tally": self._sums.tolist()[:3]}

    @property
    def seconds(self) -> float:
        """For how long it has been training, in all its parts."""
        return self._seconds + time.monotonic() - self._began

    def count(self, examples: int, loss, right, stop: bool) -> tuple[int, bool]:
        """Add up a batch over all processes: how many examples it had, and whether any process is to stop.

        Args:
            examples: of this process.
            loss, right: of these, their summed loss and how many were answered rightly: tensors of one number.
            stop: whether this process is to stop.
        """
        if self.fabric.world_size > 1:
            found = [examples, loss.item(), right.item(), stop]
            found = torch.tensor(found, dtype=torch.float64, device=self.fabric.device)
            torch.distributed.all_reduce(found)  # fabric's own waits for everyone once more before it
            examples, stop = int(found[0].item()), bool(found[3].item())
            loss, right = found[1], found[2]
        for place, number in enumerate((examples, loss.to(self._device), right.to(self._device))):
            self._sums[place].add_(number)
        return examples, stop

    def note(self, norm, classes: int) -> None:
        """Note the norm of a batch's gradient, a tensor of one number, and how many answers there are."""
        self._sums[3] = torch.maximum(self._sums[3], norm.to(self._device))  # NaN, if one of them is
        self._classes = classes

    def check(self, learning_rate: float, advice) -> None:
        """Look at what was counted since the last check.

        Raises:
            FloatingPointError: if a loss or a norm is not finite, or the mean loss is far above what guessing gives.
        """
        first, self._checked = self._checked + 1, self.step
        examples, loss, right, norm = self._sums.tolist()
        mean = loss / examples
        # One bad batch is no failure, and some trainings recover from it.
        recorded, loss_before = (self.records[-1]["step"], self.records[-1]["loss"]) if self.records else (0, 0.0)
        far = 2 * math.log(self._classes)
        lasting = self.step - recorded >= 20 or loss_before > far
        if not math.isfinite(mean + norm) or (examples >= 2_000 and mean > far and lasting):
            when = f"step {self.step}" if first == self.step else f"one of the steps {first} to {self.step}"
            raise FloatingPointError(
                f"the training failed at {when}: the loss is {mean:.3g}, the norm of the gradient {norm:.3g}. Try a"
                f" lower learning_rate than {learning_rate}.{advice()}"
            )
        self._sums[3] = 0.0
        pace = f"{self._read / (time.monotonic() - self._began):,.0f}/s"
        self.bar.set_postfix(loss=f"{mean:.3f}", accuracy=f"{right / examples:.1%}", examples=pace, refresh=False)

    def advance(self, examples: int) -> None:
        """A step has been taken."""
        self.step, self.images, self._read = self.step + 1, self.images + examples, self._read + examples
        self.bar.update()

    def record(self, learning_rate: float, validation, rank=Classification.rank) -> bool:
        """Note how it went since the last record; true if ``validation``, an Evaluation or None, is the best so far.

        ``rank`` is that of an objective (:mod:`helpers.train.objectives`).
        """
        examples, loss, right, _ = self._sums.tolist()
        record = {"step": self.step, "images": self.images, "learning_rate": learning_rate, "loss": loss / examples}
        record |= {"accuracy": right / examples}
        better = False
        if validation is not None:
            record |= {"validation_loss": validation.loss, "validation_accuracy": validation.accuracy}
            found = rank(validation.accuracy, validation.loss)
            better = self.best is None or found > self.best
            self.best = found if better else self.best
        self.records.append(record | {"seconds": round(self.seconds, 1)})
        self._sums.zero_()
        return better
