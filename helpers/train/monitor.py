"""What is watched while a training runs: how far it is, how well it goes, and whether it has failed."""

import math
import time

import torch
from tqdm import tqdm


class Stopped(Exception):
    """Somebody asked the training to stop, and it did."""


class Monitor:
    """Counts examples, losses and right answers since the last record, keeps the records, and shows a progress bar.

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
        self._tally = torch.tensor(counters["tally"], dtype=torch.float64)  # examples, loss, right answers
        self.bar = tqdm(total=steps, initial=self.step, unit="step", leave=False, disable=fabric.global_rank > 0)

    @property
    def counters(self) -> dict:
        """All numbers that the training needs to go on from here."""
        same = {"step": self.step, "images": self.images, "best": self.best}
        return same | {"seconds": self.seconds, "tally": self._tally.tolist()}

    @property
    def seconds(self) -> float:
        """For how long it has been training, in all its parts."""
        return self._seconds + time.monotonic() - self._began

    def count(self, examples: int, loss: float, right: int, stop: bool) -> tuple[int, bool]:
        """Add up a batch over all processes: how many examples it had, and whether any process is to stop."""
        found = torch.tensor([examples, loss, right, stop], dtype=torch.float64)
        if self.fabric.world_size > 1:
            found = found.to(self.fabric.device)
            torch.distributed.all_reduce(found)  # fabric's own waits for everyone once more before it
            found = found.cpu()
        self._tally += found[:3]
        return int(found[0]), bool(found[3])

    def check(self, norm: float, classes: int, learning_rate: float, advice) -> None:
        """Raise FloatingPointError if the loss is no number any more, or far above what guessing gives."""
        mean = (self._tally[1] / self._tally[0]).item()
        if not math.isfinite(mean + norm) or (self._tally[0] >= 2_000 and mean > 2 * math.log(classes)):
            raise FloatingPointError(
                f"the training failed at step {self.step + 1}: the loss is {mean:.3g}, the norm of the gradient"
                f" {norm:.3g}. Try a lower learning_rate than {learning_rate}.{advice()}"
            )

    def advance(self, examples: int) -> None:
        """A step has been taken."""
        self.step, self.images, self._read = self.step + 1, self.images + examples, self._read + examples
        _, loss, accuracy = (self._tally / self._tally[0]).tolist()
        pace = f"{self._read / (time.monotonic() - self._began):,.0f}/s"
        self.bar.set_postfix(loss=f"{loss:.3f}", accuracy=f"{accuracy:.1%}", images=pace, refresh=False)
        self.bar.update()

    def record(self, learning_rate: float, validation) -> bool:
        """Note how it went since the last record; true if ``validation``, an Evaluation or None, is the best so far."""
        _, loss, accuracy = (self._tally / self._tally[0]).tolist()
        record = {"step": self.step, "images": self.images, "learning_rate": learning_rate, "loss": loss}
        record |= {"accuracy": accuracy}
        better = False
        if validation is not None:
            record |= {"validation_loss": validation.loss, "validation_accuracy": validation.accuracy}
            found = [validation.accuracy, -validation.loss]
            better = self.best is None or found > self.best
            self.best = found if better else self.best
        self.records.append(record | {"seconds": round(self.seconds, 1)})
        self._tally.zero_()
        return better
