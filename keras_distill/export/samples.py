"""Reading the user's data, whatever holds it, as checked batches of named arrays."""

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export import labels as labels_
from keras_distill.export.arrays import Arrays
from keras_distill.export.signature import Signature, Tensor

BATCH_SIZE = 256


def iterate_batches(data: Any, what: str) -> Iterator[tuple[Any, Any, Any]]:
    """Yield `(inputs, labels, sample_weight)`, structures of NumPy arrays as the user nested them, or `None`.

    Args:
        data: NumPy arrays (one, or a list or dict of them), a tuple `(x, y)` or `(x, y, sample_weight)` of such, a
            batched `tf.data.Dataset` or a `keras.utils.PyDataset` of these.
        what: Name of the argument, for messages.

    Raises:
        TypeError: If the data is of another kind.
        ValueError: If a batch has the wrong number of parts, or arrays differ in length.
    """
    import tensorflow as tf

    elements: Iterable
    if isinstance(data, tf.data.Dataset):
        elements = iter(data)
    elif isinstance(data, keras.utils.PyDataset):
        count = data.num_batches
        elements = (data[position] for position in (itertools.count() if count is None else range(count)))
    else:
        elements = _slice(data, what)
    for element in elements:
        yield _split(element, what)


def _slice(data: Any, what: str) -> Iterator[Any]:
    data = _to_arrays(data, what)
    for start in range(0, _check_length(data, what), BATCH_SIZE):
        yield _select(data, slice(start, start + BATCH_SIZE))


def _check_length(arrays: Any, what: str) -> int:
    """Return the number of samples, which all arrays have to share."""
    lengths = {len(array) for array in keras.tree.flatten(arrays) if array is not None}
    if len(lengths) > 1:
        raise ValueError(expected(f"the arrays of {what} to have one length", f"lengths {sorted(lengths)}"))
    return max(lengths, default=0)


def _select(arrays: Any, rows: slice | np.ndarray) -> Any:
    return keras.tree.map_structure(lambda array: None if array is None else array[rows], arrays)


def _split(element: Any, what: str) -> tuple[Any, Any, Any]:
    """Return the inputs, the labels and the weights of a batch."""
    parts = element if isinstance(element, tuple) else (element,)
    if not 1 <= len(parts) <= 3:
        fix = "Pass several inputs as a list or a dict."
        wanted = f"{what} to give x, (x, y) or (x, y, sample_weight)"
        raise ValueError(expected(wanted, f"a tuple of {len(parts)}", fix))
    inputs, *others = (*parts, None, None)[:3]
    inputs = keras.tree.map_structure(lambda leaf: _to_array(leaf, what), inputs)
    labels, weights = (None if each is None else _to_arrays(each, what) for each in others)
    return inputs, labels, weights


