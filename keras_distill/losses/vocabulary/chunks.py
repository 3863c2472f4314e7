"""Process the tokens of a batch in chunks, one chunk after the other."""

from collections.abc import Callable
from typing import Any


def map_chunks(
    step: Callable, rows: dict[str, Any], size: Any, values: list[Any], sums: list[Any]
) -> tuple[list[Any], list[Any]]:
    """Run a step on chunks of tokens, concatenate its values, and add its sums.

    Chunks have nearly equal sizes and never run in parallel, so that they need the memory of one.

    Args:
        step: Function of a dict of tensors `[chunk, ...]` that returns two lists: tensors `[chunk, ...]` as specified
            by `values`, and tensors with the shapes of `sums`.
        rows: Dict of tensors `[tokens, ...]`.
        size: Largest number of tokens in a chunk.
        values: List of `tf.TensorSpec`, one for each value of a token.
        sums: List of tensors, the initial values of the sums.

    Returns:
        A list of tensors `[tokens, ...]`, and the list of sums.
    """
    import tensorflow as tf

    tokens = tf.shape(next(iter(rows.values())))[0]
    count = tf.maximum((tokens + size - 1) // size, 1)
    chunk = (tokens + count - 1) // count
    rows = {name: _split(each, count, chunk) for name, each in rows.items()}
    arrays = [tf.TensorArray(each.dtype, count, element_shape=(None, *each.shape)) for each in values]

    def body(index: Any, arrays: Any, sums: Any) -> Any:
        found, added = step({name: each[index] for name, each in rows.items()})
        arrays = [array.write(index, value) for array, value in zip(arrays, found, strict=True)]
        return index + 1, arrays, [total + each for total, each in zip(sums, added, strict=True)]

    start = (tf.constant(0), arrays, list(sums))
    _, arrays, sums = tf.while_loop(lambda index, *_: index < count, body, start, parallel_iterations=1)
    joined = [tf.reshape(array.stack(), (-1, *each.shape))[:tokens] for array, each in zip(arrays, values, strict=True)]
    return joined, sums


def _split(rows, count, chunk):
    """Reshape rows `[tokens, ...]` to `[count, chunk, ...]`, padded with zeros."""
    import tensorflow as tf

    missing = count * chunk - tf.shape(rows)[0]
    rows = tf.pad(rows, [[0, missing], *[[0, 0]] * (len(rows.shape) - 1)])
    return tf.reshape(rows, (count, chunk, *rows.shape[1:]))
