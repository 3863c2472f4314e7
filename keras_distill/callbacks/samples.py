"""A fixed set of samples, and the outputs of teacher and student for them."""

import dataclasses
from typing import Any

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
class Outputs:
    """The outputs of a model for all samples.

    Attributes:
        logits: Float32 array `[samples, classes]`, the logits at T = 1.
        first: The model's output for the first samples, which may differ at other temperatures.
        owner: `"teacher"` or `"student"`.
    """

    logits: np.ndarray
    first: Any
    owner: str

    @property
    def classes(self) -> np.ndarray:
        """The predicted class of each sample, an integer array `[samples]`."""
        return self.logits.argmax(axis=-1)

    @property
    def scale(self) -> np.ndarray:
        """The standard deviation of each sample's logits, a float32 array `[samples]`."""
        return self.logits.std(axis=-1)

    def log10_probabilities(self, temperature: float) -> np.ndarray:
        """Return the soft targets of the first samples at a temperature.

        Args:
            temperature: Positive number T.

        Returns:
            Float64 array `[first samples, classes]` of logarithms to base 10, which do not underflow.
        """
        scaled = _logits(as_answer(self.first).at(temperature), self.owner).astype("float64") / temperature
        scaled -= scaled.max(axis=-1, keepdims=True)
        return (scaled - np.log(np.exp(scaled).sum(axis=-1, keepdims=True))) / np.log(10.0)


class FixedSamples:
    """A fixed set of samples on which teacher and student are run.

    The teacher is run on the first samples every time, and on all samples when its output for the first ones has
    changed. A teacher that never changes costs next to nothing, and the changes of a momentum teacher are seen.

    Args:
        samples: Array of inputs `[samples, ...]`, or a batch: a tuple of inputs, hard labels and, for a stored
            teacher, sample weights and the extras that `store.join` adds.
        first: Number of first samples, the ones that are drawn.

    Raises:
        ValueError: If there are no samples, inputs are nested, or labels and inputs differ in number.
    """

    def __init__(self, samples: Any, first: int):
        x, y, _, self._extras = unpack(samples) if isinstance(samples, tuple) else (samples, None, None, {})
        if not hasattr(x, "shape") or not len(x.shape):
            fix = "Models with several inputs cannot be drawn. For a data set, pass one batch: next(iter(dataset))."
            raise ValueError(
                expected("samples to be an array of inputs, or a tuple that begins with one", _describe(x), fix)
            )
        self.x = ops.convert_to_numpy(x)
        if not len(self.x):
            raise ValueError(expected("at least one sample", f"samples of shape {self.x.shape}"))
        self.labels = None if y is None else _check_labels(y, len(self.x))
        self.first = min(first, len(self.x))
        self._teacher: Outputs | None = None

    def __len__(self) -> int:
        return len(self.x)

    def check_fit(self, distiller: Any) -> int:
        """Return the number of classes; raise a `ValueError` unless teacher and student fit the samples.

        Earlier outputs of the teacher are dropped, since it may be another teacher.
        """
        self._teacher = None
        self._check_shape(getattr(distiller.student, "inputs", None))
        classes = self.run_teacher(distiller).logits.shape[-1]
        student_classes = _first_output(self._call_student(distiller, slice(self.first)), "student").shape[-1]
        if student_classes != classes:
            received = f"{classes} classes of the teacher and {student_classes} of the student"
            raise ValueError(expected("teacher and student of the same number of classes", received))
        return classes

    def _check_shape(self, inputs):
        shapes = [tuple(each.shape) for each in inputs or ()]
        if len(shapes) > 1:
            raise ValueError(expected("a student with one input", f"{len(shapes)} inputs"))
        if shapes and not same_shape((None, *self.x.shape[1:]), shapes[0]):
            raise ValueError(expected(f"samples of the student's input shape {shapes[0]}", f"shape {self.x.shape}"))

    def run_teacher(self, distiller: Any) -> Outputs:
        """Return the outputs of the teacher."""

        def run(part: Any) -> Any:
            if not self._extras:
                return distiller.teacher_outputs(self.x[part])
            extras = keras.tree.map_structure(lambda each: each[part], self._extras)
            return distiller.teacher_outputs(self.x[part], extras)

        first = _first_output(run(slice(self.first)), "teacher")
        known = self._teacher
        if known is None or not np.allclose(_logits(first, "teacher"), known.logits[: self.first], 1e-5, 1e-5):
            self._teacher = known = self._run_all(run, first, "teacher")
        return known

    def run_student(self, distiller: Any) -> Outputs:
        """Return the outputs of the student."""

        def run(part: Any) -> Any:
            return self._call_student(distiller, part)

        return self._run_all(run, _first_output(run(slice(self.first)), "student"), "student")

    def _call_student(self, distiller, part):
        return distiller.student_outputs(ops.convert_to_tensor(self.x[part]), training=False)

    def _run_all(self, run, first, owner):
        logits = [_logits(first, owner)]
        # Large batches of small samples: outside a graph, one call costs as much as hundreds of digits.
        batch = min(_SAMPLES, max(16, _BYTES // max(1, self.x[0].nbytes)))
        for start in range(self.first, len(self), batch):
            logits.append(_logits(_first_output(run(slice(start, start + batch)), owner), owner))
        return Outputs(np.concatenate(logits), first, owner)


def _first_output(outputs, owner):
    """Return the first output of a model, which has one row of logits for each sample."""
    output = outputs[FINAL_OUTPUT]
    if is_top_k(output):
        fix = "Write a store without `top_k` for these samples."
        raise ValueError(expected("soft targets of all classes", "a store of the top k classes", fix))
    output = keras.tree.flatten(output)[0]
    if len(output.shape) != 2 or output.shape[-1] < 2:
        what = f"logits of shape (samples, classes) with two or more classes from the {owner}"
        raise ValueError(expected(what, f"shape {tuple(output.shape)}"))
    return output


def _logits(output, owner):
    return ops.convert_to_numpy(ops.cast(logits_of(as_answer(output).at(1.0), owner), "float32"))


def _check_labels(y, samples):
    y = ops.convert_to_numpy(y) if hasattr(y, "shape") else np.asarray(y)
    if y.ndim == 2:
        y = y.argmax(axis=-1) if y.shape[-1] > 1 else y[:, 0]
    if y.shape != (samples,):
        raise ValueError(expected(f"one hard label for each of the {samples} samples", f"shape {y.shape}"))
    return y.astype("int64")


def _describe(x):
    return f"{type(x).__name__}" if not hasattr(x, "shape") else f"shape {tuple(x.shape)}"
