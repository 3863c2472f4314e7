"""Ask a teacher once, and train on batches that carry its answers."""

import contextlib
import tempfile

import tensorflow as tf

import keras_distill as kd


@contextlib.contextmanager
def asked_once(teacher, x, temperature, batch_size, seed):
    """Store what a teacher says of inputs, for as long as the context lasts.

    Args:
        teacher: The teacher, one net or an `Ensemble`.
        x: Inputs `[samples, ...]`.
        temperature: Temperature at which its soft targets will be learnt from.
        batch_size: Samples in each batch.
        seed: Seed of the order, another one in every epoch.

    Yields:
        The store, and shuffled batches for the `fit` of a `Distiller` that has the store as its teacher.
    """
    with tempfile.TemporaryDirectory() as folder:
        options = {"dtype": "float32", "temperatures": (temperature,), "batch_size": 500}
        store = kd.targets.write(teacher, x, f"{folder}/targets", **options)
        joined = store.join(tf.data.Dataset.from_tensor_slices(x))
        yield store, joined.cache().shuffle(len(x), seed=seed).batch(batch_size)
