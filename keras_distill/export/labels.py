"""Labels of the data, matched to the outputs, and the class names that go into the files."""

import unicodedata
from typing import Any

import numpy as np

from keras_distill._core.checks import check_items
from keras_distill._core.messages import expected
from keras_distill.export.arrays import Arrays
from keras_distill.export.signature import Tensor

_UNLABELLED = -1
_VOID = 255
"""Label of pixels that belong to no class, in many data sets of segmentation."""
# Categories of characters that end a line or a text for some reader of the list of labels.
_CONTROLS = {"Cc", "Cs", "Zl", "Zp"}


def read_labels(labels: Any, outputs: tuple[Tensor, ...], count: int, what: str, sample_weight: Any = None) -> Arrays:
    """Return a dict of output name to labels, for the outputs that have labels.

    Args:
        labels: `None`, an array, or a list or dict of arrays, one per output; `None` where an output has no labels.
        outputs: Outputs of the student.
        count: Number of samples in the batch.
        what: Name of the argument, for messages.
        sample_weight: `None`, an array for all outputs, or a list or dict of arrays by output. Defaults to `None`.

    Returns:
        Dict of str to array: class indices, int64 of the output's shape without the last axis; or, where the labels
        do not name classes, float targets of the output's shape. What has no label, or no weight, is -1.

    Raises:
        ValueError: If count, shape or range do not fit.
    """
    pairs = zip(outputs, _match_outputs(labels, outputs, what), strict=True)
    read = {output.name: _read(array, output, count, what) for output, array in pairs if array is not None}
    if isinstance(sample_weight, np.ndarray):
        sample_weight = [sample_weight] * len(outputs)
    weights = _match_outputs(sample_weight, outputs, what)
    for output, weight in zip(outputs, weights, strict=True):
        if weight is not None and output.name in read:
            read[output.name] = _drop_weightless(read[output.name], weight, output, what)
    return read


def are_classes(array: np.ndarray) -> bool:
    """Return whether labels, as `read_labels` returns them, are class indices."""
    return array.dtype.kind == "i"


def match_class_names(labels: Any, outputs: tuple[Tensor, ...]) -> dict[str, tuple[str, ...]]:
    """Check class names and return them by output.

    Args:
        labels: `None`; list of str, for a student of one output; or dict of output name to list of str.
        outputs: Outputs of the student.

    Returns:
        Dict of the output's name in the files to tuple of str, for the outputs that have class names.

    Raises:
        ValueError: If a name is not that of an output, a list is not as long as the output's last axis, or a class
            name is empty, not text, longer than a line, or given twice.

    Example:
        >>> output = Tensor("species", "species", (None, 3), "float32")
        >>> match_class_names(["setosa", "versicolor", "virginica"], (output,))
        {'species': ('setosa', 'versicolor', 'virginica')}
        >>> match_class_names(["setosa", "versicolor"], (output,))
        Traceback (most recent call last):
        ValueError: Expected 3 labels of output 'species', as many as it has classes. Received: 2.
    """
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        if len(outputs) != 1:
            names = ", ".join(output.keras_name for output in outputs)
            raise ValueError(expected(f"labels to be a dict by output ({names})", type(labels).__name__))
        labels = {outputs[0].keras_name: labels}
    keyed = {key: output for output in outputs for key in (output.keras_name, output.name)}
    for name in labels:
        if name not in keyed:
            raise ValueError(expected(f"labels of the outputs {', '.join(keyed)}", repr(name)))
    return {keyed[name].name: _check_class_names(names, keyed[name]) for name, names in labels.items()}


def _check_class_names(names: Any, output: Tensor) -> tuple[str, ...]:
    what = f"labels of output {output.keras_name!r}"
    names = check_items(f"the {what}", names, "a list of names, one for each class")
    if len(names) != output.shape[-1]:
        raise ValueError(expected(f"{output.shape[-1]} {what}, as many as it has classes", len(names)))
    for name in names:
        if not isinstance(name, str) or not name.strip() or _CONTROLS & set(map(unicodedata.category, name)):
            raise ValueError(expected(f"{what} to be text of one line each", repr(name)))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(expected(f"{what} to differ from each other", f"{twice!r} twice"))
    return tuple(names)


