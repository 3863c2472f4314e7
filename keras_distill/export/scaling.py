"""Students that scale their inputs themselves, which a `Preprocessing` in front of them would do a second time."""

from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.preprocessing import Preprocessing
from keras_distill.export.signature import Signature, Tensor

_LAYERS = keras.layers
_PASSED_THROUGH = (
    *(_LAYERS.Identity, _LAYERS.Reshape, _LAYERS.Permute, _LAYERS.ZeroPadding2D, _LAYERS.Resizing, _LAYERS.CenterCrop),
    *(_LAYERS.RandomFlip, _LAYERS.RandomCrop, _LAYERS.RandomRotation, _LAYERS.RandomTranslation, _LAYERS.RandomZoom),
)
_FLAT = 0.05
"""Span of the numbers behind a scaling layer below which its input was scaled before: it is meant to give about one."""
_GAIN = 0.1


def find_scaling(student: Any) -> dict[str, tuple[str, float]]:
    """Return the layer that scales each input, `Rescaling` or `Normalization`, and its factor.

    Args:
        student: Functional or Sequential `keras.Model`; others are not looked into.

    Returns:
        Dict of Keras input name to the layer's name and its factor, for the inputs that a layer scales before any other
        layer computes with them.

    Example:
        >>> layers = [keras.Input((4, 4, 3), name="image"), keras.layers.Rescaling(0.5, name="half")]
        >>> find_scaling(keras.Sequential([*layers, keras.layers.Flatten()]))
        {'image': ('half', 0.5)}
    """
    found = {}
    for tensor in getattr(student, "inputs", None) or ():
        layer = _follow(student, tensor)
        if layer is not None:
            found[tensor.name] = (layer.name, _read_factor(layer))
    return found


def check_scaled_once(student: Any, steps: dict[str, Preprocessing], signature: Signature, inputs: Arrays) -> None:
    """Raise a `ValueError` if a `Preprocessing` in the graph scales what the student scales by itself.

    Args:
        student: Student without preprocessing.
        steps: Dict of input name to `Preprocessing`.
        signature: `Signature` of the student with preprocessing.
        inputs: Dict of input name to array, raw samples.
    """
    scaling = find_scaling(student)
    for tensor in signature.inputs:
        step, (layer, factor) = steps.get(tensor.name), scaling.get(tensor.keras_name, ("", 0.0))
        if step is None or not step.in_graph or not layer:
            continue
        span = float(np.ptp(inputs[tensor.name].astype(float)))
        before = float(np.mean(np.abs(step.affine(None if len(step.mean) == 1 else len(step.mean))[0])))
        if before * factor * span < _FLAT < 0.2 < factor * span:
            received = f"layer {layer!r} of the student, which multiplies by {factor:.4g} itself"
            raise ValueError(_refuse(tensor, received))


def check_needed(
    student: Any, wrapped: Any, steps: dict[str, Preprocessing], signature: Signature, inputs: Arrays, labels: Arrays
) -> None:
    """Raise a `ValueError` if the student is right more often on the raw samples than behind the `Preprocessing`.

    Args:
        student: Student without preprocessing.
        wrapped: The same with preprocessing.
        steps: Dict of input name to `Preprocessing`.
        signature: `Signature` of both.
        inputs: Dict of input name to array, raw samples.
        labels: Their labels, as `labels.read_labels` returns them.
    """
    scaled = [tensor for tensor in signature.inputs if tensor.name in steps and steps[tensor.name].in_graph]
    named = {name: array for name, array in labels.items() if array.dtype.kind == "i"}
    if not scaled or not named:
        return
    raw = {name: array.astype("float32") if name in steps else array for name, array in inputs.items()}
    without, behind = (
        _measure_accuracy(signature.call(model, batch), named) for model, batch in ((student, raw), (wrapped, inputs))
    )
    if without > behind + _GAIN:
        received = f"a student that is right on {behind:.1%} of the samples behind it, and on {without:.1%} without"
        raise ValueError(_refuse(scaled[0], received))


def _measure_accuracy(outputs: dict[str, Any], labels: Arrays) -> float:
    right = [
        (np.asarray(outputs[name]).argmax(-1) == array)[array >= 0]
        for name, array in labels.items()
        if np.ndim(outputs[name]) == array.ndim + 1
    ]
    answers = np.concatenate([each.ravel() for each in right]) if right else np.zeros(0)
    return float(answers.mean()) if answers.size else 0.0


def _refuse(tensor: Tensor, received: str) -> str:
    wanted = f"preprocessing of input {tensor.keras_name!r} that the student needs"
    fix = "Leave it out, or pass Preprocessing(scale=1.0), which takes bytes and gives probabilities."
    return expected(wanted, received, fix)


def _follow(model: Any, tensor: Any) -> Any:
    """Return the scaling layer that a tensor meets first, or `None` if another layer computes with it before."""
    if isinstance(model, keras.Sequential):
        layers = model.layers
    else:
        layers = []
        while tensor is not None:
            users = [
                (operation, node)
                for operation in getattr(model, "operations", ())
                for node in operation._inbound_nodes
                if any(tensor is each for each in node.input_tensors)
            ]
            layers += [operation for operation, _ in users[:1]]
            passes = len(users) == 1 and isinstance(users[0][0], _PASSED_THROUGH)
            tensor = users[0][1].output_tensors[0] if passes else None
    for layer in layers:
        if isinstance(layer, (_LAYERS.Rescaling, _LAYERS.Normalization)):
            return layer
        if isinstance(layer, keras.Model) and getattr(layer, "inputs", None):
            return _follow(layer, layer.inputs[0])
        if not isinstance(layer, (_LAYERS.InputLayer, *_PASSED_THROUGH)):
            return None
    return None


def _read_factor(layer: Any) -> float:
    if isinstance(layer, _LAYERS.Rescaling):
        return float(np.mean(np.abs(np.asarray(layer.scale, float))))
    variance = layer.variance if layer.variance is not None else 1.0
    return float(np.mean(1 / np.sqrt(np.maximum(np.asarray(variance, float), 1e-12))))
