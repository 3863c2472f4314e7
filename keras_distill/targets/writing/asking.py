"""Asking a teacher: a compiled function from a batch of inputs to the fields of a store."""

from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.checks import check_temperatures
from keras_distill._core.messages import expected
from keras_distill.answers.answer import TemperedLogits, as_answer
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.losses.heads import logits_of
from keras_distill.targets.store.encoding import Encoding, narrowed_feature
from keras_distill.teachers.running import RunningTeacher

FEATURE = "feature_{}"
"""Names of the fields of stored layers, by their number."""


class Asker:
    """Run a teacher and encode its answers, in one graph.

    Args:
        teacher: A `keras.Model` that returns logits or ends in a softmax.
        temperatures: Temperatures at which its answers are stored.
        features: Names of layers whose outputs are stored too. Defaults to none.
    """

    def __init__(self, teacher: Any, temperatures: Any, features: Any = ()):
        # Sorted as in the manifest, since the fields are numbered.
        self.features = tuple(sorted(features))
        self.teacher, self.temperatures = teacher, check_temperatures(temperatures)
        self._running = RunningTeacher(teacher, self.features)
        self.encoding: Any = None
        self.feature_dtype: Any = None
        self._graph: Any = None

    def settle(self, x: Any, ragged: Any, **options: Any) -> Any:
        """Ask about a first batch, and decide what is stored.

        Args:
            x: A batch of inputs.
            ragged: Whether each example has its own length.
            **options: `top_k`, `values` and `dtype` of the encoding.

        Returns:
            The `Encoding`, and the shape of each feature of one example by name.
        """
        import tensorflow as tf

        outputs = self._running.answer(x)
        final = outputs[FINAL_OUTPUT]
        if keras.tree.is_nested(final):
            raise ValueError(expected("a teacher of one output", f"{len(keras.tree.flatten(final))} outputs"))
        answer = as_answer(final)
        logits = logits_of(answer.at(1.0), "teacher")  # Eagerly, so that probabilities are told from logits.
        moves = isinstance(answer, TemperedLogits)
        if moves and len(self.temperatures) > 1:
            fix = "Write one store for each temperature: several models together answer differently at each."
            raise ValueError(expected("one temperature for this teacher", f"{self.temperatures}", fix))
        shape = tuple(logits.shape[1:-1])
        if ragged and not shape:
            raise ValueError(expected("a row of classes for each position, with `padding`", f"shape {logits.shape}"))
        shape = (None, *shape[1:]) if ragged else shape
        top_k = options["top_k"]
        self.encoding = Encoding(
            classes=logits.shape[-1],
            kind="dense" if top_k is None else "top_k",
            values=options["values"],
            dtype=options["dtype"],
            k=top_k,
            shape=shape,
            temperatures=self.temperatures,
            interpolate=not moves,
        )
        self.feature_dtype = "float32" if options["dtype"] == "float32" else "float16"
        spec = keras.tree.map_structure(lambda each: tf.TensorSpec((None, *each.shape[1:]), each.dtype), x)
        spec = _free_lengths(spec, x, logits.shape[1]) if ragged else spec
        self._graph = tf.function(self._encode, input_signature=[spec])
        return self.encoding, {name: _shape_of_example(outputs[name], logits, ragged) for name in self.features}

    def __call__(self, x):
        """Return the fields of a batch, a dict of tensors, and the largest error of storing them."""
        return self._graph(x)

    def logits(self, x: Any) -> Any:
        """Return the logits of a batch before they are encoded."""
        return self._logits(self._running.answer(x))

    def _logits(self, outputs):
        return logits_of(as_answer(outputs[FINAL_OUTPUT]).at(self.temperatures[0]), "teacher")

    def _encode(self, x):
        outputs = self._running.answer(x)
        logits = self._logits(outputs)
        fields, error = self.encoding.encode(logits)
        for number, name in enumerate(self.features):
            fields[FEATURE.format(number)] = narrowed_feature(outputs[name], self.feature_dtype)
        return fields, error


def to_numpy(fields: Any) -> Any:
    """Return tensors as arrays."""
    with guards.explained():
        return {name: np.asarray(tensor) for name, tensor in fields.items()}


def cut_to_lengths(fields: Any, lengths: Any, ragged: Any) -> Any:
    """Cut the fields of a batch to the lengths of its examples, and join them to arrays `[positions, ...]`.

    Args:
        fields: Dict of arrays `[batch, ...]`.
        lengths: Int array `[batch]`, or `None` to return the fields unchanged.
        ragged: Names of the fields that have a length.
    """
    if lengths is None:
        return fields
    longest = next(iter(fields[name] for name in ragged)).shape[1]
    within = np.arange(longest) < np.asarray(lengths)[:, None]
    return {name: field[within] if name in ragged else field for name, field in fields.items()}


def _shape_of_example(feature, logits, ragged):
    if keras.tree.is_nested(feature):
        raise ValueError(expected("features that are one tensor", f"{len(keras.tree.flatten(feature))}"))
    shape = tuple(feature.shape[1:])
    return (None, *shape[1:]) if ragged and shape[:1] == tuple(logits.shape[1:2]) else shape


def _free_lengths(spec, x, longest):
    import tensorflow as tf

    def opened(each: Any, leaf: Any) -> Any:
        along = len(leaf.shape) > 1 and leaf.shape[1] == longest
        return tf.TensorSpec((None, None, *each.shape[2:]), each.dtype) if along else each

    return keras.tree.map_structure(opened, spec, x)
