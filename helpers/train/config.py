"""How a training goes: one dataclass for the presets, the command and :func:`helpers.train.fit`."""

import dataclasses
import math


def _option(default, text):
    return dataclasses.field(default=default, metadata={"help": text})


@dataclasses.dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Everything that decides the course of a training, besides the model and the data.

    Raises:
        ValueError: naming the field, what it was and what it must be.
    """

    learning_rate: float = _option(5e-3, "highest learning rate, of AdamW")
    muon_learning_rate: float = _option(
        0.0, "highest learning rate of Muon, for the matrices in the layers; 0: no Muon"
    )
    ssm_learning_rate: float = _option(0.0, "highest learning rate of step size, A, B and C; 0: that of the others")
    weight_decay: float = _option(
        0.0, "of weight matrices; not of biases, gains, and what a layer names in no_weight_decay"
    )
    schedule: str = _option("one-cycle", "of the learning rates: one-cycle (up for a tenth, then a cosine) or constant")
    gradient_clip: float = _option(1.0, "largest norm of the gradient; 0: as it comes")
    deep_supervision: float = _option(0.0, "weight of the mean loss of the answers after rows 10 to 27 of a digit")
    augment: bool = _option(False, "turn, scale and shift each digit a little whenever it is read")
    epochs: float = _option(1.0, "how often all training examples are seen")
    steps: int | None = _option(None, "number of updates, in place of epochs")
    seed: int = _option(0, "of everything drawn at random")
    log_every: int = _option(0, "steps between two records; 0: fifty of them in all")
    save_every: int = _option(100, "steps between two checkpoints")

    def __post_init__(self):
        positive = ("learning_rate", "epochs", "save_every", *(["steps"] if self.steps is not None else []))
        not_negative = ("muon_learning_rate", "ssm_learning_rate", "weight_decay", "gradient_clip", "deep_supervision")
        for names, least in ((positive, "positive"), ((*not_negative, "log_every"), "0 or more")):
            for name in names:
                value = getattr(self, name)
                if not (value > 0 or (value == 0 and least == "0 or more")) or not math.isfinite(value):
                    raise ValueError(f"{name} must be {least}, got {value}")
        if self.schedule not in ("one-cycle", "constant"):
            raise ValueError(f"schedule must be 'one-cycle' or 'constant', got {self.schedule!r}")

    def total_steps(self, batches: int) -> int:
        """The number of updates in all epochs, of ``batches`` each; at least 1."""
        return max(1, round(self.epochs * batches))

    def rate(self, step: int, steps: int) -> float:
        """The share of the highest learning rate that a step gets, counted from 0."""
        warmup = 0.1 * steps
        if self.schedule == "constant":
            return 1.0
        if step < warmup:
            return (step + 1) / (warmup + 1)
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / (steps - warmup)))

    def identity(self) -> dict:
        """What a resumed training must have in common with the one that was begun."""
        return {
            name: value for name, value in dataclasses.asdict(self).items() if name not in ("log_every", "save_every")
        }
