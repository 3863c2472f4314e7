"""Running a function of NumPy arrays inside TensorFlow's graph, in portions of a size it takes, with checks."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape


class FunctionInStepError(RuntimeError):
    """A teacher that runs inside a step has called a `tf.function`, which would wait for ever."""


def through_numpy(function: Any, tensors: Any, dtype: Any) -> Any:
    """Apply a function of NumPy arrays to tensors.

    Args:
        function: Function of a list of arrays that returns one array.
        tensors: List of tensors.
        dtype: Dtype of the result.

    Returns:
        A tensor; in a graph its shape is unknown.
    """
    import tensorflow as tf

    def run(*arrays: Any) -> Any:
        return np.asarray(function(list(arrays)), dtype)

    if tf.executing_eagerly():
        return tf.convert_to_tensor(run(*(tensor.numpy() for tensor in tensors)))

    def run_in_step(*arrays: Any) -> Any:
        with _refusing_functions():
            return run(*arrays)

    return tf.numpy_function(guards.marked(run_in_step), tensors, dtype)


@contextlib.contextmanager
def _refusing_functions() -> Iterator[None]:
    """Raise a `FunctionInStepError` if the code within calls a `tf.function`, where it would wait for ever.

    Code in a step holds a thread of TensorFlow's pool, and a function needs another one. On one core there is one.
    """
    if not _pool_has_one_thread() or sys.getprofile() is not None:
        yield
        return
    sys.setprofile(_refuse_function)
    try:
        yield
    finally:
        sys.setprofile(None)


def _pool_has_one_thread():
    import tensorflow as tf

    threads = tf.config.threading.get_inter_op_parallelism_threads() or os.environ.get("TF_NUM_INTEROP_THREADS")
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return int(threads or cores or 1) == 1


def _refuse_function(frame, event, _):
    """Raise when the code of TensorFlow that runs a compiled function begins: a hook for `sys.setprofile`."""
    if event == "call" and frame.f_code.co_name == "_call_flat" and "tensorflow" in frame.f_code.co_filename:
        what = "a teacher that runs no tf.function, as `model.predict` does, where TensorFlow has a single thread"
        fix = (
            "Call the model, as in `model(x, training=False)`, pass it as the teacher itself, or set "
            "TF_NUM_INTEROP_THREADS=2 before TensorFlow starts."
        )
        raise FunctionInStepError(expected(what, "a callable that runs one", fix))


def in_portions(function: Any, arrays: Any, size: Any = None, whole: bool = False) -> Any:
    """Run a function on a few rows at a time.

    Args:
        function: Function of a list of arrays that returns an array with as many rows.
        arrays: List of arrays `[rows, ...]`.
        size: Largest number of rows that the function takes. Defaults to `None`, any number.
        whole: Whether it takes exactly `size` rows; the last portion is then padded with copies of the last row.
            Defaults to `False`.

    Returns:
        Array `[rows, ...]`, or `None` if there are no rows.

    Example:

    >>> in_portions(lambda arrays: arrays[0] + len(arrays[0]), [np.arange(5)], size=2).tolist()
    [2, 3, 4, 5, 5]
    >>> in_portions(lambda arrays: arrays[0] + len(arrays[0]), [np.arange(5)], size=2, whole=True).tolist()
    [2, 3, 4, 5, 6]
    """
    rows = len(arrays[0])
    answers = []
    for start in range(0, rows, size or max(rows, 1)):
        portion = [array[start : start + size if size else None] for array in arrays]
        taken = len(portion[0])
        if whole and taken < size:
            portion = [np.concatenate([array, np.repeat(array[-1:], size - taken, axis=0)]) for array in portion]
        answers.append(function(portion)[:taken])
    return np.concatenate(answers) if answers else None


def checked(answer: Any, rows: int, shape: Any, label: str, infinite: bool = False) -> Any:
    """Return a teacher's output as an array; raise a `ValueError` unless it holds one finite row for each sample.

    Args:
        answer: The output.
        rows: Number of samples.
        shape: Shape of the output for one sample, or `None` while it is unknown.
        label: Name of the teacher, for the messages.
        infinite: Whether -inf, a class that is ruled out, is allowed. Defaults to `False`.
    """
    array = _numbers(answer, label)
    what = f"{(rows, *shape)}" if shape else f"({rows}, ..., classes)"
    if array.ndim < 2 or len(array) != rows or not same_shape(shape or array.shape[1:], array.shape[1:]):
        raise ValueError(expected(f"outputs of shape {what} from {label}", f"outputs of shape {array.shape}"))
    finite = np.isfinite(array) | np.isneginf(array) if infinite else np.isfinite(array)
    if not finite.all():
        raise ValueError(expected(f"finite outputs from {label}", f"{array[~finite][0]} at {_first(~finite)}"))
    return array


def _numbers(answer, label):
    try:
        array = np.asarray(answer)
    except Exception as error:  # Other libraries' arrays raise what they like.
        raise ValueError(expected(f"an array from {label}", f"{type(answer).__name__}: {error}")) from error
    # bfloat16 and other small floats have no kind in NumPy.
    if array.dtype.kind not in "fiu" and "float" not in array.dtype.name:
        raise ValueError(expected(f"an array of numbers from {label}", f"{type(answer).__name__} of {array.dtype}"))
    return array


def _first(found):
    return tuple(int(index) for index in np.argwhere(found)[0])