def _to_arrays(structure: Any, what: str) -> Any:
    """Turn leaves into arrays; `None` stays, as an output without labels has it."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else _to_array(leaf, what), structure)


def _to_array(leaf: Any, what: str) -> np.ndarray:
    array = leaf if isinstance(leaf, np.ndarray) else None
    # Tensors of any backend. An array is not converted, which would copy it.
    if array is None and hasattr(leaf, "shape"):
        array = np.asarray(keras.ops.convert_to_numpy(leaf))
    if array is None or array.ndim == 0 or array.dtype == object:
        kinds = "NumPy arrays (one, or a list or dict of them), (x, y), a tf.data.Dataset or a keras.utils.PyDataset"
        raise TypeError(expected(f"{what} to be {kinds}, samples along the first axis", f"{type(leaf).__name__}"))
    return array


class Samples:
    """Batches of named inputs and labels, checked against a signature; they can be iterated several times.

    Each iteration reads the data again, so a dataset may be larger than memory, and may shuffle. The constructor does
    not read anything yet.

    Args:
        data: Data, as `iterate_batches` takes it.
        signature: `Signature` that the data has to fit.
        what: Name of the argument, for messages.
    """

    def __init__(self, data: Any, signature: Signature, what: str):
        self._data, self._signature, self.what = data, signature, what

    def __iter__(self) -> Iterator[tuple[Arrays, Arrays]]:
        return self._iterate(self._data)

    def _iterate(self, data: Any) -> Iterator[tuple[Arrays, Arrays]]:
        outputs = self._signature.outputs
        for inputs, labels, weights in iterate_batches(data, self.what):
            inputs = name_arrays(inputs, self._signature.inputs, self.what)
            yield inputs, labels_.read_labels(labels, outputs, count_samples(inputs), self.what, weights)

    def check(self) -> int:
        """Read all of the data and return the number of samples.

        Raises:
            ValueError: If the data is empty, endless, not finite or of wrong shapes, or its labels do not fit.
        """
        self._check_finite_length()
        total = sum(count_samples(inputs) for inputs, _ in self)
        if not total:
            raise ValueError(no_samples_message(self.what))
        return total

    def take(self, limit: int) -> tuple[Arrays, Arrays]:
        """Return at most `limit` samples as one batch: a dict of inputs and a dict of labels.

        Arrays in memory are sampled evenly, since they may be sorted by class; a dataset gives its first samples.
        """
        data = self._data
        if isinstance(data, (np.ndarray, tuple, list, dict)):
            data = _to_arrays(data, self.what)
            total = _check_length(data, self.what)
            data = _select(data, np.linspace(0, total - 1, min(limit, total)).round().astype(int))
        batches = list(_take_first(self._iterate(data), limit))
        if not batches:
            raise ValueError(no_samples_message(self.what))
        inputs, labels = zip(*batches, strict=True)
        return _concatenate(inputs), _concatenate(labels)

    def _check_finite_length(self) -> None:
        import tensorflow as tf

        endless = getattr(self._data, "num_batches", 0) is None
        if isinstance(self._data, tf.data.Dataset):
            endless = int(self._data.cardinality()) == tf.data.INFINITE_CARDINALITY
        if endless:
            raise ValueError(expected(f"{self.what} to have an end", "an endless dataset", "Add .take(...)."))


def no_samples_message(what: str) -> str:
    """Compose the message for data without samples."""
    return expected(f"{what} to hold at least one sample", "no samples")


def count_samples(inputs: Arrays) -> int:
    """Return the number of samples in a dict of arrays."""
    return len(next(iter(inputs.values())))


def _take_first(batches: Iterable[tuple[Arrays, Arrays]], limit: int) -> Iterator[tuple[Arrays, Arrays]]:
    """Yield batches until they hold `limit` samples, the last one cut to fit."""
    for inputs, labels in batches:
        yield _select(inputs, slice(limit)), _select(labels, slice(limit))
        limit -= count_samples(inputs)
        if limit <= 0:
            return


def _concatenate(batches: Any) -> Arrays:
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def name_arrays(inputs: Any, tensors: tuple[Tensor, ...], what: str) -> Arrays:
    """Return a dict of input name to array, in the student's shapes and dtypes.

    Args:
        inputs: Structure of arrays, as the user nested it.
        tensors: Inputs of the student.
        what: Name of the argument, for messages.

    Raises:
        ValueError: If names, shapes, lengths or values do not fit.
    """
    arrays = _match_inputs(inputs, tensors, what)
    fitted = {tensor.name: _fit(array, tensor, what) for tensor, array in zip(tensors, arrays, strict=True)}
    _check_length(fitted, what)
    return fitted


def _match_inputs(inputs: Any, tensors: tuple[Tensor, ...], what: str) -> list[np.ndarray]:
    """Return arrays in the order of `tensors`."""
    names = [tensor.keras_name for tensor in tensors]
    if isinstance(inputs, dict) and not any(isinstance(value, (dict, list, tuple)) for value in inputs.values()):
        for names_in_use in (names, [tensor.name for tensor in tensors]):
            if set(inputs) == set(names_in_use):
                return [inputs[name] for name in names_in_use]
        raise ValueError(expected(f"{what} to have the inputs {', '.join(names)}", ", ".join(map(str, inputs))))
    arrays = keras.tree.flatten(inputs)
    if len(arrays) != len(tensors):
        wanted = f"{len(tensors)} input{'s' * (len(tensors) > 1)} ({', '.join(names)})"
        raise ValueError(expected(f"{what} to have {wanted}", f"{len(arrays)} of shapes {[a.shape for a in arrays]}"))
    return arrays


def _fit(array: np.ndarray, tensor: Tensor, what: str) -> np.ndarray:
    """Return the array in the input's rank and dtype; raise a `ValueError` if it does not fit."""
    name = f"input {tensor.keras_name!r} of {what}"
    # Keras itself adds a last axis of size one.
    fitted = array[..., None] if tensor.shape[-1] == 1 and array.ndim == len(tensor.shape) - 1 else array
    sizes = zip(fitted.shape[1:], tensor.shape[1:], strict=False)
    if fitted.ndim != len(tensor.shape) or any(wanted not in (None, size) for size, wanted in sizes):
        wanted = ", ".join("any" if size is None else str(size) for size in tensor.shape[1:])
        raise ValueError(expected(f"{name} to have shape (batch, {wanted})", f"shape {array.shape}"))
    if fitted.dtype.kind in "fc" and not np.isfinite(fitted).all():
        raise ValueError(expected(f"{name} to hold finite numbers", "NaN or infinity"))
    cast = fitted.astype(tensor.dtype)
    if np.issubdtype(cast.dtype, np.integer) and not np.array_equal(cast, fitted):
        raise ValueError(expected(f"{name} to hold integers that fit {tensor.dtype}", f"{fitted.dtype} values"))
    return cast
