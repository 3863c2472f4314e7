"""Which of Keras's backends runs, and what differs between them."""

from typing import Any

import keras

from keras_distill._core.messages import expected

SUPPORTED = ("tensorflow", "jax")
"""The backends on which a `Distiller` can be trained. Losses, metrics and schedules work on every backend."""


def check_supported() -> None:
    """Raise a `ValueError` unless a `Distiller` can be trained on Keras's backend."""
    if keras.backend.backend() not in SUPPORTED:
        raise ValueError(expected("the TensorFlow or the JAX backend", _received()))


def check_tensorflow(what: str) -> None:
    """Raise a `ValueError` unless Keras's backend is TensorFlow.

    Args:
        what: What needs it, for the message.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(expected(f"the TensorFlow backend for {what}", _received()))


def replicas() -> Any:
    """Return the number of replicas that each compute a share of the loss.

    It is 1 unless a `tf.distribute` strategy is in scope: on JAX one program computes the whole loss, on however many
    devices.
    """
    if keras.backend.backend() != "tensorflow":
        return 1
    import tensorflow as tf

    return tf.distribute.get_strategy().num_replicas_in_sync


def has_accelerator() -> bool:
    """Return whether TensorFlow sees a device beside the CPU, for which Keras compiles with XLA by default."""
    import tensorflow as tf

    return any(device.device_type != "CPU" for device in tf.config.list_physical_devices())


def synced(model: keras.Model) -> Any:
    """Return a model whose variables hold the values of its last step; on JAX, Keras defers that within an epoch."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    return model


def _received():
    return f"KERAS_BACKEND={keras.backend.backend()}"
