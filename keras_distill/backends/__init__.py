"""What differs between the backends of Keras: how a step is trained, and how many replicas share a batch."""

import importlib

import keras

from keras_distill._messages import expected

SUPPORTED = ("tensorflow", "jax")


def check_supported():
    """Raise a `ValueError` unless a `Distiller` can be trained on Keras's backend."""
    if keras.backend.backend() not in SUPPORTED:
        raise ValueError(expected("the TensorFlow or the JAX backend", _received()))


def check_tensorflow(what):
    """Raise a `ValueError` unless Keras's backend is TensorFlow.

    Args:
        what: What needs it, for the message.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(expected(f"the TensorFlow backend for {what}", _received()))


def synced(model):
    """Return a model whose variables have the values of its last step: on JAX, Keras keeps these back in an epoch."""
    if hasattr(model, "jax_state_sync"):
        model.jax_state_sync()
    return model


def _received():
    return f"KERAS_BACKEND={keras.backend.backend()}"


# Losses, metrics and schedules work on every backend, so that importing the package does too.
_name = keras.backend.backend() if keras.backend.backend() in SUPPORTED else "unsupported"
_module = importlib.import_module(f"keras_distill.backends.{_name}")
Steps = _module.Steps
replicas = _module.replicas
