"""What a model is asked in training and in evaluation: which digit it has read, or which pixel comes next.

An objective makes questions with one right choice each out of a batch. The rest of a training does not know which of
the two it is.
"""

from helpers.models import PixelGenerator


class Classification:
    """Any model that maps sequences to logits: one question for each sequence, of which label it has."""

    @staticmethod
    def logits(model, pixels, labels):
        """What the model answers: ``(n, classes)``."""
        return model(pixels)

    @staticmethod
    def targets(pixels, labels):
        """What is right: ``(n,)``."""
        return labels

    @staticmethod
    def rank(accuracy: float, loss: float) -> list[float]:
        """What is larger for the better of two evaluations: the accuracy decides."""
        return [accuracy, -loss]


class NextPixel:
    """A :class:`helpers.models.PixelGenerator`: one question for each pixel, of which level it has."""

    @staticmethod
    def logits(model, levels, labels):
        """What the model predicts: ``(n * length, levels)``. If it knows classes it is told ``labels``, or None."""
        return model(levels, labels if model.classes else None).flatten(0, 1)

    @staticmethod
    def targets(levels, labels):
        """What is right: ``(n * length,)``, of the dtype of ``levels``."""
        return levels.flatten()

    @staticmethod
    def rank(accuracy: float, loss: float) -> list[float]:
        """What is larger for the better of two evaluations: the likelihood decides."""
        return [-loss]


def objective_of(model):
    """The objective that fits a model."""
    return NextPixel if isinstance(model, PixelGenerator) else Classification
