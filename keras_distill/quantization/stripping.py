"""Converting a quantization-aware model back to a plain float model."""

from typing import Any

import keras

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.quantization.activations import QuantizedSiLU
from keras_distill.quantization.augmentation import TrainingOnly
from keras_distill.quantization.aware import find_first_weights, is_quantize_aware
from keras_distill.quantization.constants import WithConstant
from keras_distill.quantization.graph import copy_layer, find_structures, transcribe
from keras_distill.quantization.kernels import QuantizedKernel
from keras_distill.quantization.parts import Skipped, skip_part
from keras_distill.quantization.ranges import FakeQuantization
from keras_distill.quantization.weights import RoundedWeights


@checked()
def float_student(model: keras.Model, name: str | None = None) -> keras.Model:
    """Return a float copy of a quantization-aware model, with the same weights and without rounding.

    Batch normalization stays folded into the weights. Use the copy to write files in floating point, or to measure the
    cost of rounding.

    Args:
        model: Quantization-aware model, see `quantize_aware`.
        name: Name of the copy. Defaults to the model's name without `_quantization_aware`.

    Returns:
        Functional `keras.Model` of Keras's own layers.

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
    copies: dict[int, Any] = {}
    names = _find_names(model)

    def visit(step: Any, tensors: Any) -> Any:
        layer = step.operation
        if isinstance(layer, FakeQuantization):
            return tensors[0]
        skipped = skip_part(layer, tensors)
        if skipped is not None:
            return _restore(layer, names[layer.name], skipped, copies)
        if id(layer) not in copies:
            copies[id(layer)] = _make_float(layer, names[layer.name])
        if isinstance(layer, QuantizedKernel):
            return copies[id(layer)](tensors[0])
        if isinstance(layer, WithConstant):
            return layer.apply(tensors[0], layer.constant)
        arguments, keywords = step.arguments(tensors)
        return copies[id(layer)](*arguments, **keywords)

    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in model.inputs]
    outputs = transcribe(model, inputs, visit)
    input_structure, output_structure = find_structures(model)
    return keras.Model(
        keras.tree.pack_sequence_as(input_structure, inputs),
        keras.tree.pack_sequence_as(output_structure, outputs),
        name=name or model.name.removesuffix("_quantization_aware"),
    )


def restore_first_student(model: keras.Model) -> keras.Model | None:
    """Return a copy of the float student that a quantization-aware model was made from, `None` if that is not known.

    It is known for what `quantize_aware` returned in this process, and has the weights that the student had then.
    """
    first = find_first_weights(model)
    if first is None:
        return None
    trained = model.get_weights()
    model.set_weights(first)
    try:
        return float_student(model)
    finally:
        model.set_weights(trained)


def _restore(layer: Any, name: str, skipped: Skipped, copies: dict[int, Any]) -> Any:
    """Return the output of a float layer after its last part, and the placeholder before that."""
    if not getattr(layer, "ends", False):
        return skipped
    if id(layer) not in copies:
        copies[id(layer)] = layer.whole(name, skipped.parts, skipped.tensors)
    return layer.call_float(copies[id(layer)], skipped.tensors)


def _find_names(model: Any) -> dict[str, str]:
    """Return the student's name of each layer."""
    kept = [layer.name for layer in model.operations if not isinstance(layer, FakeQuantization)]
    own = {name: name.removesuffix("_unrounded") for name in kept}
    return {name: name if own[name] in kept else own[name] for name in kept}


def _make_float(layer: Any, name: str) -> Any:
    if isinstance(layer, QuantizedKernel):
        return layer.float_layer(name)
    if isinstance(layer, (RoundedWeights, TrainingOnly)):
        return copy_layer(layer.layer, name)
    if isinstance(layer, QuantizedSiLU):
        return keras.layers.Activation("silu", name=name)
    return copy_layer(layer, name)
