"""What the outputs of a student mean, which decides how a file is compared with it."""

from typing import Any

import keras
import numpy as np

from keras_distill._core.checks import check_choice
from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.labels import are_classes
from keras_distill.export.signature import Signature, Tensor
from keras_distill.losses import heads

KINDS = ("classes", "labels", "numbers", "indices")
"""`classes` exclude each other and the largest counts; `labels` are independent, each true or false; `numbers` are
measured; `indices` are classes already, as integers."""

_SAMPLES, _FEW, _ROWS = 4, 64, 16


def match_kinds(given: Any, outputs: tuple[Tensor, ...]) -> dict[str, str]:
    """Check what the user says about the outputs, and return it by output.

    Args:
        given: `None`; one of `KINDS`, for all outputs; or a dict of output name to one of them.
        outputs: Outputs of the student.

    Raises:
        ValueError: If a name is not that of an output, or a kind is unknown.

    Example:
        >>> match_kinds("numbers", (Tensor("price", "price", (None, 1), "float32"),))
        {'price': 'numbers'}
    """
    if given is None:
        return {}
    keyed = {key: output.name for output in outputs for key in (output.keras_name, output.name)}
    if not isinstance(given, dict):
        given = dict.fromkeys((output.name for output in outputs), given)
    for name, kind in given.items():
        if name not in keyed:
            raise ValueError(expected(f"kinds of the outputs {', '.join(keyed)}", repr(name)))
        check_choice("kind of an output", kind, KINDS)
    return {keyed[name]: kind for name, kind in given.items()}


def find_kinds(
    student: Any, signature: Signature, inputs: Arrays, labels: Arrays, given: dict[str, str]
) -> dict[str, str]:
    """Return the kind of each output: as given, or else by its labels, its activation and its shape.

    Labels that are class indices, and a softmax, mean `classes`. Targets of 0 and 1, and a sigmoid, mean `labels`.
    Other targets mean `numbers`, and so does an output without labels that has one linear unit, the shape of an input,
    no number below zero (features) or rows of length one (embeddings). Others are taken for the logits of `classes`.

    Args:
        student: Built `keras.Model`.
        signature: `Signature` of the student.
        inputs: Dict of input name to array, some samples.
        labels: Their labels, as `labels.read_labels` returns them.
        given: Kinds that the user has named, as `match_kinds` returns them.
    """
    sample = [inputs[tensor.name][:_SAMPLES] for tensor in signature.inputs]
    activations = find_heads(student, signature.structure, sample)
    values = signature.call(student, {name: array[:_FEW] for name, array in inputs.items()})
    shapes = {tensor.shape[1:] for tensor in signature.inputs}
    found = {}
    for output, activation in zip(signature.outputs, activations, strict=True):
        like_input = output.shape[1:] in shapes
        like_features = activation != "sigmoid" and _are_features(np.asarray(values[output.name]))
        kind = _find_kind(output, activation, labels.get(output.name), like_input or like_features)
        found[output.name] = given.get(output.name) or kind
    return found


def _are_features(values: np.ndarray) -> bool:
    """Return whether numbers are features or embeddings by their look, which logits of classes do not have."""
    if values.ndim < 2 or values.size < _ROWS * values.shape[-1]:
        return False  # A few rows may look like anything.
    lengths = np.linalg.norm(values.astype(float), axis=-1)
    return bool((values >= 0).all() or np.allclose(lengths, 1.0, atol=1e-3))


def _find_kind(output: Tensor, activation: str, labels: np.ndarray | None, measured: bool) -> str:
    if "int" in output.dtype:
        return "indices"
    if labels is not None:
        binary = np.isin(labels, (0, 1, -1)).all()
        return "classes" if are_classes(labels) else "labels" if binary else "numbers"
    if activation in ("softmax", "probabilities"):
        return "classes"
    if measured or len(output.shape) < 2:
        return "numbers"
    if activation == "sigmoid":
        return "labels"
    return "numbers" if output.shape[-1] == 1 else "classes"


def find_heads(student: Any, structure: Any, sample: list[np.ndarray] | None) -> list[str]:
    """Return the kind of head of each output, as `losses.heads` names it, or `"probabilities"` by its values.

    Args:
        student: Built `keras.Model`.
        structure: Structure that the student takes, as `Signature.structure`: leaves have a shape and a dtype.
        sample: Array for each leaf, by which probabilities are recognised; `None` if there are none.
    """
    import tensorflow as tf

    kinds: list[str] = []

    def trace(*leaves: Any) -> Any:
        answer = student(keras.tree.pack_sequence_as(structure, list(leaves)), training=False)
        kinds.extend(heads.head_of(output)[0] for output in keras.tree.flatten(answer))
        return keras.tree.flatten(answer)

    leaves = keras.tree.flatten(structure)
    specs = [tf.TensorSpec((None, *leaf.shape[1:]), keras.backend.standardize_dtype(leaf.dtype)) for leaf in leaves]
    traced = tf.function(trace).get_concrete_function(*specs)
    if sample is not None:
        fitted = [tf.cast(array, spec.dtype) for array, spec in zip(sample, specs, strict=True)]
        for place, output in enumerate(traced(*fitted)):
            scores = output.shape.rank > 1 and output.shape[-1] > 1 and output.dtype.is_floating
            if kinds[place] in ("linear", "unknown") and scores and bool(heads.rows_are_probabilities(output)):
                kinds[place] = "probabilities"
    return kinds
