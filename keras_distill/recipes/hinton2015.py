"""The original distillation on MNIST: two layers of 1200 units teach two layers of 800, at a temperature of 20.

As in Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 3. The
teacher has dropout and weights of bounded norm, and sees every digit shifted by up to two pixels; the students have no
regularisation and see the original digits. `python -m benchmarks.hinton2015` reproduces the paper's figures with a
longer training and settings of its own; this recipe is its first pair.

Command     keras-distill run hinton2015 --download          (or --data-dir FOLDER, where it is prepared)
Cost        about two hours on one core for three seeds, estimated from the benchmark; --quick --seeds 1: 3 minutes
Expected    see benchmarks/results/hinton2015.json; the recipe itself, which picks the best epoch on the validation
            split and keeps that split out of the training, has not been measured yet
"""

from typing import Any

import keras
from keras import layers

from keras_distill import data, schedules
from keras_distill.recipes.recipe import Recipe

SHAPE, CLASSES = (28, 28, 1), 10
PIXELS = 2


def load_data(data_dir: str | None = None, download: bool = False) -> data.Data:
    """Load MNIST with 5,000 of its training digits kept for validation."""
    return data.load("mnist", data_dir=data_dir, download=download)


def teacher(dropout: tuple[float, float] = (0.1, 0.3), max_norm: float = 3.5) -> keras.Model:
    """Build two layers of 1200 units with dropout, bounded weights and shifted digits, 2.4 million parameters.

    Args:
        dropout: Rates of dropout for the pixels, and for the units of each hidden layer. Defaults to `(0.1, 0.3)`.
        max_norm: Largest norm of the incoming weights of a unit. Defaults to 3.5.
    """
    # Rounded to the nearest pixel, a shift by up to 2.5 makes -2, -1, 0, 1 and 2 pixels equally likely.
    shift = (PIXELS + 0.5) / SHAPE[0]
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.RandomTranslation(shift, shift, fill_mode="constant", interpolation="nearest"),
            layers.Flatten(),
            layers.Dropout(dropout[0]),
            _bounded(1200, max_norm, "relu"),
            layers.Dropout(dropout[1]),
            _bounded(1200, max_norm, "relu"),
            layers.Dropout(dropout[1]),
            _bounded(CLASSES, max_norm),
        ],
        name="teacher",
    )


def _bounded(units: int, max_norm: Any, activation: str | None = None) -> keras.layers.Layer:
    return layers.Dense(units, activation, kernel_constraint=keras.constraints.MaxNorm(max_norm, axis=0))


def student(width: int = 800) -> keras.Model:
    """Build two layers of `width` units without regularisation, 1.3 million parameters for 800."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Flatten(),
            layers.Dense(width, "relu"),
            layers.Dense(width, "relu"),
            layers.Dense(CLASSES),
        ],
        name="student",
    )


RECIPE = Recipe(
    name="hinton2015",
    summary="1200 units a layer teach 800 at a temperature of 20, as in the paper that named distillation.",
    data=load_data,
    teacher=teacher,
    student=student,
    temperature=lambda epochs: schedules.constant(20.0),
    student_loss_weight=0.0,
    teacher_epochs=60,
    student_epochs=40,
    batch_size=250,
    learning_rate=1e-3,
    quick={"teacher_epochs": 2, "student_epochs": 3, "samples": 12_800, "transfer_samples": 6_400},
)
