"""Data sets for several replicas: each worker reads and prepares only its own examples."""

import math
import warnings
from collections.abc import Callable
from typing import Any

import keras

from keras_distill._core.batches import unpack
from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.distribution.strategies import check_strategy, is_multiworker

_PARTS = "keras_distill parts"
_NAMES = ("x", "y", "sample_weight", "extras")


def _check_examples(name, examples):
    if not hasattr(examples, "cardinality"):
        raise ValueError(expected(f"{name} to be a tf.data.Dataset", f"{name}={examples!r:.200}"))


@checked(examples=_check_examples, batch_size=(1, math.inf), strategy=check_strategy)
def distribute(
    examples: Any, batch_size: int, prepare: Callable[[Any], Any] | None = None, strategy: Any = None
) -> Any:
    """Distribute a data set over the workers of a strategy, so that each reads and prepares only its own part.

    Each worker takes its share of every batch, so that together they train on the same batches as a single device.
    Other data sets that are passed to `fit` are read by every worker, as a whole or file by file; see
    `tf.data.experimental.AutoShardPolicy`. Examples that do not fill a last batch are left out with a warning.

    Args:
        examples: A `tf.data.Dataset` of single examples, in the same order on every worker.
        batch_size: Number of examples in a batch, over all replicas.
        prepare: Function from the data set of a worker's own examples to the examples that it trains on, such as
            `lambda own: store.join(own, order="any")`, augmentation or shuffling. Defaults to `None`, no preparation.
        strategy: A `tf.distribute.Strategy`. Defaults to `None`, the strategy of the current scope.

    Returns:
        A `tf.distribute.DistributedDataset` for `fit` and `evaluate`, or a `tf.data.Dataset` on a single replica. If
        each worker has several devices, Keras counts the batches of each device and warns at the end of an epoch that
        there were fewer.

    Raises:
        ValueError: If the replicas cannot share a batch equally, or there are fewer examples than one batch.

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
    examples = _take_full_batches(examples, batch_size)

    def make_batches(own: Any, size: Any) -> Any:
        own = own if prepare is None else prepare(own)
        own = remove_none(own) if replicas > 1 else own
        return own.batch(size, drop_remainder=True).prefetch(tf.data.AUTOTUNE)

    def read_own(context: Any) -> Any:
        own = examples.shard(context.num_input_pipelines, context.input_pipeline_id)
        return make_batches(own, batch_size // replicas)

    if is_multiworker(strategy):
        return strategy.distribute_datasets_from_function(read_own)
    return strategy.experimental_distribute_dataset(make_batches(examples, batch_size))


def _take_full_batches(examples: Any, batch_size: int) -> Any:
    """Return the examples that fill whole batches, if their number is known."""
    count = int(examples.cardinality())
    if count < 0:  # Endless or unknown.
        return examples
    if count < batch_size:
        raise ValueError(expected(f"examples for one batch of {batch_size}", f"{count} examples"))
    if rest := count % batch_size:
        message = f"The last {rest} of {count} examples are left out because they do not fill a batch of {batch_size}."
        warnings.warn(message, stacklevel=3)
    return examples.take(count - rest)


def remove_none(dataset: Any) -> Any:
    """Return a data set without parts that are `None`, which strategies cannot distribute. See `restore_none`."""
    import tensorflow as tf

    # In the spec of a batch, only that of `None` has no shape.
    if not isinstance(dataset, tf.data.Dataset) or all(map(_has_shape, keras.tree.flatten(dataset.element_spec))):
        return dataset

    @tf.autograph.experimental.do_not_convert
    def keep_parts(*element: Any) -> Any:
        element = unpack(element[0] if len(element) == 1 else element)
        return {_PARTS: {name: part for name, part in zip(_NAMES, element, strict=True) if part is not None}}

    return dataset.map(keep_parts, num_parallel_calls=tf.data.AUTOTUNE)


def _has_shape(spec: Any) -> bool:
    return hasattr(spec, "shape")


def restore_none(data: Any) -> Any:
    """Return a batch with the parts that `remove_none` has removed."""
    import tensorflow as tf

    data = keras.tree.map_structure(lambda leaf: None if isinstance(leaf, tf.experimental.Optional) else leaf, data)
    if not isinstance(data, dict) or _PARTS not in data:
        return data
    *parts, extras = (data[_PARTS].get(name) for name in _NAMES)
    return *parts, extras or {}
