"""From a trained float student to one that trains with the arithmetic of its int8 file."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.quantization.builder import Builder
from keras_distill.quantization.graph import functional, not_functional, structures, transcribe
from keras_distill.quantization.kernels import check_weight_bits
from keras_distill.quantization.ranges import FakeQuantization, check_ranges
from keras_distill.quantization.rules import LAYERS


def quantize_aware(
    student,
    ranges="moving_average",
    momentum=0.99,
    weight_bits=8,
    batch_statistics=False,
    custom_layers=None,
    name=None,
):
    """Make a copy of a student whose weights and activations pass through fake quantization.

    Trained on, by a `Distiller` with the float teacher, the copy learns to be right despite the rounding; the TFLite
    converter then writes it as a file of pure integers, with the ranges of the training and no calibration data.
    The arithmetic is the file's: batch normalization is folded into the weights before they are rounded; a
    layer, its normalization and its ReLU give one rounded value; pooling and reshaping keep the range they are given.

    Layers keep their names. `NAME_range` rounds what the layer `NAME` gives; normalizations that were folded are gone;
    a `SeparableConv2D` is two layers, `NAME_depthwise` and `NAME`, a `LayerNormalization` and a `MultiHeadAttention`
    are one for each operation, `NAME_mean` or `NAME_scores`, the last `NAME`; layers of nested models are called
    `MODEL_NAME`. What gives an output of the model, and so its name to the output of a file, has the name of the
    student's layer, and what it rounds is called `NAME_unrounded`.

    Args:
        student: Built float32 `keras.Model`, Functional or Sequential, trained. It is not changed.
        ranges: How the ranges of activations are found: `"moving_average"` or `"learned"`, see `FakeQuantization`.
            The first batch of training starts them, or `calibrate`. Defaults to `"moving_average"`.
        momentum: Share of the old range in a moving average. Defaults to 0.99.
        weight_bits: Bits of the weights, 8 or 4. Defaults to 8.
        batch_statistics: Whether batch normalization goes on to use and follow the statistics of the batches while it
            is trained. By default it uses the trained student's, as the file will: cheaper, and what training sees is
            then exactly what inference computes. Defaults to `False`.
        custom_layers: Dict of layer class to rule, for layers that are not in `LAYERS`: `own_range` for one that
            computes new values by one operation of the file, `rounded_weights` for one that does so with weights of
            its own, as position embeddings that are added, `same_range` for one that only moves values. Defaults to
            `None`.
        name: Name of the copy. Defaults to the student's name with `_quantization_aware`.

    Returns:
        A Functional `keras.Model` of the student's inputs and outputs, with its weights; not compiled.

    Raises:
        ValueError: If the student, one of its layers or another argument is not what it should be.

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
    builder = Builder({**LAYERS, **_checked(custom_layers)}, range_settings, kernel_settings)
    inputs = [keras.Input(batch_shape=each.shape, dtype=each.dtype, name=each.name) for each in student.inputs]
    values = transcribe(student, [builder.input(each) for each in inputs], builder.visit)
    outputs = [builder.output(value) for value in values]
    of_inputs, of_outputs = structures(student)
    model = keras.Model(
        keras.tree.pack_sequence_as(of_inputs, inputs),
        keras.tree.pack_sequence_as(of_outputs, outputs),
        name=name or f"{student.name}_quantization_aware",
    )
    if not student.trainable:
        # A student that has taught is frozen; its copy is there to be trained.
        for layer in model._flatten_layers():
            layer.trainable = True
    return model


def calibrate(model, x):
    """Give the ranges of a quantization-aware model those of one batch, in place of the first batch of training.

    Afterwards the model can be evaluated, or exported without training, as a student quantized after training is.

    Args:
        model: What `quantize_aware` returned.
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
    # In the order of the graph: where a range is not known yet, inference rounds to that of the batch.
    tensors = keras.Model(model.input, [layer.input for layer in layers])(x, training=False)
    for layer, tensor in zip(layers, keras.tree.flatten(tensors), strict=True):
        layer.observe(tensor)


def ranges(model):
    """Return the ranges of the activations.

    Args:
        model: What `quantize_aware` returned.

    Returns:
        Dict of the name of each layer that rounds to its range, a pair of floats, or to `None` where nothing has given
        one yet.

    Raises:
        ValueError: If the model is not quantization-aware.
    """
    return {layer.name: _range_of(layer) for layer in _range_layers(model)}


def is_quantize_aware(model):
    """Tell whether a model carries its own ranges, so that int8 files of it need no calibration data.

    Args:
        model: Anything.

    Returns:
        Bool.
    """
    return isinstance(model, keras.Model) and any(map(_is_range, model._flatten_layers()))


def check_trained(model):
    """Raise a `ValueError` unless every range of a quantization-aware model is known, as a file needs.

    Args:
        model: What `quantize_aware` returned.
    """
    missing = [name for name, limits in ranges(model).items() if limits is None]
    if missing:
        fix = "Train it for a step, or give it a batch: kd.quantization.calibrate(model, x)."
        raise ValueError(expected("a quantization-aware model that has seen data", f"no range in {missing[0]!r}", fix))


def _range_of(layer):
    if layer.limits is not None:
        return layer.limits
    pair = (layer.minimum, layer.maximum)
    return tuple(float(ops.convert_to_numpy(each)) for each in pair) if layer.has_range else None


def _range_layers(model):
    if not is_quantize_aware(model):
        received = getattr(model, "name", repr(model))
        raise ValueError(expected("a quantization-aware model", repr(received), "Make one by quantize_aware."))
    return [layer for layer in model.layers if _is_range(layer)]


def _is_range(layer):
    return isinstance(layer, FakeQuantization)


def _check_student(student):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(expected("the TensorFlow backend", f"KERAS_BACKEND={keras.backend.backend()}"))
    if not isinstance(student, keras.Model):
        raise ValueError(expected("the student to be a keras.Model", f"{student!r} of type {type(student).__name__}"))
    if is_quantize_aware(student):
        raise ValueError(expected("a float student", f"{student.name!r}, which is quantization-aware already"))
    if not student.built:
        fix = "Give it a keras.Input, or call it on a batch first."
        raise ValueError(expected("the student to be built", f"{student.name!r}, which is not", fix))
    if functional(student) is None:
        raise ValueError(not_functional(student))


def _checked(custom_layers):
    for kind, rule in (custom_layers or {}).items():
        if not (isinstance(kind, type) and issubclass(kind, keras.layers.Layer) and callable(rule)):
            what = "custom_layers to be a dict of layer class to rule"
            fix = "For example {MyLayer: kd.quantization.own_range}."
            raise ValueError(expected(what, f"{{{kind!r}: {rule!r}}}", fix))
    return custom_layers or {}
