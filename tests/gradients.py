"""Gradients, masks and compiled functions of whichever backend the tests run on."""

import keras
from keras import ops

from keras_distill._core.tensors import set_mask

JAX = keras.backend.backend() == "jax"


def value_and_gradient(function, at):
    """Return a function's value, and the gradient of its sum with respect to its argument, a tensor or a nest of them.

    What the value does not depend on has a gradient of `None` on TensorFlow and of zeros on JAX.
    """
    at = keras.tree.map_structure(ops.convert_to_tensor, at)
    if JAX:
        import jax

        def total_and_value(at):
            value = function(at)
            return ops.sum(value), value

        gradient, value = jax.grad(total_and_value, has_aux=True)(at)
        return value, gradient
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(at)
        value = function(at)
    return value, tape.gradient(value, at)


def compiled(function, xla=True):
    """Return a function compiled by XLA, or, on TensorFlow and where asked for, made a graph alone."""
    if JAX:
        import jax

        return jax.jit(function)
    import tensorflow as tf

    return tf.function(function, jit_compile=xla)


def masked(tensor, mask):
    """Return a copy of a tensor with a Keras mask, or without one for `None`."""
    tensor = ops.copy(tensor)
    if mask is not None:
        set_mask(tensor, ops.convert_to_tensor(mask))
    return tensor


def as_arrays(tensors):
    """Return a nest of NumPy arrays for one of tensors."""
    return keras.tree.map_structure(ops.convert_to_numpy, tensors)
