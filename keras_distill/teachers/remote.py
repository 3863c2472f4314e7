"""A function of NumPy arrays as a teacher: a remote service, another framework, anything that can be called."""

import random
import time
import types
from typing import Any

import keras
import numpy as np

from keras_distill._core.checks import check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.teachers.arrays import FunctionInStepError
from keras_distill.teachers.foreign import ForeignTeacher
from keras_distill.teachers.kinds import kind

_LONGEST_DELAY = 60.0
# A generator of its own: a failing service must not change how data is shuffled.
_JITTER = random.Random()


@keras.saving.register_keras_serializable(package="keras_distill")
class CallableTeacher(ForeignTeacher):
    """Wrap a function of NumPy arrays.

    The function gets copies of the batches, a portion at a time, and is called again if it raises. Its results are
    checked: one finite row for each sample, always the same number of classes. It runs outside XLA, on every batch of
    every epoch; if calls are expensive, store the soft targets (`keras_distill.targets.write`). To be saved with a
    distiller, it must be registered with `keras.saving.register_keras_serializable`.

    Args:
        function: Function of an array `[batch, ...]` (a dict or list of them for several inputs) that returns an
            array `[batch, ..., classes]`.
        outputs: What it returns: `"logits"`, `"probabilities"`, or `"log_probabilities"`, where -inf rules a class out.
            Defaults to `"logits"`.
        input_shape: Shape of one sample. If it is given without `classes`, the function is tried on two made-up samples
            at construction. Defaults to `None`: it is tried when the shape of the first batch is known.
        input_dtype: Dtype of the made-up samples. Defaults to `"float32"`.
        classes: Number of classes, or the shape of the result for one sample. Defaults to `None`: taken from the first
            result.
        batch_size: Largest number of samples in one call. Defaults to `None`, any number.
        retries: Number of further calls for the same samples if it raises an exception. Defaults to 3.
        backoff: Seconds to wait before the first further call, doubled for each that follows, at most a minute, times a
            random number from 0.5 to 1.5. Defaults to 0.5.
        sleep: Function of seconds that waits. Defaults to `time.sleep`.
        **kwargs: `name` and `dtype`, as in `keras.Model`.

    Raises:
        ValueError: If an argument or a result of the function is invalid.
        RuntimeError: If the function raised an exception in every call.

    Example:

    >>> teacher = CallableTeacher(lambda x: x @ np.eye(4, 3), input_shape=(4,), batch_size=2)
    >>> teacher(np.ones((5, 4), "float32")).shape
    TensorShape([5, 3])
    """

    def __init__(
        self,
        function: Any,
        outputs: str = "logits",
        input_shape: Any = None,
        input_dtype: Any = "float32",
        classes: Any = None,
        batch_size: Any = None,
        retries: int = 3,
        backoff: float = 0.5,
        sleep: Any = time.sleep,
        **kwargs: Any,
    ):
        if not callable(function) or isinstance(function, (type, keras.layers.Layer)):
            raise ValueError(expected("a function of NumPy arrays", f"{function!r} of type {type(function).__name__}"))
        super().__init__(outputs, input_shape, input_dtype, classes, batch_size, **kwargs)
        self.supports_jit = False
        self.function = function
        self.retries = check_whole_number("retries", retries, 0)
        self.backoff = check_number("backoff", backoff, 0.0, float("inf"))
        self._sleep = sleep
        self._settle(try_out=classes is None)

    @property
    def label(self) -> str:
        return f"the callable {getattr(self.function, '__name__', type(self.function).__name__)!r}"

    def _raw_outputs(self, inputs):
        def answer(arrays: Any) -> Any:
            return retried(lambda: call(arrays), self.retries, self.backoff, self.label, self._sleep)

        def call(arrays: Any) -> Any:
            # A copy for each call, since a function that works in place would change the student's inputs.
            return self.function(keras.tree.pack_sequence_as(inputs, [np.array(array) for array in arrays]))

        return self._in_numpy(answer, keras.tree.flatten(inputs), self.batch_size)

    def get_config(self) -> dict[str, Any]:
        own = {"function": _serialized(self.function, self.label), "retries": self.retries, "backoff": self.backoff}
        return {**super().get_config(), **own}

    @classmethod
    def from_config(cls, config: Any) -> Any:
        return cls(**{**config, "function": keras.saving.deserialize_keras_object(config["function"])})


def retried(function: Any, retries: Any, backoff: Any, label: str, sleep: Any = time.sleep) -> Any:
    """Call a function, and again if it raises an exception, each time after a longer pause.

    Args:
        function: Function of no arguments.
        retries: Number of further calls.
        backoff: Seconds to wait before the first of them, doubled for each that follows, at most a minute.
        label: Name of the function, for the message.
        sleep: Function of seconds that waits. Defaults to `time.sleep`.

    Returns:
        The result of the function.

    Raises:
        RuntimeError: If it raised an exception each time.

    Example:

    >>> retried(iter([1]).__next__, 0, 0.5, "the list"), retried(lambda: 2, 3, 0.5, "two")
    (1, 2)
    """
    for attempt in range(retries + 1):
        try:
            return function()
        except FunctionInStepError:
            raise
        except Exception as error:
            if attempt == retries:
                received = f"{type(error).__name__}: {error}, at attempt {attempt + 1} of {retries + 1}"
                raise RuntimeError(expected(f"an answer from {label}", received)) from error
            sleep(min(backoff * 2**attempt, _LONGEST_DELAY) * _JITTER.uniform(0.5, 1.5))


def _serialized(function, label):
    kept = function if isinstance(function, types.FunctionType) else type(function)
    name = keras.saving.get_registered_name(kept)
    if keras.saving.get_registered_object(name) is not kept:
        fix = (
            "Decorate it with `@keras.saving.register_keras_serializable()`, or save the student alone: "
            "`distiller.student.save(path)` or `distiller.save_weights(path)`."
        )
        raise ValueError(expected("a teacher that Keras can save: a registered callable", label, fix))
    return keras.saving.serialize_keras_object(function)


@kind(lambda given: callable(given) and not isinstance(given, (type, keras.layers.Layer)))
def _load_teacher(function, request):
    return CallableTeacher(function, request.outputs, **request.options("retries", "backoff"))
