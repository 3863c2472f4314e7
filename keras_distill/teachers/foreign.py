"""Models of other frameworks as Keras models: a batch of inputs in, logits out."""

from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core import guards
from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checks import check_choice, check_whole_number, is_whole_number
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked
from keras_distill._core.tensors import same_shape, set_activation
from keras_distill.teachers.arrays import checked, in_portions, through_numpy
from keras_distill.teachers.base import Teacher

OUTPUTS = ("logits", "probabilities", "log_probabilities")
"""What a foreign teacher may return."""

_SIGMOIDS = ("Sigmoid", "LOGISTIC")
_TRIED_ROWS = 2
_SUM_TOLERANCE = 1e-2


class ForeignTeacher(Teacher):
    """Wrap a model that is not a Keras model.

    It returns logits: probabilities become their logarithms, -inf for a probability of exactly zero. It has no Keras
    weights and no gradient. If the shape of its inputs is known, it is tried on two made-up samples when it is
    constructed, so that an unusable one is refused at once; otherwise at the first batch.

    Subclasses override `_raw_outputs(inputs)` and call `_settle` at the end of their construction.

    Args:
        outputs: What it returns, `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to `"logits"`.
        input_shape: Shape of one sample, or a dict or list of shapes for several inputs. Defaults to `None`, unknown.
        input_dtype: Dtype of the inputs, one or as many as there are shapes. Defaults to `"float32"`.
        classes: Number of classes, or the shape of the output for one sample, such as `(None, 10)`. Defaults to
            `None`: taken from the first output.
        batch_size: Largest number of samples that it takes at once. Defaults to `None`, any number.
        name: Name of the model. Defaults to `None`: Keras chooses one.
        dtype: Dtype of the logits. Defaults to `"float32"`.
        **kwargs: Passed to `keras.Model`.
    """

    one_for_all_temperatures = True
    _last_operation: str | None = None

    def __init__(
        self,
        outputs: str = "logits",
        input_shape: Any = None,
        input_dtype: Any = "float32",
        classes: Any = None,
        batch_size: Any = None,
        name: str | None = None,
        dtype: str = "float32",
        **kwargs: Any,
    ):
        check_tensorflow("a teacher that is not a Keras model")
        check_choice("outputs", outputs, OUTPUTS)
        # No autocast: the teacher decides about the dtype of its inputs.
        super().__init__(name=name, dtype=dtype, autocast=False, **kwargs)
        self.gives = outputs
        self.batch_size = None if batch_size is None else check_whole_number("batch_size", batch_size, 1)
        self._asked = Untracked({"input_shape": input_shape, "input_dtype": input_dtype})
        self._specs = None if input_shape is None else _specs(input_shape, input_dtype)
        self._answer_shape: Any = None if classes is None else _answer_shape(classes)
        self.built = True

    @property
    def label(self) -> str:
        """Name of the teacher in messages."""
        return f"the teacher {self.name!r}"

    @property
    def inputs(self) -> Any:
        """The inputs as symbolic tensors, `None` where they are unknown."""
        return None if self._specs is None else keras.tree.flatten(self._specs)

    @property
    def outputs(self) -> Any:
        """The logits as a symbolic tensor in a list, `None` where their shape is unknown."""
        if self._answer_shape is None:
            return None
        return [keras.KerasTensor((None, *self._answer_shape), self.compute_dtype)]

    def soft_targets(self, inputs: Any) -> Any:
        if self._answer_shape is None:
            self._try_out(keras.tree.map_structure(lambda x: keras.KerasTensor((None, *x.shape[1:]), x.dtype), inputs))
        answer = self._raw_outputs(inputs)
        answer.set_shape((keras.tree.flatten(inputs)[0].shape[0], *self._answer_shape))
        if self.gives == "logits" and self._last_operation in _SIGMOIDS:
            set_activation(answer, answer, "sigmoid")  # Losses on logits refuse it, as that of a Keras model.
        if self.gives != "probabilities":
            return answer
        sums = ops.sum(answer, axis=-1)
        message = f"rows of probabilities that sum to 1 from {self.label}"
        return ops.log(
            guards.check(self._are_probabilities(answer), message, [ops.min(sums), ops.max(sums)], then=answer)
        )

    def _raw_outputs(self, inputs):
        """Return the output of the teacher, a float tensor `[batch, ..., classes]`."""
        raise NotImplementedError

    def _in_numpy(self, function, tensors, size=None, whole=False):
        """Run a function of a list of arrays on a list of tensors, see `in_portions`, and check its result."""

        def portion(arrays: Any) -> Any:
            ruled_out = self.gives == "log_probabilities"
            return checked(function(arrays), len(arrays[0]), self._answer_shape, self.label, ruled_out)

        def run(arrays: Any) -> Any:
            answer = in_portions(portion, arrays, size, whole)
            return np.zeros((0, *(size or 0 for size in self._answer_shape))) if answer is None else answer

        return through_numpy(run, tensors, self.compute_dtype)

    def _settle(self, specs=None, answer_shape=None, try_out=True):
        """Find the shape of the logits, as far as possible before the first batch.

        Args:
            specs: Inputs according to the file, a nest of symbolic tensors. Defaults to `None`, unknown.
            answer_shape: Shape of the output for one sample, according to the file. Defaults to `None`, unknown.
            try_out: Whether to run the teacher to find out. Defaults to `True`.
        """
        found = [each for each in (self._specs, specs) if each is not None]
        self._specs = next(filter(_are_known, found), next(iter(found), None))
        if answer_shape is not None and answer_shape[-1:] != (None,):
            self._check_shape(answer_shape)
            self._answer_shape = self._answer_shape or answer_shape
        if try_out and self._specs is not None and _are_known(self._specs):
            with guards.explained():
                self._try_out(self._specs)

    def _try_out(self, specs):
        import tensorflow as tf

        if not _are_known(specs):
            shapes = [tuple(spec.shape) for spec in keras.tree.flatten(specs)]
            raise ValueError(expected(f"`classes`, the number of classes of {self.label}", f"inputs of shape {shapes}"))
        with tf.init_scope():  # Outside the graph that is being traced, since the shape is needed now.
            answer = self._raw_outputs(keras.tree.map_structure(_made_up, specs))
            self._check_shape(tuple(answer.shape[1:]))
            self._check_kind(answer)
        self._answer_shape = self._answer_shape or tuple(answer.shape[1:])

    def _check_shape(self, shape):
        if not shape:
            raise ValueError(expected(f"a row of classes for each sample from {self.label}", "one number for each"))
        known = self._answer_shape or (None,) * len(shape)
        if not same_shape(known, shape):
            raise ValueError(
                expected(f"outputs of shape {(None, *known)} from {self.label}", f"outputs of shape {(None, *shape)}")
            )

    def _check_kind(self, answer):
        found = bool(self._are_probabilities(answer))
        if self.gives == "logits" and found and answer.shape[-1] > 1:
            fix = 'Pass outputs="probabilities".'
            raise ValueError(expected(f"logits from {self.label}", "rows of probabilities", fix))
        if self.gives == "probabilities" and not found:
            received = f"rows that sum to {np.unique(np.sum(answer, axis=-1))}"
            fix = 'Pass outputs="logits" if it returns logits.'
            raise ValueError(expected(f"probabilities from {self.label}", received, fix))

    def _are_probabilities(self, answer):
        tolerance = min(_SUM_TOLERANCE + self._rounding() * answer.shape[-1], 0.5)
        far = ops.abs(ops.sum(answer, axis=-1) - 1.0) > tolerance
        return ops.logical_not(ops.logical_or(ops.any(answer < 0.0), ops.any(far)))

    def _rounding(self):
        """Return the largest rounding error of an output."""
        return 0.0

    def get_config(self) -> dict[str, Any]:
        # The shape is saved, so that a loaded teacher need not be tried out again.
        own = {"outputs": self.gives, "classes": self._answer_shape, "batch_size": self.batch_size}
        return {**super().get_config(), **self._asked.content, **own}


