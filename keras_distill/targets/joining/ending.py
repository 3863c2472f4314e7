"""The end of a data set of unknown length: how many examples there were is only known when it is reached."""

from collections.abc import Callable
from typing import Any

import numpy as np

from keras_distill._core import guards
from keras_distill.answers.answer import Tensor
from keras_distill.targets.writing.sources import Dataset, unwrap


def check_end(dataset: Dataset, size_of: Callable[[Any], Tensor], check: Callable[[int], None]) -> Dataset:
    """Return a data set whose end is reached only after a check of the number of its examples.

    Args:
        dataset: A `tf.data.Dataset` of any elements.
        size_of: Function of an element that returns the number of its examples, an int64 scalar.
        check: Function of the number of all examples. The `ValueError` that it raises takes the place of the end.
    """
    import tensorflow as tf

    optional, spec = tf.experimental.Optional, dataset.element_spec

    def count(total: Tensor, element: Any) -> tuple:
        there = element.has_value()
        size = tf.cond(there, lambda: size_of(element.get_value()), lambda: tf.constant(0, tf.int64))
        total = total + size
        return total, (tf.cond(there, lambda: True, lambda: _run(check, total)), element)

    as_is = tf.autograph.experimental.do_not_convert
    end = tf.data.Dataset.range(1).map(lambda _: optional.empty(spec))
    elements = dataset.map(as_is(lambda *element: optional.from_value(unwrap(element)))).concatenate(end)
    counted = elements.scan(tf.constant(0, tf.int64), as_is(count))
    return counted.filter(lambda there, _: there).map(as_is(lambda _, element: element.get_value()))


def _run(check: Callable[[int], None], total: Tensor) -> Tensor:
    """Run the check at the end, in a graph, and return `False`: the end is no element."""
    import tensorflow as tf

    def run(found: np.ndarray) -> np.bool_:
        check(int(found))
        return np.bool_(False)

    there = tf.numpy_function(guards.marked(run), [total], tf.bool, stateful=False)
    there.set_shape(())
    return there
