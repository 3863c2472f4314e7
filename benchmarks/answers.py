"""Return what a model answers, and how much of it is correct."""

import keras
import numpy as np

_BATCH = 500


def classes_of(model, x):
    """Return the classes that a model says, an int array `[samples]`."""
    # Called as it is: `predict` would trace each of many small nets, for longer than it then runs.
    parts = [model(x[start : start + _BATCH], training=False) for start in range(0, len(x), _BATCH)]
    return np.concatenate([np.argmax(keras.ops.convert_to_numpy(part), -1) for part in parts])


def accuracy(model, split):
    """Return the share of right answers on a pair `(x, y)`."""
    x, y = split
    return float(np.mean(classes_of(model, x) == y))
