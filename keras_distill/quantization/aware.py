"""Quantization-aware copies of float students, which train with the arithmetic of their int8 file."""

import weakref
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_model, check_number
from keras_distill._core.messages import expected
from keras_distill.quantization.builder import Builder
from keras_distill.quantization.graph import as_functional, find_structures, not_functional_message, transcribe
from keras_distill.quantization.heads import cover_ends
from keras_distill.quantization.kernels import check_weight_bits
from keras_distill.quantization.normalization import ReciprocalRoot
from keras_distill.quantization.operations import OPERATIONS
from keras_distill.quantization.ranges import FakeQuantization, check_ranges
from keras_distill.quantization.rules import LAYERS

# The weights that each model began with, for as long as it lives.
_FIRST_WEIGHTS: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@checked(ranges=Any, momentum=Any, weight_bits=Any, custom_layers=Any)
def quantize_aware(
    student: keras.Model,
    ranges: str = "moving_average",
    momentum: float = 0.99,
    weight_bits: int = 8,
    batch_statistics: bool = False,
    custom_layers: dict[type, Callable] | None = None,
    name: str | None = None,
) -> keras.Model:
    """Return a copy of a student whose weights and activations pass through fake quantization.

    When a `Distiller` trains the copy with the float teacher, it learns to be right despite the rounding. The TFLite
    converter then writes it as a file that computes in integers only, with the ranges found in training and without
    calibration data. Training uses the arithmetic of the file: batch normalization is folded into the weights before
    they are rounded; a layer, its normalization and its ReLU produce one rounded value; pooling and reshaping keep the
    range of their input.

    Layers keep their names. `NAME_range` rounds the output of the layer `NAME`. Folded normalizations are no longer
    layers. A `SeparableConv2D` becomes two layers, `NAME_depthwise` and `NAME`. A `LayerNormalization` or
    `MultiHeadAttention` becomes one layer per operation, such as `NAME_mean` or `NAME_scores`; the last one is `NAME`.
    Layers of nested models are called `MODEL_NAME`. The layer that rounds an output of the model has the name of the
    student's layer, since it names the output of the file; the layer before it is called `NAME_unrounded`.

    Args:
        student: Built and trained float32 `keras.Model`, Functional or Sequential. It is not changed.
        ranges: How the ranges of activations are found: `"moving_average"`, `"learned"` or `"covering"`, see
            `FakeQuantization`. The first batch of training, or `calibrate`, initializes them. Those of the inputs, and
            of what comes after the last layer with weights, cover all batches either way. Where numbers are computed
            instead of classes, no moving average cuts them off within the model either: all its ranges cover all
            batches if an output without softmax or sigmoid has one unit, more than two axes or the shape of an input.
            Pass `"covering"` for other regressors. Defaults to `"moving_average"`.
        momentum: Share of the old range in a moving average. Defaults to 0.99.
        weight_bits: Bits of the weights, 8 or 4. Defaults to 8.
        batch_statistics: Whether batch normalization uses and updates the statistics of the batches during training.
            By default it uses those of the trained student, as the file does, which is cheaper and makes training
            and inference compute the same. Defaults to `False`.
        custom_layers: Dict of layer class to rule, for layers that are not in `LAYERS`: `own_range` for a layer that
            computes new values by one operation of the file, `rounded_weights` for one that does so with weights of
            its own, such as position embeddings, `same_range` for one that only moves values. Defaults to `None`.
        name: Name of the copy. Defaults to the student's name with `_quantization_aware`.

    Returns:
        Functional `keras.Model` with the student's inputs, outputs and weights; not compiled.

    Raises:
        ValueError: If an argument is wrong, or a layer of the student is not supported.

    Example:

    >>> image = keras.Input((8, 8, 1), name="image")
    >>> x = keras.layers.ReLU(name="relu")(keras.layers.Conv2D(4, 3, name="conv")(image))
    >>> student = keras.Model(image, keras.layers.Dense(3, name="logits")(keras.layers.Flatten(name="flat")(x)))
    >>> [layer.name for layer in quantize_aware(student).layers]
    ['image', 'image_range', 'conv', 'relu', 'relu_range', 'flat', 'logits_unrounded', 'logits']

    Reference:
        Jacob, Kligys, Chen, Zhu, Tang, Howard, Adam, Kalenichenko, "Quantization and Training of Neural Networks for
        Efficient Integer-Arithmetic-Only Inference", 2018, arXiv:1712.05877.
        Polino, Pascanu, Alistarh, "Model compression via distillation and quantization", 2018, arXiv:1802.05668.
    """
    _check_student(student)
    range_settings = {"ranges": check_ranges(ranges), "momentum": check_number("momentum", momentum, 0.0, 1.0)}
    kernel_settings = {"weight_bits": check_weight_bits(weight_bits), "batch_statistics": bool(batch_statistics)}
    rules = {**LAYERS, **_check_custom_layers(custom_layers)}
    builder = Builder(rules, OPERATIONS, range_settings, kernel_settings)
    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in student.inputs]
    values = transcribe(student, [builder.input(each) for each in inputs], builder.visit)
    outputs = [builder.output(value) for value in values]
    input_structure, output_structure = find_structures(student)
    model = keras.Model(
        keras.tree.pack_sequence_as(input_structure, inputs),
        keras.tree.pack_sequence_as(output_structure, outputs),
        name=name or f"{student.name}_quantization_aware",
    )
    cover_ends(model, values)
    if not student.trainable:
        # A student that was used as a teacher is frozen; its copy is for training.
        for layer in model._flatten_layers():
            layer.trainable = True
    _FIRST_WEIGHTS[model] = model.get_weights()
    return model


