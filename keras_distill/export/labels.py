"""Reading labels: which output they belong to, and whether they name classes."""

import numpy as np

from keras_distill._core.messages import expected


def named(labels, outputs, count, what):
    """Return a dict of output name to labels, for the outputs that have any.

    Args:
        labels: None, an array, or a list or dict of arrays, one per output; None where an output has no labels.
        outputs: tuple of `signature.Tensor`.
        count: int, samples in the batch.
        what: str, name of the argument, for messages.

    Returns:
        dict of str to array: class indices, int64 of the output's shape without the last axis; or, where the labels
        name no classes, float targets of the output's shape.

    Raises:
        ValueError: if count, shape or range do not fit.
    """
    pairs = zip(outputs, _by_output(labels, outputs, what), strict=True)
    return {output.name: _read(array, output, count, what) for output, array in pairs if array is not None}


def names_classes(array):
    """Say whether labels, as `named` returns them, are class indices."""
    return array.dtype.kind == "i"


def _by_output(labels, outputs, what):
    """Return one array or None per output."""
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


def _read(array, output, count, what):
    name = f"labels of output {output.keras_name!r} in {what}"
    if len(array) != count:
        raise ValueError(expected(f"{count} {name}, as many as samples", len(array)))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise ValueError(expected(f"{name} to be finite", "NaN or infinity"))
    if _fits(array.shape, output.shape):
        return _dense(array, output.shape[-1])
    if output.shape[-1] != 1:
        for shape in (output.shape[:-1], (*output.shape[:-1], 1)):
            if _fits(array.shape, shape):
                return _indices(array.reshape(array.shape[: len(output.shape) - 1]), output.shape[-1], name)
    elif _fits(array.shape, output.shape[:-1]):
        return array[..., None].astype(float)
    wanted = (count, *output.shape[1:])
    raise ValueError(expected(f"{name} to be class indices of shape {wanted[:-1]} or one-hot {wanted}", array.shape))


def _fits(shape, wanted):
    return len(shape) == len(wanted) and all(
        declared in (None, size) for size, declared in zip(shape[1:], wanted[1:], strict=True)
    )


def _dense(array, classes):
    """Read labels of the output's own shape: rows that are distributions name classes, others are targets."""
    rows = array.astype(float)
    if classes not in (None, 1) and (rows >= 0).all() and np.allclose(rows.sum(-1), 1, atol=1e-3):
        return rows.argmax(-1).astype(np.int64)
    return rows


def _indices(array, classes, name):
    indices = array.astype(np.int64)
    classes = np.iinfo(np.int64).max if classes is None else classes
    if not np.array_equal(indices, array) or (indices < 0).any() or (indices >= classes).any():
        wanted = f"{name} to be integers from 0 to {classes - 1}"
        raise ValueError(expected(wanted, f"values from {array.min()} to {array.max()}"))
    return indices
