"""The first distillation of all on MNIST: two layers of 1200 units teach two layers of 800, at a temperature of 20.

As in Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531, section 3. The
teacher has dropout, weights of bounded norm, and sees every digit moved by up to two pixels; the students have nothing
of the kind and see the digits as they are. The paper's figures, and ours of a longer training, are made by
`python -m benchmarks.hinton2015`, with settings chosen there; this recipe is its first pair.

Command     keras-distill run hinton2015 --download          (or --data-dir FOLDER, where it is prepared)
Cost        about two hours of one core for three seeds, reckoned from the benchmark; --quick --seeds 1: 3 minutes
Expected    see benchmarks/results/hinton2015.json; the recipe itself, which picks the epoch that is best on the
            validation split and keeps that split out of training, is yet to be measured
"""

import keras
from keras import layers

from keras_distill import schedules
from keras_distill.data.loading import load
from keras_distill.recipes.recipe import Recipe

SHAPE, CLASSES = (28, 28, 1), 10
PIXELS = 2


def load_data(data_dir=None, download=False):
    """Load MNIST with 5,000 of its training digits kept for validation."""
    return load("mnist", data_dir=data_dir, download=download)


def teacher(dropout=(0.1, 0.3), max_norm=3.5):
    """Build two layers of 1200 units with dropout, bounded weights and moved digits, 2.4 million parameters.

    Args:
        dropout: Shares of the pixels, and of the units of each hidden layer, that are dropped.
            Defaults to `(0.1, 0.3)`.
        max_norm: Largest norm of the weights that lead to a unit. Defaults to 3.5.
    """
    # The nearest pixel of a move by up to 2.5 makes each of -2, -1, 0, 1 and 2 pixels as likely as the others.
    move = (PIXELS + 0.5) / SHAPE[0]
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.RandomTranslation(move, move, fill_mode="constant", interpolation="nearest"),
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


def _bounded(units, max_norm, activation=None):
    return layers.Dense(units, activation, kernel_constraint=keras.constraints.MaxNorm(max_norm, axis=0))


def student(width=800):
    """Build two layers of so many units without any regularisation, 1.3 million parameters for 800."""
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
