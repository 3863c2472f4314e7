"""Back from a quantization-aware model to a plain float one."""

import keras

from keras_distill._core.messages import expected
from keras_distill.quantization.activations import QuantizedSiLU
from keras_distill.quantization.aware import is_quantize_aware
from keras_distill.quantization.graph import copy, structures, transcribe
from keras_distill.quantization.kernels import QuantizedKernel
from keras_distill.quantization.parts import skipped
from keras_distill.quantization.ranges import FakeQuantization
from keras_distill.quantization.weights import RoundedWeights


def float_student(model, name=None):
    """Make a float copy of a quantization-aware model: the same weights, nothing rounded.

    Batch normalization stays folded into the weights. For files in floating point, and to measure what the rounding
    costs.

    Args:
        model: What `quantize_aware` returned.
        name: Name of the copy. Defaults to the model's own without `_quantization_aware`.

    Returns:
        A Functional `keras.Model` of Keras's own layers.

    Raises:
        ValueError: If the model is not quantization-aware.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> student = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), keras.layers.BatchNormalization()])
    >>> again, x = float_student(kd.quantization.quantize_aware(student)), np.ones((1, 4), "float32")
    >>> bool(np.allclose(again(x), student(x))), len(again.layers)
    (True, 2)
    """
    if not is_quantize_aware(model):
        raise ValueError(expected("a quantization-aware model", repr(getattr(model, "name", model))))
    twins, names = {}, _names(model)

    def visit(step, tensors):
        layer = step.operation
        if isinstance(layer, FakeQuantization):
            return tensors[0]
        within = skipped(layer, tensors)
        if within is not None:
            return _whole(layer, names[layer.name], within, twins)
        if id(layer) not in twins:
            twins[id(layer)] = _plain(layer, names[layer.name])
        if isinstance(layer, QuantizedKernel):
            return twins[id(layer)](tensors[0])
        arguments, keywords = step.arguments(tensors)
        return twins[id(layer)](*arguments, **keywords)

    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in model.inputs]
    outputs = transcribe(model, inputs, visit)
    of_inputs, of_outputs = structures(model)
    return keras.Model(
        keras.tree.pack_sequence_as(of_inputs, inputs),
        keras.tree.pack_sequence_as(of_outputs, outputs),
        name=name or model.name.removesuffix("_quantization_aware"),
    )


def _whole(layer, name, within, twins):
    """Return what the float layer gives that a part ends, or, where none ends, what stands for it."""
    if not getattr(layer, "ends", False):
        return within
    if id(layer) not in twins:
        twins[id(layer)] = layer.whole(name, within.parts, within.tensors)
    return layer.called(twins[id(layer)], within.tensors)


def _names(model):
    """Return the student's own name for each layer."""
    kept = [layer.name for layer in model.layers if not isinstance(layer, FakeQuantization)]
    own = {name: name.removesuffix("_unrounded") for name in kept}
    return {name: name if own[name] in kept else own[name] for name in kept}


def _plain(layer, name):
    if isinstance(layer, QuantizedKernel):
        return layer.float_layer(name)
    if isinstance(layer, RoundedWeights):
        return copy(layer.layer, name)
    if isinstance(layer, QuantizedSiLU):
        return keras.layers.Activation("silu", name=name)
    return copy(layer, name)