def _check_batch(name, x):
    leaves = keras.tree.flatten(x)
    if not leaves or not all(len(getattr(leaf, "shape", ())) for leaf in leaves):
        raise ValueError(expected(f"{name} to be a batch of inputs, arrays", f"{name}={x!r:.200}"))
    for leaf in leaves:
        values = np.asarray(ops.convert_to_numpy(leaf))
        if values.dtype.kind not in "SUO" and not np.isfinite(values).all():
            count = int((~np.isfinite(values)).reshape(len(values), -1).any(-1).sum())
            raise ValueError(expected(f"{name} to be finite", f"NaN or infinity in {count} of {len(values)} samples"))


@checked(x=_check_batch)
def calibrate(model: keras.Model, x: Any) -> None:
    """Set the ranges of a quantization-aware model to those of one batch, in place of the first batch of training.

    Afterwards the model can be evaluated, or exported without training, which is post-training quantization.

    Args:
        model: Quantization-aware model, see `quantize_aware`.
        x: One batch of inputs, some hundred samples, as the model takes them.

    Raises:
        ValueError: If the model is not quantization-aware.

    Example:

    >>> import numpy as np
    >>> dense = keras.layers.Dense(2, kernel_initializer="ones", name="sums")
    >>> model = quantize_aware(keras.Sequential([keras.Input((2,)), dense]))
    >>> calibrate(model, np.array([[0.0, 1.0], [1.5, 2.0]], "float32"))
    >>> [round(each, 1) for each in ranges(model)["sums"]]
    [0.0, 3.5]
    """
    layers = _range_layers(model)
    layers = [layer for layer in layers if layer.limits is None]
    # Where a range is not known yet, inference rounds to that of the batch.
    tensors = keras.Model(model.input, [layer.input for layer in layers])(x, training=False)
    tensors = keras.tree.flatten(tensors)
    for layer, tensor in zip(layers, tensors, strict=True):
        # The inverse root of a variance that was rounded to zero is infinite, see `FakeQuantization`.
        is_root = isinstance(layer.input._keras_history.operation, ReciprocalRoot)
        if not is_root and not np.isfinite(ops.convert_to_numpy(tensor)).all():
            raise ValueError(expected(f"a batch whose activations are finite in {layer.name!r}", "NaN or infinity"))
    for layer, tensor in zip(layers, tensors, strict=True):
        layer.observe(tensor)


@checked()
def ranges(model: keras.Model) -> dict[str, tuple[float, float] | None]:
    """Return the ranges of the activations.

    Args:
        model: Quantization-aware model, see `quantize_aware`.

    Returns:
        Dict of the name of each layer that rounds to its range, a pair of floats, or to `None` if its range is not
        known yet.

    Raises:
        ValueError: If the model is not quantization-aware.
    """
    return {layer.name: _read_range(layer) for layer in _range_layers(model)}


def find_first_weights(model: keras.Model) -> list[np.ndarray] | None:
    """Return the weights with which `quantize_aware` returned a model, `None` if it was loaded or cloned instead."""
    return _FIRST_WEIGHTS.get(model)


def is_quantize_aware(model: Any) -> bool:
    """Return whether a model has ranges of its own, so that its int8 files need no calibration data.

    Args:
        model: Any object.
    """
    return isinstance(model, keras.Model) and any(map(_is_range, model._flatten_layers()))


@checked()
def check_trained(model: keras.Model) -> None:
    """Raise a `ValueError` unless every range of a quantization-aware model is known, as a file requires.

    Args:
        model: Quantization-aware model, see `quantize_aware`.
    """
    missing = [name for name, limits in ranges(model).items() if limits is None]
    if missing:
        fix = "Train it for a step, or call kd.quantization.calibrate(model, x)."
        raise ValueError(expected("a quantization-aware model that has seen data", f"no range in {missing[0]!r}", fix))


def _read_range(layer: Any) -> tuple[float, float] | None:
    if layer.limits is not None:
        return layer.limits
    if not layer.has_range:
        return None
    minimum, maximum = (np.asarray(ops.convert_to_numpy(each)) for each in (layer.minimum, layer.maximum))
    return float(minimum), float(maximum)


def _range_layers(model: Any) -> list[FakeQuantization]:
    if not is_quantize_aware(model):
        received = getattr(model, "name", repr(model))
        raise ValueError(expected("a quantization-aware model", repr(received), "Make one with quantize_aware."))
    return [layer for layer in model.layers if _is_range(layer)]


def _is_range(layer: Any) -> bool:
    return isinstance(layer, FakeQuantization)


def _check_student(student: Any) -> None:
    check_tensorflow("quantize_aware")
    check_model("student", student)
    if is_quantize_aware(student):
        raise ValueError(expected("a float student", f"{student.name!r}, which is quantization-aware already"))
    if not student.built:
        fix = "Give it a keras.Input, or call it on a batch first."
        raise ValueError(expected("student to be built", f"{student.name!r}, which has no weights yet", fix))
    if as_functional(student) is None:
        raise ValueError(not_functional_message(student))


def _check_custom_layers(custom_layers: dict[type, Callable] | None) -> dict[type, Callable]:
    if not isinstance(custom_layers, (dict, type(None))):
        what = "custom_layers to be a dict of layer class to rule"
        raise ValueError(expected(what, f"custom_layers={custom_layers!r}"))
    for kind, rule in (custom_layers or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and callable(rule)):
            what = "custom_layers to be a dict of layer class to rule"
            fix = "For example {MyLayer: kd.quantization.own_range}."
            raise ValueError(expected(what, f"{{{kind!r}: {rule!r}}}", fix))
    return custom_layers or {}
