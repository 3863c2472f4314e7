"""Turning whatever holds the user's data into checked batches of named arrays."""

import itertools

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export import labels as labels_

BATCH_SIZE = 256


def raw_batches(data, what):
    """Yield `(inputs, labels)` batches, structures of NumPy arrays as the user nested them; labels may be None.

    Args:
        data: NumPy arrays (one, or a list or dict of them), a tuple `(x, y)` or `(x, y, sample_weight)` of such, a
            batched `tf.data.Dataset` or a `keras.utils.PyDataset` of these.
        what: str, name of the argument, for messages.

    Raises:
        TypeError: if the data is of another kind.
        ValueError: if a dataset has no end, or arrays differ in length.
    """
    import tensorflow as tf

    if isinstance(data, tf.data.Dataset):
        elements = iter(data)
    elif isinstance(data, keras.utils.PyDataset):
        elements = (data[position] for position in _positions(data))
    else:
        elements = _slices(data, what)
    for element in elements:
        yield _split(element, what)


def _positions(data):
    if data.num_batches is None:
        return itertools.count()
    return range(data.num_batches)


def _slices(data, what):
    data = _arrays(data, what)
    for start in range(0, _length(data, what), BATCH_SIZE):
        yield _rows(data, slice(start, start + BATCH_SIZE))


def _length(arrays, what):
    lengths = {len(array) for array in keras.tree.flatten(arrays) if array is not None}
    if len(lengths) > 1:
        raise ValueError(expected(f"the arrays of {what} to be of one length", f"lengths {sorted(lengths)}"))
    return max(lengths, default=0)


def _rows(arrays, rows):
    return keras.tree.map_structure(lambda array: None if array is None else array[rows], arrays)


def _split(element, what):
    parts = element if isinstance(element, tuple) else (element,)
    if not 1 <= len(parts) <= 3:
        raise ValueError(
            expected(
                f"{what} to give x, (x, y) or (x, y, sample_weight)",
                f"a tuple of {len(parts)}",
                "Several inputs belong in a list or a dict.",
            )
        )
    inputs, labels = (*parts, None)[:2]
    inputs = keras.tree.map_structure(lambda leaf: _array(leaf, what), inputs)
    return inputs, None if labels is None else _arrays(labels, what)


def _arrays(structure, what):
    """Turn leaves into arrays; None stays, as an output without labels has it."""
    return keras.tree.map_structure(lambda leaf: None if leaf is None else _array(leaf, what), structure)


def _array(leaf, what):
    array = leaf if isinstance(leaf, np.ndarray) else None
    # Tensors of any backend; arrays are left alone, since converting them would copy.
    if array is None and hasattr(leaf, "shape"):
        array = np.asarray(keras.ops.convert_to_numpy(leaf))
    if array is None or array.ndim == 0 or array.dtype == object:
        kinds = "NumPy arrays (one, or a list or dict of them), (x, y), a tf.data.Dataset or a keras.utils.PyDataset"
        raise TypeError(expected(f"{what} to be {kinds}, samples along the first axis", f"{type(leaf).__name__}"))
    return array


class Samples:
    """Batches of named inputs and labels, checked against a signature; iterate as often as needed.

    Each walk reads the data anew, so a dataset larger than memory, or one that shuffles, is fine.
    """

    def __init__(self, data, signature, what):
        """Check nothing yet: `check` walks through the data."""
        self._data, self._signature, self.what = data, signature, what

    def __iter__(self):
        return self._checked(self._data)

    def _checked(self, data):
        for inputs, labels in raw_batches(data, self.what):
            inputs = named(inputs, self._signature.inputs, self.what)
            yield inputs, labels_.named(labels, self._signature.outputs, count(inputs), self.what)

    def check(self):
        """Walk through all of it; return the count of samples.

        Raises:
            ValueError: if it is empty, endless, of the wrong shapes, not finite, or its labels do not fit.
        """
        self._check_finite_length()
        total = sum(count(inputs) for inputs, _ in self)
        if not total:
            raise ValueError(empty(self.what))
        return total

    def take(self, limit):
        """Return one batch of at most `limit` samples.

        Arrays in memory are sampled evenly, since they may be sorted by class; a dataset gives its first samples.

        Args:
            limit: int.

        Returns:
            tuple of a dict of inputs and a dict of labels.
        """
        data = self._data
        if isinstance(data, (np.ndarray, tuple, list, dict)):
            data = _arrays(data, self.what)
            total = _length(data, self.what)
            data = _rows(data, np.linspace(0, total - 1, min(limit, total)).round().astype(int))
        batches = list(_first(self._checked(data), limit))
        if not batches:
            raise ValueError(empty(self.what))
        inputs, labels = zip(*batches, strict=True)
        return _joined(inputs), _joined(labels)

    def _check_finite_length(self):
        import tensorflow as tf

        endless = getattr(self._data, "num_batches", 0) is None
        if isinstance(self._data, tf.data.Dataset):
            endless = int(self._data.cardinality()) == tf.data.INFINITE_CARDINALITY
        if endless:
            raise ValueError(expected(f"{self.what} to have an end", "an endless dataset", "Add .take(...)."))


def empty(what):
    """Compose the message for data without samples."""
    return expected(f"{what} to hold at least one sample", "no samples")


def count(inputs):
    """Return how many samples a dict of arrays holds."""
    return len(next(iter(inputs.values())))


def _first(batches, limit):
    """Yield batches until they hold `limit` samples, the last one cut to fit."""
    for inputs, labels in batches:
        yield _rows(inputs, slice(limit)), _rows(labels, slice(limit))
        limit -= count(inputs)
        if limit <= 0:
            return


def _joined(batches):
    return {name: np.concatenate([batch[name] for batch in batches]) for name in batches[0]}


def named(inputs, tensors, what):
    """Return a dict of input name to array, in the student's shapes and dtypes.

    Args:
        inputs: structure of arrays, as the user nested it.
        tensors: tuple of `signature.Tensor`.
        what: str, name of the argument, for messages.

    Raises:
        ValueError: if names, shapes, lengths or values do not fit.
    """
    arrays = _by_name(inputs, tensors, what)
    fitted = {tensor.name: _fitted(array, tensor, what) for tensor, array in zip(tensors, arrays, strict=True)}
    _length(fitted, what)
    return fitted


def _by_name(inputs, tensors, what):
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


def _fitted(array, tensor, what):
    """Return the array in the input's rank and dtype, or say why it does not fit."""
    name = f"input {tensor.keras_name!r} of {what}"
    # Keras itself adds a last axis of one.
    fitted = array[..., None] if tensor.shape[-1] == 1 and array.ndim == len(tensor.shape) - 1 else array
    sizes = zip(fitted.shape[1:], tensor.shape[1:], strict=False)
    if fitted.ndim != len(tensor.shape) or any(wanted not in (None, size) for size, wanted in sizes):
        wanted = ", ".join("any" if size is None else str(size) for size in tensor.shape[1:])
        raise ValueError(expected(f"{name} to have shape (batch, {wanted})", f"shape {array.shape}"))
    if not finite(fitted):
        raise ValueError(expected(f"{name} to hold finite numbers", "NaN or infinity"))
    cast = fitted.astype(tensor.dtype)
    if np.issubdtype(cast.dtype, np.integer) and not np.array_equal(cast, fitted):
        raise ValueError(expected(f"{name} to hold integers that fit {tensor.dtype}", f"{fitted.dtype} values"))
    return cast


def finite(array):
    """Say whether all numbers of an array are finite; what is not a number counts as such."""
    return array.dtype.kind not in "fc" or bool(np.isfinite(array).all())