def _match_outputs(labels: Any, outputs: tuple[Tensor, ...], what: str) -> list[Any]:
    """Return one array or `None` per output."""
    if isinstance(labels, dict):
        keyed = {output.keras_name: output.name for output in outputs}
        unknown = set(labels) - set(keyed) - set(keyed.values())
        if unknown:
            wanted = f"labels of {what} to belong to the outputs {', '.join(keyed)}"
            raise ValueError(expected(wanted, ", ".join(sorted(map(str, unknown)))))
        return [labels.get(keras_name, labels.get(name)) for keras_name, name in keyed.items()]
    if labels is None:
        return [None] * len(outputs)
    arrays = list(labels) if isinstance(labels, (list, tuple)) else [labels]
    if len(arrays) != len(outputs):
        raise ValueError(expected(f"labels of {what} for {len(outputs)} outputs", f"labels for {len(arrays)}"))
    return arrays


def _read(array: np.ndarray, output: Tensor, count: int, what: str) -> np.ndarray:
    name = f"labels of output {output.keras_name!r} in {what}"
    if len(array) != count:
        raise ValueError(expected(f"{count} {name}, as many as samples", len(array)))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(expected(f"{name} to be finite", "NaN or infinity"))
    if _fits(array.shape, output.shape):
        return _read_dense(array, output.shape[-1])
    if output.shape[-1] != 1:
        for shape in (output.shape[:-1], (*output.shape[:-1], 1)):
            if _fits(array.shape, shape):
                return _read_indices(array.reshape(array.shape[: len(output.shape) - 1]), output.shape[-1], name)
    elif _fits(array.shape, output.shape[:-1]):
        return array[..., None].astype(float)
    wanted = (count, *output.shape[1:])
    raise ValueError(expected(f"{name} to be class indices of shape {wanted[:-1]} or one-hot {wanted}", array.shape))


def _fits(shape: tuple, wanted: tuple) -> bool:
    return len(shape) == len(wanted) and all(
        declared in (None, size) for size, declared in zip(shape[1:], wanted[1:], strict=True)
    )


def _read_dense(array: np.ndarray, classes: int | None) -> np.ndarray:
    """Read labels of the output's own shape: rows that are distributions name classes, others are targets."""
    rows = array.astype(float)
    if classes not in (None, 1) and (rows >= 0).all() and np.allclose(rows.sum(-1), 1, atol=1e-3):
        return rows.argmax(-1).astype(np.int64)
    return rows


def _read_indices(array: np.ndarray, classes: int | None, name: str) -> np.ndarray:
    indices = array.astype(np.int64)
    limit = np.iinfo(np.int64).max if classes is None else classes
    known = (indices != _UNLABELLED) & ((indices != _VOID) | (limit > _VOID))
    if not np.array_equal(indices, array) or (indices < 0)[known].any() or (indices >= limit)[known].any():
        wanted = f"{name} to be integers from 0 to {limit - 1}, or -1 for none"
        raise ValueError(expected(wanted, f"values from {array.min()} to {array.max()}"))
    return np.where(known, indices, _UNLABELLED)


def _drop_weightless(labels: np.ndarray, weight: np.ndarray, output: Tensor, what: str) -> np.ndarray:
    """Return the labels with -1 where the weight is zero."""
    if weight.shape != labels.shape[: weight.ndim]:
        wanted = f"sample_weight of output {output.keras_name!r} in {what} to have shape {labels.shape[:1]}"
        raise ValueError(expected(wanted, weight.shape))
    weight = weight.reshape(weight.shape + (1,) * (labels.ndim - weight.ndim))
    return np.where(weight == 0, np.array(_UNLABELLED, labels.dtype), labels)
