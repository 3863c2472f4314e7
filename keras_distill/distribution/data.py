"""Data sets for several replicas: each worker reads and prepares its own examples alone."""

import warnings

import keras

from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.distribution.strategies import is_multiworker

_PARTS = "keras_distill parts"
_NAMES = ("x", "y", "sample_weight", "extras")


def distribute(examples, batch_size, prepare=None, strategy=None):
    """Distribute a data set over the workers of a strategy, so that each reads and prepares its own part alone.

    Of every batch each worker takes its share: all of them together train on the very batches that a single device
    would. What `fit` is given otherwise is read whole by every worker, or file by file, see
    `tf.data.experimental.AutoShardPolicy`. What does not fill a last batch is left out, with a warning.

    Args:
        examples: A `tf.data.Dataset` of examples one by one, in the same order on every worker.
        batch_size: Examples of a batch, those of all replicas together.
        prepare: Function from the data set of a worker's own examples to what it trains on, example by example:
            `lambda own: store.join(own, order="any")`, augmentation, shuffling. Defaults to `None`, as they are.
        strategy: A `tf.distribute.Strategy`. Defaults to `None`, that of the current scope.

    Returns:
        A `tf.distribute.DistributedDataset`, for `fit` and `evaluate`; on a single replica the `tf.data.Dataset`.
        Where each worker has several devices, Keras counts the batches of each, and warns at the end of an epoch that
        there were fewer.

    Raises:
        ValueError: If a batch cannot be shared equally, or there are fewer examples than one batch.

    Example:

    >>> import tensorflow as tf
    >>> batches = distribute(tf.data.Dataset.range(10), batch_size=5)
    >>> [batch.numpy().tolist() for batch in batches]
    [[0, 1, 2, 3, 4], [5, 6, 7, 8, 9]]
    """
    import tensorflow as tf

    strategy = strategy or tf.distribute.get_strategy()
    replicas = strategy.num_replicas_in_sync
    if batch_size < replicas or batch_size % replicas:
        raise ValueError(expected(f"a batch size that {replicas} replicas can share equally", f"{batch_size}"))
    examples = _whole_batches(examples, batch_size)

    def batches_of(own, size):
        own = own if prepare is None else prepare(own)
        own = without_none(own) if replicas > 1 else own
        return own.batch(size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def of_worker(context):
        own = examples.shard(context.num_input_pipelines, context.input_pipeline_id)
        return batches_of(own, batch_size // replicas)

    if is_multiworker(strategy):
        return strategy.distribute_datasets_from_function(of_worker)
    return strategy.experimental_distribute_dataset(batches_of(examples, batch_size))


def _whole_batches(examples, batch_size):
    """Return the examples that fill batches, of those that can be counted."""
    count = int(examples.cardinality())
    if count < 0:  # Without an end, or not known.
        return examples
    if count < batch_size:
        raise ValueError(expected(f"examples for one batch of {batch_size}", f"{count}"))
    if rest := count % batch_size:
        warnings.warn(
            f"The last {rest} of {count} examples are left out: they fill no batch of {batch_size}.", stacklevel=3
        )
    return examples.take(count - rest)


def without_none(dataset):
    """Return a data set without the parts that are `None`, which no strategy can share; `restored` puts them back."""
    import tensorflow as tf

    # The spec of `None` is the only one among those of a batch that has no shape.
    if not isinstance(dataset, tf.data.Dataset) or all(map(_has_shape, keras.tree.flatten(dataset.element_spec))):
        return dataset

    @tf.autograph.experimental.do_not_convert
    def parts(*element):
        element = unpack(element[0] if len(element) == 1 else element)
        return {_PARTS: {name: part for name, part in zip(_NAMES, element, strict=True) if part is not None}}

    return dataset.map(parts, num_parallel_calls=tf.data.AUTOTUNE)


def _has_shape(spec):
    return hasattr(spec, "shape")


def restored(data):
    """Return a batch with the parts that `without_none` has taken away."""
    import tensorflow as tf

    data = keras.tree.map_structure(lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, data)
    if not isinstance(data, dict) or _PARTS not in data:
        return data
    *parts, extras = (data[_PARTS].get(name) for name in _NAMES)
    return *parts, extras or {}
