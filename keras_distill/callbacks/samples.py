"""A fixed set of samples, and what teacher and student say of them."""

import dataclasses

import keras
import numpy as np
from keras import ops

from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import as_answer
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.losses.heads import logits_of
from keras_distill.losses.logits.top_k import is_top_k

_SAMPLES, _BYTES = 1024, 16 * 2**20


@dataclasses.dataclass(frozen=True)
class Answer:
    """Hold what a model says of all samples, and of the first few as the model said it.

    Attributes:
        logits: Float32 array `[samples, classes]`, those at T = 1.
        first: The model's output for the first samples, a tensor that may know itself at other temperatures.
        owner: `"teacher"` or `"student"`.
    """

    logits: np.ndarray
    first: object
    owner: str

    @property
    def classes(self):
        """The class that each sample is given, an integer array `[samples]`."""
        return self.logits.argmax(axis=-1)

    @property
    def scale(self):
        """The standard deviation of each sample's logits, a float32 array `[samples]`."""
        return self.logits.std(axis=-1)

    def log10_probabilities(self, temperature):
        """Return the soft targets of the first samples at a temperature.

        Args:
            temperature: Positive number T.

        Returns:
            Float64 array `[first samples, classes]`, logarithms to base 10: they reach where probabilities underflow.
        """
        scaled = _logits(as_answer(self.first).at(temperature), self.owner).astype("float64") / temperature
        scaled -= scaled.max(axis=-1, keepdims=True)
        return (scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))) / np.log(10.0)


class FixedSamples:
    """Hold samples, and ask teacher and student about them.

    The teacher is asked about the first ones every time, and about all of them when its answer has changed: one that
    never changes costs next to nothing, and a momentum teacher is seen moving.

    Args:
        samples: Array of inputs `[samples, ...]`, or a batch: a tuple of inputs, hard labels and, for a stored
            teacher, sample weights and the extras that `store.join` adds.
        first: Number of the first samples, which are drawn.

    Raises:
        ValueError: If there are none, inputs are nested, or labels and inputs differ in number.
    """

    def __init__(self, samples, first):
        x, y, _, self._extras = unpack(samples) if isinstance(samples, tuple) else (samples, None, None, {})
        if not hasattr(x, "shape") or not len(x.shape):
            fix = "A model of several inputs cannot be drawn. Of a data set, give one batch: next(iter(dataset))."
            raise ValueError(
                expected("samples to be an array of inputs, or a tuple that begins with it", _kind(x), fix)
            )
        self.x = ops.convert_to_numpy(x)
        if not len(self.x):
            raise ValueError(expected("at least one sample", f"samples of shape {self.x.shape}"))
        self.labels = None if y is None else _labels(y, len(self.x))
        self.first = min(first, len(self.x))
        self._teacher = None

    def __len__(self):
        return len(self.x)

    def check_fit(self, distiller):
        """Return the number of classes; raise a `ValueError` unless teacher and student say something of each sample.

        What the teacher said before is forgotten: it may be another one.
        """
        self._teacher = None
        self._check_shape(getattr(distiller.student, "inputs", None))
        classes = self.ask_teacher(distiller).logits.shape[-1]
        of_student = _output(self._student(distiller, slice(self.first)), "student").shape[-1]
        if of_student != classes:
            raise ValueError(
                expected("as many classes of both", f"{classes} of the teacher, {of_student} of the student")
            )
        return classes

    def _check_shape(self, inputs):
        shapes = [tuple(each.shape) for each in inputs or ()]
        if len(shapes) > 1:
            raise ValueError(expected("a student of one input", f"{len(shapes)} inputs"))
        if shapes and not same_shape((None, *self.x.shape[1:]), shapes[0]):
            raise ValueError(expected(f"samples of the student's input shape {shapes[0]}", f"{self.x.shape}"))

    def ask_teacher(self, distiller):
        """Return the teacher's `Answer`."""

        def ask(part):
            if not self._extras:
                return distiller.teacher_outputs(self.x[part])
            extras = keras.tree.map_structure(lambda each: each[part], self._extras)
            return distiller.teacher_outputs(self.x[part], extras)

        first = _output(ask(slice(self.first)), "teacher")
        known = self._teacher
        if known is None or not np.allclose(_logits(first, "teacher"), known.logits[: self.first], 1e-5, 1e-5):
            self._teacher = self._answer(ask, first, "teacher")
        return self._teacher

    def ask_student(self, distiller):
        """Return the student's `Answer`."""

        def ask(part):
            return self._student(distiller, part)

        return self._answer(ask, _output(ask(slice(self.first)), "student"), "student")

    def _student(self, distiller, part):
        return distiller.student_outputs(ops.convert_to_tensor(self.x[part]), training=False)

    def _answer(self, ask, first, owner):
        logits = [_logits(first, owner)]
        # Large batches of small samples: outside a graph, a call costs as much as hundreds of digits.
        batch = min(_SAMPLES, max(16, _BYTES // max(1, self.x[0].nbytes)))
        for start in range(self.first, len(self), batch):
            logits.append(_logits(_output(ask(slice(start, start + batch)), owner), owner))
        return Answer(np.concatenate(logits), first, owner)


def _output(outputs, owner):
    """Return the first output of a model, logits of one row for each sample."""
    output = outputs[FINAL_OUTPUT]
    if is_top_k(output):
        fix = "Write a store without `top_k` for the samples that are watched."
        raise ValueError(expected("soft targets of all classes", "a store of the k greatest", fix))
    output = keras.tree.flatten(output)[0]
    if len(output.shape) != 2 or output.shape[-1] < 2:
        what = f"logits of shape (samples, classes), two classes or more, from the {owner}"
        raise ValueError(expected(what, f"shape {tuple(output.shape)}"))
    return output


def _logits(output, owner):
    return ops.convert_to_numpy(ops.cast(logits_of(as_answer(output).at(1.0), owner), "float32"))


def _labels(y, samples):
    y = ops.convert_to_numpy(y) if hasattr(y, "shape") else np.asarray(y)
    if y.ndim == 2:
        y = y.argmax(axis=-1) if y.shape[-1] > 1 else y[:, 0]
    if y.shape != (samples,):
        raise ValueError(expected(f"one hard label for each of the {samples} samples", f"shape {y.shape}"))
    return y.astype("int64")


def _kind(x):
    return f"{type(x).__name__}" if not hasattr(x, "shape") else f"shape {tuple(x.shape)}"
