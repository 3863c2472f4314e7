"""CIFAR-10: 60,000 colour photographs of 32x32 pixels in ten classes.

Command     keras-distill run cifar10 --download        (or --data-dir FOLDER, where it is prepared)
Cost        about 40 minutes on 4 cores, estimated from the quick form; --quick --seeds 1: 2.5 minutes on 2 cores
Expected    --quick --seeds 1, which stops long before convergence: test accuracy of the teacher 42 %, of the
            student alone 32 %, distilled 32 %; the full recipe has not been measured yet
"""

import keras
from keras import layers

from keras_distill import data, schedules
from keras_distill.recipes.recipe import Recipe

SHAPE, CLASSES = (32, 32, 3), 10


def load_data(data_dir: str | None = None, download: bool = False) -> data.Data:
    """Load CIFAR-10 with 5,000 of its training photographs kept for validation."""
    return data.load("cifar10", data_dir=data_dir, download=download)


def _block(channels: int, strides: int = 1) -> list[keras.layers.Layer]:
    # Normalised before the activation, so that the export can fold the normalisation into the convolution.
    return [
        layers.Conv2D(channels, 3, strides=strides, padding="same", use_bias=False),
        layers.BatchNormalization(momentum=0.9),
        layers.ReLU(),
    ]


def teacher() -> keras.Model:
    """Build a convolutional net of three widths with dropout, 141 thousand parameters."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            *_block(32),
            *_block(48, strides=2),
            *_block(96, strides=2),
            *_block(96),
            layers.GlobalAveragePooling2D(),
            layers.Dropout(0.2),
            layers.Dense(CLASSES),
        ],
        name="teacher",
    )


def student() -> keras.Model:
    """Build a convolutional net of three narrow layers, 19.6 thousand parameters."""
    return keras.Sequential(
        [
            keras.Input(SHAPE),
            *_block(16, strides=2),
            *_block(32, strides=2),
            *_block(48, strides=2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES),
        ],
        name="student",
    )


RECIPE = Recipe(
    name="cifar10",
    summary="small photographs; a student of a seventh of its teacher's size, with a quarter of its photographs.",
    data=load_data,
    teacher=teacher,
    student=student,
    temperature=lambda epochs: schedules.cosine(4.0, 2.0, steps=epochs),
    student_loss_weight=0.1,
    teacher_epochs=10,
    student_epochs=20,
    batch_size=128,
    learning_rate=3e-3,
    shift=2,
    flip=True,
    transfer_samples=11_250,
    quick={"teacher_epochs": 2, "student_epochs": 3, "samples": 6_400, "transfer_samples": 2_560},
)
