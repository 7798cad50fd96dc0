"""The trainings that this tutorial reports, by name.

Epochs and learning rates were chosen on validation images. ``validation=0`` trains on all 60,000 images, where nothing
is chosen.
"""

from dataclasses import dataclass, field

from helpers.train.config import TrainingConfig

PERMUTATION = 92916  # the seed of the fixed order in which permuted MNIST is read


@dataclass(frozen=True, kw_only=True)
class Preset:
    """A model, its data, and how it is trained."""

    model: str = "PixelClassifier"  # a class of helpers.models
    arguments: dict = field(default_factory=dict)  # of the model
    batch_size: int = 32
    validation: int = 5_000  # training images that are set aside
    config: TrainingConfig


def _small(mixer, learning_rate, muon_learning_rate, d_model=32, **arguments):
    """Two layers and some 17,400 parameters, whatever the mixer, at learning rates that do well for most of them."""
    return Preset(
        arguments={"mixer": mixer, "d_model": d_model, "n_layer": 2, **arguments},
        config=TrainingConfig(learning_rate=learning_rate, muon_learning_rate=muon_learning_rate, weight_decay=0.05),
    )


def _generator(mixer, **arguments):
    """Predicts the next pixel; half of the time it is told the class."""
    return Preset(
        model="PixelGenerator",
        arguments={"mixer": mixer, "classes": 10, **arguments},
        batch_size=8,  # each holds 6,272 questions
        config=TrainingConfig(learning_rate=1e-2, muon_learning_rate=0.02, weight_decay=0.05, epochs=10),
    )


def _recipe(**arguments):
    """The common recipe, to the letter: 10 epochs of Adam at 1e-4, in batches of 32, without clipping."""
    config = TrainingConfig(learning_rate=1e-4, schedule="constant", gradient_clip=0.0, epochs=10)
    return Preset(model="FlattenedClassifier", arguments=arguments, validation=0, config=config)


_PUBLISHED = {"mixer": "mamba-rope", "d_model": 64, "n_layer": 3, "d_state": 8, "dropout": 0.1}

PRESETS = {
    "smnist": Preset(
        arguments={**_PUBLISHED, "pooling": "sum"},
        config=TrainingConfig(
            learning_rate=5e-3, ssm_learning_rate=1e-3, weight_decay=0.05, deep_supervision=0.3, epochs=20
        ),
    ),
    # The same size for an order without neighbors: with positional encoding, answering from the last position.
    "psmnist": Preset(
        arguments={**_PUBLISHED, "pooling": "last", "permutation": PERMUTATION, "positional_encoding": True},
        config=TrainingConfig(
            learning_rate=3e-3, muon_learning_rate=0.02, weight_decay=0.05, deep_supervision=0.3, epochs=16
        ),
    ),
    "small-mamba": _small("mamba", 3e-3, 0.02, d_state=8),
    "small-mamba-rope": _small("mamba-rope", 3e-3, 0.02, d_state=8),
    "small-mamba2": _small("mamba2", 3e-3, 0.02, d_model=33, d_state=16, headdim=22),
    "small-mamba3": _small("mamba3", 3e-3, 0.02, d_model=33, d_state=16, headdim=22),
    "small-memoryless": _small("memoryless", 3e-3, 0.02, d_state=8),
    "small-s4d": _small("s4d", 3e-3, 0.02, d_model=40, d_state=64),
    "small-lstm": _small("lstm", 1e-2, 0.0),
    "small-attention": _small("attention", 3e-3, 0.006, n_head=2),
    "generator": _generator("mamba-rope", d_model=64, n_layer=3, d_state=16, d_conv=32),
    "generator-s4d": _generator("s4d", d_model=38, n_layer=2, d_state=64),
    "generator-lstm": _generator("lstm", d_model=34, n_layer=2, forget_bias=1.0),
    "generator-attention": _generator("attention", d_model=34, n_layer=2, n_head=2),
    "recipe": _recipe(mixer="mamba"),
    "recipe-frozen": _recipe(mixer="frozen"),
    "recipe-identity": _recipe(mixer="identity"),
    "recipe-permuted": _recipe(mixer="mamba", permutation=PERMUTATION),
}
