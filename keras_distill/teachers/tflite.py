"""A TFLite file as a teacher, run by LiteRT's interpreter."""

import os
import threading
from typing import Any

import keras
import numpy as np

from keras_distill._core import litert
from keras_distill._core.models import Untracked
from keras_distill.teachers.files import FileTeacher, Port
from keras_distill.teachers.kinds import file_with, kind
from keras_distill.teachers.last_operation import find_in_tflite
from keras_distill.teachers.reading import explain_unreadable


@keras.saving.register_keras_serializable(package="keras_distill")
class TFLiteTeacher(FileTeacher):
    """Wrap a TFLite file.

    Floats are quantised for inputs of integers by the scale and the zero point of the file, and outputs of integers
    are turned back; inputs that are of the file's own dtype are given as they are. A file that gives the same for
    another batch size than its own is run on whole batches, any other in the batch that it was written with. It runs
    on the CPU, outside XLA. Needs the extra `edge`.

    A softmax in eight bits has no probability below 1/256: `outputs="probabilities"` then gives logits of -inf, and
    little that is soft to learn from. Convert the model without its softmax.

    Args:
        path: File.
        outputs: What it returns, `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to `"logits"`.
        **kwargs: As in `FileTeacher`: `signature_output`, `input_shape`, `input_dtype`, `classes`, `batch_size`,
            `name`, `dtype`.

    Raises:
        ImportError: If LiteRT is not installed.
        ValueError: If an argument is not what it should be, or what the file gives is not.

    Example:

    >>> import tempfile, tensorflow as tf
    >>> @tf.function(input_signature=[tf.TensorSpec((1, 2))])
    ... def double(x):
    ...     return 2.0 * x
    >>> converter = tf.lite.TFLiteConverter.from_concrete_functions([double.get_concrete_function()])
    >>> with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
    ...     size, _ = file.write(converter.convert()), file.flush()
    ...     teacher = TFLiteTeacher(file.name)
    >>> teacher(np.ones((3, 2), "float32")).numpy().tolist()
    [[2.0, 2.0], [2.0, 2.0], [2.0, 2.0]]
    """

    def __init__(self, path: str, outputs: str = "logits", **kwargs: Any):
        super().__init__(path, outputs, **kwargs)
        self.supports_jit = False

    def _open(self, path):
        # An interpreter runs one batch at a time, but replicas run in parallel.
        self._alone = Untracked(threading.Lock())
        with explain_unreadable(path, "TFLite file", (ValueError,)):
            self._restart()
        litert.check_initialised(self._interpreter.content, repr(path))
        details = _details(self._interpreter.content)
        self._details = Untracked(details)
        return tuple({name: _port(detail) for name, detail in each.items()} for each in details)

    def _find_last_operation(self):
        return find_in_tflite(self._interpreter.content._get_ops_details(), self._output_detail()["index"])

    def _restart(self):
        interpreter_class = litert.interpreter_class()
        self._interpreter = Untracked(interpreter_class(model_path=self.file, num_threads=os.cpu_count()))

    def _ready(self):
        self._fixed_batch = self._fixed_batch or int(self._input_details()[0]["shape"][0])
        self._whole = not self._resizes()

    def _input_details(self):
        return list(self._details.content[0].values())

    def _resizes(self):
        """Return whether the file gives the same outputs with another batch size."""
        rows = self._fixed_batch
        example = self._examples(rows + 1)
        other = self._attempt(example)
        own = self._attempt([array[:rows] for array in example])
        if other is None or len(other) != rows + 1:
            return False
        step = self._output_detail()["quantization"][0]
        return own is None or np.allclose(own, other[:rows], rtol=1e-3, atol=1e-3 * np.max(np.abs(own)) + 2.0 * step)

    def _examples(self, rows):
        details = self._input_details()
        specs = [None] * len(details) if self._specs is None else self._by_name(self._specs)
        return [_example(rows, detail, spec) for detail, spec in zip(details, specs, strict=True)]

    def _attempt(self, arrays):
        try:
            return self._invoke(arrays)
        except (RuntimeError, ValueError):
            self._restart()  # After a failure the interpreter is unusable.
            return None

    def _run(self, tensors):
        size = self._fixed_batch if self._whole else self.batch_size
        return self._in_numpy(self._invoke, list(tensors.values()), size, self._whole)

    def _invoke(self, arrays):
        with self._alone.content:
            interpreter = self._interpreter.content
            details = self._input_details()
            for array, detail in zip(arrays, details, strict=True):
                interpreter.resize_tensor_input(detail["index"], array.shape)
            interpreter.allocate_tensors()
            for array, detail in zip(arrays, details, strict=True):
                interpreter.set_tensor(detail["index"], litert.quantized(array, detail))
            interpreter.invoke()
            detail = self._output_detail()
            return litert.dequantized(interpreter.get_tensor(detail["index"]), detail)

    def _output_detail(self):
        return self._details.content[1][self._output_name]

    def _rounding(self):
        return self._output_detail()["quantization"][0] / 2.0


def _details(interpreter):
    """Return the details of inputs and outputs by name; those of the signature if there is exactly one."""
    signatures = interpreter.get_signature_list()
    if len(signatures) == 1:
        runner = interpreter.get_signature_runner(next(iter(signatures)))
        return runner.get_input_details(), runner.get_output_details()
    ends = (interpreter.get_input_details(), interpreter.get_output_details())
    return tuple({detail["name"]: detail for detail in details} for details in ends)


def _example(rows, detail, spec):
    known = spec is not None and None not in spec.shape[1:]
    shape = (rows, *(spec.shape[1:] if known else detail["shape"][1:]))
    if "float" not in _port(detail).dtype:
        return np.zeros(shape, detail["dtype"])
    return np.random.default_rng(0).random(shape, "float32")


def _port(detail):
    dtype, scale = np.dtype(detail["dtype"]).name, detail["quantization"][0]
    sizes = detail.get("shape_signature", detail["shape"])
    shape = tuple(None if size < 0 else int(size) for size in sizes)
    return Port(shape, "float32", dtype) if scale else Port(shape, dtype)


@kind(file_with(".tflite"))
def _load_teacher(path, request):
    return TFLiteTeacher(path, request.outputs, **request.options("signature_output"))
