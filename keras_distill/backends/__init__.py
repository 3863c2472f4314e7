"""What differs between the backends of Keras: how a step is trained, and how many replicas share a batch."""

import importlib

import keras

from keras_distill._messages import expected

SUPPORTED = ("tensorflow", "jax")


def check_supported():
    """Raise a `ValueError` unless a `Distiller` can be trained on Keras's backend."""
    if keras.backend.backend() not in SUPPORTED:
        received = f"KERAS_BACKEND={keras.backend.backend()}"
        raise ValueError(expected("the TensorFlow or the JAX backend", received))


# Losses, metrics and schedules work on every backend, so that importing the package does too.
_name = keras.backend.backend() if keras.backend.backend() in SUPPORTED else "unsupported"
_module = importlib.import_module(f"keras_distill.backends.{_name}")
Steps = _module.Steps
replicas = _module.replicas
