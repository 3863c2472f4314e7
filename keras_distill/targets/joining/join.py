"""Joining a data set with a store: each example is paired with its stored answer, found by its key."""

from typing import Any

import keras

from keras_distill._core import guards
from keras_distill._core.checks import check_choice
from keras_distill.targets.joining.checks import (
    check_count,
    check_inputs,
    check_replay,
    count_examples,
    make_keying,
)
from keras_distill.targets.joining.pairing import Pairing
from keras_distill.targets.replay.views import ViewKeying
from keras_distill.targets.writing import sources
from keras_distill.targets.writing.sources import CHUNK, Dataset, assert_cardinality, find_batch_size

ORDERS = ("same", "any")


def join(
    store: Any,
    dataset: Any,
    order: str = "same",
    key: Any = None,
    batch_size: int | None = None,
    batched: bool | None = None,
    replay: Any = None,
    view: str | int = "cycle",
    first_epoch: int = 0,
) -> Dataset:
    """Pair each example of a data set with its stored answer.

    The key of every example is computed again and compared, so that no example ever gets the answer to another: a data
    set with another order, other images or other preprocessing raises at the first wrong example. Join before
    shuffling, augmenting and repeating; `order="any"` finds examples at any position, so it takes shuffled data too.

    Hashing takes a few milliseconds of one core per megabyte of inputs, in every epoch. If the data set fits into
    memory, cache it after the join, `store.join(dataset).cache()`: it is then checked once. Ids cost next to nothing.

    Args:
        store: A `TargetStore`.
        dataset: A `tf.data.Dataset` of examples or of batches, a data set of `grain`, a `keras.utils.PyDataset`, or
            arrays.
        order: `"same"` reads the store in its own order, which is fastest, and requires all of its examples; `"any"`
            looks each example up. Defaults to `"same"`.
        key: The `key` given to `write`, if it was a function; the store knows the name of a column. Defaults to
            `None`.
        batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.
        batched: Whether the data set yields batches. Defaults to `None`, inferred.
        replay: For a store of views, the `Replay` that it was written with, or an equal one. The data set then holds
            the original examples, and the result holds their views. Join before shuffling, and do not cache the
            result, or every epoch repeats the same view. Defaults to `None`.
        view: Which view to make, see `Replay.views`. Defaults to `"cycle"`, the next view in each pass.
        first_epoch: Number of the first pass, to continue a training. Defaults to 0.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight, extras)`, with `None` for missing parts, where
        `extras["soft_targets"]` is a dict of field name to tensor.

    Raises:
        ValueError: If the data set cannot match the store; while it is read, at the first wrong example.
    """
    import tensorflow as tf

    check_choice("order", order, ORDERS)
    keying = make_keying(store, key)
    check_replay(store, replay)
    source, ranks = dataset, [len(each.shape) for each in store.inputs]
    dataset, batched = sources.open_source(source, keying, ranks, batch_size, batched)
    if replay is not None:

        def make_views(examples: Any) -> Any:
            return replay.keyed(examples, keying, ranks, view, None, batched, first_epoch, examples=source)

        dataset, batched = _make_views(store, dataset, batched and order == "same", make_views)
        keying = ViewKeying(inner=keying)
    check_inputs(store, sources.inputs_spec(dataset, keying), batched)
    if order == "same":
        dataset = check_count(store, dataset, batched)
    cardinality = dataset.cardinality()
    # One call per example would cost more than the lookup itself.
    chunked = not batched and not callable(key) and sources.has_static_shapes(dataset)
    last = _find_last_batch(dataset) if batched else -1
    pairing = Pairing(store, keying, order == "same", batched or chunked, last)
    joined = pairing.apply(dataset.batch(CHUNK) if chunked else dataset)
    joined = joined.unbatch() if chunked else joined
    joined = assert_cardinality(joined, cardinality) if cardinality >= -1 else joined
    return joined.prefetch(tf.data.AUTOTUNE)


def _make_views(store: Any, dataset: Dataset, in_order: bool, make_views: Any) -> tuple[Dataset, bool]:
    """Return the views of a data set, in batches if the data set has batches, and whether it has.

    Args:
        store: A `TargetStore`.
        dataset: The data set of the examples.
        in_order: Whether it yields batches in the order of the store.
        make_views: Function of the data set that returns its views and the size of its batches.
    """
    batches = int(dataset.cardinality())
    counted = in_order and find_batch_size(dataset) is None and batches >= 0
    views, size = make_views(_check_count_at_end(store, dataset, batches) if counted else dataset)
    if size is None:
        return views, False
    views = views.batch(size)
    if counted and batches == -(-count_examples(store) // size):
        views = assert_cardinality(views, batches)
    return views, True


def _check_count_at_end(store: Any, dataset: Dataset, batches: int) -> Dataset:
    """Return a data set that raises with its last batch unless it had all examples of a store of views."""
    import tensorflow as tf

    examples = count_examples(store)

    def add(state: Any, *element: Any) -> Any:
        (number, total), element = state, sources.unwrap(element)
        leaves = keras.tree.flatten(element)
        total = total + tf.shape(leaves[0], tf.int64)[0]
        wrong = tf.equal(number, batches) & tf.not_equal(total % examples, 0)
        fix = 'Join the whole data set, or pass order="any" for a part of it'
        what = f"the {examples} examples of {store.path} ({fix})"
        checked = guards.check(tf.logical_not(wrong), what, [total], then=leaves[0])
        return (number + 1, total), keras.tree.pack_sequence_as(element, [checked, *leaves[1:]])

    begin = (tf.constant(1, tf.int64), tf.constant(0, tf.int64))
    counted = dataset.scan(begin, tf.autograph.experimental.do_not_convert(add))
    return assert_cardinality(counted, batches)


def _find_last_batch(dataset: Dataset) -> int:
    """Return the number of the last batch, -1 if it is unknown or `check_count` has checked the number of examples."""
    # If all batches have one static size, the last examples may have been dropped; `check_count` allows for that.
    return -1 if find_batch_size(dataset) is not None else int(dataset.cardinality())
