"""The steps of a joined pipeline: number the examples, compare their keys with the store, and add the stored fields."""

from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import SOFT_TARGETS, unpack
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.targets.joining.checks import count_examples, describe_wrong_count, holds_views
from keras_distill.targets.replay.views import VIEW
from keras_distill.targets.store.keys import Keying, text_of
from keras_distill.targets.writing.sources import Dataset, count_in_element, keep_order, unwrap


class Pairing:
    """Pair the elements of a data set with stored answers.

    Args:
        store: A `TargetStore`.
        keying: The `Keying` of the elements.
        in_order: Whether examples have the order of the store, rather than any order.
        batched: Whether elements are batches.
        last: Number of the last element, from 1, after which the number of examples is checked; -1 for no check.
    """

    def __init__(self, store: Any, keying: Keying, in_order: bool, batched: bool, last: int):
        self._store, self._keying, self._in_order, self._batched, self._last = store, keying, in_order, batched, last
        self._size = count_examples(store)

    def apply(self, dataset: Dataset) -> Dataset:
        """Return the data set of `(x, y, sample_weight, extras)` with the soft targets among the extras."""
        import tensorflow as tf

        begin = (tf.constant(0, tf.int64), tf.constant(1, tf.int64))
        number, pair = map(tf.autograph.experimental.do_not_convert, (self._number, self._pair))
        return keep_order(dataset.scan(begin, number).map(pair, num_parallel_calls=tf.data.AUTOTUNE))

    def _number(self, state: tuple[Tensor, Tensor], *element: Any) -> tuple:
        """Return the next state, the position and number of an element; and the element with its own position."""
        import tensorflow as tf

        size = count_in_element(unwrap(element), self._batched)
        position, number = state
        return (position + size, number + 1), (position, tf.equal(number, self._last), element)

    def _pair(self, position: Tensor, last: Tensor, element: tuple) -> tuple:
        import tensorflow as tf

        element = unwrap(element)
        inputs, ids = self._keying.split(element)
        keys, _ = self._keying.compute(inputs, ids, self._batched)
        x, y, sample_weight, extras = unpack(element)
        extras = dict(extras)
        if SOFT_TARGETS in extras:
            received = f"a data set with the part {SOFT_TARGETS!r}"
            raise ValueError(expected("a data set that is not joined yet", received))
        leaf = keras.tree.flatten(inputs)[self._keying.padded_leaf(inputs)[0]]
        longest = tf.shape(leaf, tf.int64)[int(self._batched)] if self._keying.padding is not None else -1
        # The store holds the first views of all examples, then the second ones, and so on.
        view = extras.pop(VIEW)["number"] if VIEW in extras else tf.constant(0, tf.int64)
        fields = self._store.fields
        kinds = [dtype for dtype, _ in fields.values()]
        look_up = guards.marked(self._look_up)
        tensors = tf.numpy_function(look_up, [position, last, keys, longest, view], kinds, stateful=False)
        stored = {}
        for (name, (_, shape)), tensor in zip(fields.items(), tensors, strict=True):
            tensor.set_shape((keys.shape[0], *shape))
            stored[name] = tensor if self._batched else tensor[0]
        return inputs if ids is not None else x, y, sample_weight, {**extras, SOFT_TARGETS: stored}

    def _look_up(
        self, position: np.ndarray, last: np.ndarray, found: np.ndarray, longest: np.ndarray, view: np.ndarray
    ) -> list[np.ndarray]:
        """Return the fields of a batch, in their order, after checking its keys."""
        end = int(position) + len(found)
        if self._in_order:
            positions = np.arange(int(position), end) % self._size + view * self._size
            wrong = (self._store.keys[positions] != found).any(axis=1)
        else:
            positions = self._store.index.find(found)
            wrong = positions < 0
        if wrong.any():
            row = int(np.argmax(wrong))
            number = int(np.ravel(view)[row % np.size(view)])
            raise ValueError(self._describe_wrong_example(int(position) + row, found[row], number))
        if last and self._in_order and end % self._size:
            raise ValueError(describe_wrong_count(self._store, end))
        return list(self._store.gather(positions, None if longest < 0 else int(longest)).values())

    def _describe_wrong_example(self, position: int, key: np.ndarray, view: int) -> str:
        """Return the message for an example that does not match the store, with the most likely cause."""
        store, size, preprocessing = self._store, self._size, self._store.manifest["preprocessing"]
        where = int(store.index.find(key[None])[0])
        if where < 0 and holds_views(store) and (store.keys[:, 0] == key[0]).any():
            what = f"view {view} of example {position} with the pixels that the teacher saw in {store.path}"
            fix = "The augment_fn or the partners differ, or another version or machine draws or rounds differently."
            return expected(what, "a view with other pixels", fix)
        if where < 0:
            what = f"an example with the key {text_of(key)} in {store.path}"
            prepared = (
                f" The examples of the store were preprocessed as follows: {preprocessing}." if preprocessing else ""
            )
            fix = f"Join the same data with the same preprocessing, before any augmentation.{prepared}"
            return expected(what, f"example {position} of the data set, which the teacher has not answered", fix)
        where %= size
        if position >= size and where != position % size:
            fix = "Repeat the data set as a whole, or after the join."
            return expected(
                f"{size} examples, or whole repetitions of them", f"example {position}, equal to example {where}", fix
            )
        fix = 'Join before shuffling, or pass order="any".'
        return expected(f"the order of {store.path}", f"example {where} at position {position}", fix)
