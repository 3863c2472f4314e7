"""Ranges of a float TFLite file's tensors over data, and where they are noted: in a copy of the file.

TensorFlow's own calibration is not used: of larger graphs it notes ranges that the tensors do not have (sigmoids with
minima below zero), probably since it looks at them after operators that work in place have overwritten them.
"""

import contextlib
import math
import pathlib

import numpy as np

from keras_distill._core.messages import unknown_name
from keras_distill.export import arrays
from keras_distill.export.tflite import flatbuffer

# Share of a tensor's values that lies below the end of its range, and above its start.
METHODS = {"min_max": 1.0, "percentile": 0.9999}


def check_method(name):
    """Return the name of a method of calibration.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in METHODS:
        raise ValueError(unknown_name("calibration", name, METHODS))
    return name


class Range:
    """The range of a tensor's values, seen part by part; only the values at both ends are kept.

    Example:
        >>> seen = Range(count=1001, share=0.99)
        >>> for part in np.split(np.arange(1001.0), 7):
        ...     seen.add(part)
        >>> [round(float(end), 6) for end in seen.ends()]
        [10.0, 990.0]
    """

    def __init__(self, count, share):
        """Expect at most `count` values, of which the `share` is to lie on the inner side of each end."""
        self._share, self._seen = share, 0
        self._kept = math.floor((count - 1) * (1 - share)) + 2
        self._low = self._high = np.empty(0, np.float32)

    def add(self, values):
        """See further values; those that are not finite do not count."""
        values = values[np.isfinite(values)]
        self._seen += values.size
        self._low = self._smallest(np.concatenate([self._low, values]))
        self._high = -self._smallest(-np.concatenate([self._high, values]))

    def ends(self):
        """Return both ends, a quantile each, or None where nothing was seen."""
        if not self._seen:
            return None
        place = (self._seen - 1) * (1 - self._share)
        places = np.arange(len(self._low))
        low = np.interp(place, places, np.sort(self._low))
        return low, -np.interp(place, places, np.sort(-self._high))

    def _smallest(self, values):
        return np.partition(values, self._kept - 1)[: self._kept] if len(values) > self._kept else values


def calibrate(model, samples, method, output):
    """Copy a float TFLite file and note in the copy the range of every tensor; see `functions.calibrate`."""
    share = METHODS[check_method(method)]
    content = flatbuffer.opened(pathlib.Path(model).read_bytes())
    for tensor, found in _ranges(model, content, arrays.load(samples), share):
        if ends := found.ends():
            flatbuffer.set_range(tensor, *ends)
    pathlib.Path(output).write_bytes(flatbuffer.packed(content))


def ranges_in(path):
    """Return the ranges that a calibrated file notes, dict of tensor name to `min` and `max`, as litert-quantizer has.

    Args:
        path: str or path.
    """
    graph = flatbuffer.opened(pathlib.Path(path).read_bytes()).subgraphs[0]
    noted = [(tensor.name.decode(), tensor.quantization) for tensor in graph.tensors]
    return {
        name: {"min": np.float32(quantization.min[0]), "max": np.float32(quantization.max[0])}
        for name, quantization in noted
        if quantization is not None and quantization.min is not None and len(quantization.min)
    }


def _ranges(path, model, inputs, share):
    """Return pairs of a tensor and the `Range` of its values when the file runs on the data."""
    interpreter, details = _interpreter(path)
    count = len(next(iter(inputs.values())))
    tensors = model.subgraphs[0].tensors
    computed = [
        (index, tensors[index], Range(count * math.prod(detail["shape"]), share))
        for index, detail in enumerate(interpreter.get_tensor_details()[: len(tensors)])
        if detail["dtype"] is np.float32 and not flatbuffer.is_constant(model, tensors[index])
    ]
    for row in range(count):
        for name, detail in details.items():
            interpreter.set_tensor(detail["index"], inputs[name][row : row + 1])
        interpreter.invoke()
        for index, _, seen in computed:
            # What a loop gives and nothing reads has no memory, and no range.
            with contextlib.suppress(ValueError):
                seen.add(interpreter.get_tensor(index).ravel().copy())
    return [(tensor, seen) for _, tensor, seen in computed]


def _interpreter(path):
    """Return an interpreter in which no operator overwrites a tensor, and the details of its inputs."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_signature_runner("serving_default").get_input_details()
