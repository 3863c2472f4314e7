"""A recipe of seconds, for the kept folder of a run: real digits, two small nets."""

import keras

from keras_distill import data, recipes, schedules


def load_data(data_dir=None, download=False):
    """Load the digits."""
    return data.digits()


def _net(width, name):
    layers = [keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(width, activation="relu")]
    return keras.Sequential([*layers, keras.layers.Dense(10)], name=name)


RECIPE = recipes.Recipe(
    name="kept",
    summary="digits; nets of one hidden layer, for the files of the compatibility tests.",
    data=load_data,
    teacher=lambda: _net(24, "teacher"),
    student=lambda: _net(6, "student"),
    temperature=lambda epochs: schedules.cosine(8.0, 2.0, steps=epochs),
    teacher_epochs=2,
    student_epochs=3,
    learning_rate=5e-3,
    batch_size=64,
    samples=600,
    transfer_samples=300,
)