def _answer_shape(classes):
    shape = tuple(classes) if isinstance(classes, (list, tuple)) else (classes,)
    numbers = [size for size in shape if size is not None]
    valid = all(isinstance(size, (int, np.integer)) and not isinstance(size, bool) and size > 0 for size in numbers)
    if not shape or shape[-1] is None or not valid:
        raise ValueError(expected("classes to be a number of classes, or a shape that ends in one", f"{classes!r}"))
    return shape


def _specs(shapes, dtypes):
    _check_shapes(shapes)
    specs = keras.tree.map_shape_structure(lambda shape: keras.KerasTensor((None, *shape), "float32"), shapes)
    leaves = keras.tree.flatten(specs)
    dtypes = [dtypes] * len(leaves) if isinstance(dtypes, str) else keras.tree.flatten(dtypes)
    if len(dtypes) != len(leaves):
        raise ValueError(expected(f"{len(leaves)} dtypes in input_dtype, one for each shape", f"{dtypes}"))
    _check_dtypes(dtypes)
    pairs = zip(leaves, dtypes, strict=True)
    return keras.tree.pack_sequence_as(specs, [keras.KerasTensor(spec.shape, dtype) for spec, dtype in pairs])


def _check_shapes(shapes):
    """Raise a `ValueError` unless the leaves of a nest of shapes are sizes."""
    leaves = keras.tree.flatten(shapes)
    nested = isinstance(shapes, (tuple, list, dict))
    if not nested or any(size is not None and not (is_whole_number(size) and size >= 0) for size in leaves):
        what = "input_shape to be a shape without the batch, or a nest of shapes"
        raise ValueError(expected(what, f"input_shape={shapes!r}", "None stands for a free size."))


def _check_dtypes(dtypes):
    for dtype in dtypes:
        try:
            keras.backend.standardize_dtype(dtype)
        except (ValueError, TypeError):
            raise ValueError(expected("input_dtype to be a dtype, or a nest of them", f"{dtype!r}")) from None


def _are_known(specs):
    return all(None not in spec.shape[1:] for spec in keras.tree.flatten(specs))


def _made_up(spec):
    import tensorflow as tf

    shape = (_TRIED_ROWS, *spec.shape[1:])
    if "float" in spec.dtype:
        return tf.cast(np.random.default_rng(0).random(shape), spec.dtype)
    return tf.zeros(shape, spec.dtype)
