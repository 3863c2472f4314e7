"""Going through the tokens of a batch a few at a time, one chunk after the other."""


def in_chunks(step, rows, size, values, sums):
    """Run a step on chunks of tokens, put its values together, and add up its sums.

    Chunks are as equal as can be, and never run side by side, so that the memory is that of one.

    Args:
        step: Function of a dict of tensors `[chunk, ...]` to two lists: tensors `[chunk, ...]` as `values` says, and
            tensors of the shapes of `sums`.
        rows: Dict of tensors `[tokens, ...]`.
        size: How many tokens a chunk has at most.
        values: List of `tf.TensorSpec`, one for each value of a token.
        sums: List of tensors to add to.

    Returns:
        A list of tensors `[tokens, ...]`, and the list of sums.
    """
    import tensorflow as tf

    tokens = tf.shape(next(iter(rows.values())))[0]
    count = tf.maximum((tokens + size - 1) // size, 1)
    chunk = (tokens + count - 1) // count
    rows = {name: _split(each, count, chunk) for name, each in rows.items()}
    arrays = [tf.TensorArray(each.dtype, count, element_shape=(None, *each.shape)) for each in values]

    def body(index, arrays, sums):
        found, added = step({name: each[index] for name, each in rows.items()})
        arrays = [array.write(index, value) for array, value in zip(arrays, found, strict=True)]
        return index + 1, arrays, [total + each for total, each in zip(sums, added, strict=True)]

    start = (tf.constant(0), arrays, list(sums))
    _, arrays, sums = tf.while_loop(lambda index, *_: index < count, body, start, parallel_iterations=1)
    joined = [tf.reshape(array.stack(), (-1, *each.shape))[:tokens] for array, each in zip(arrays, values, strict=True)]
    return joined, sums


def _split(rows, count, chunk):
    """Return rows `[tokens, ...]` as `[count, chunk, ...]`, filled up with zeros."""
    import tensorflow as tf

    missing = count * chunk - tf.shape(rows)[0]
    rows = tf.pad(rows, [[0, missing], *[[0, 0]] * (len(rows.shape) - 1)])
    return tf.reshape(rows, (count, chunk, *rows.shape[1:]))
