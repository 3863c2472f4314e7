"""Measuring the ranges of a float TFLite file's tensors over data, and recording them in a copy of the file.

TensorFlow's own calibration is not used: in larger graphs it records ranges that the tensors do not have (sigmoids with
minima below zero), probably because it reads them after operators that work in place have overwritten them.
"""

import collections
import contextlib
import math
import os
import pathlib
from typing import Any

import numpy as np

from keras_distill._core.messages import unknown_name
from keras_distill.export import arrays
from keras_distill.export.conversion.masking import GAP, Masks, hide
from keras_distill.export.tflite import flatbuffer

METHODS = {"min_max": 1.0, "percentile": 0.9999}
"""Method to the share of a tensor's values that lies below the end of its range, and above its start."""

_CHOOSING = frozenset({"MAXIMUM", "MINIMUM", "SELECT", "SELECT_V2"})


def check_method(name: str) -> str:
    """Return the name of a calibration method; raise a `ValueError` if it is not in `METHODS`."""
    # Not `check_choice`, which imports Keras: this file runs in a process without it.
    if not isinstance(name, str) or name not in METHODS:
        raise ValueError(unknown_name("calibration", name, METHODS))
    return name


class Range:
    """The range of a tensor's values, which arrive in parts; only the values at both ends are kept.

    Args:
        count: Largest number of values to come.
        share: Share of the values that lies on the inner side of each end.
        limit: Number below which values are masks, see `masking`, which are not in the range. Defaults to minus
            infinity.

    Attributes:
        masked: Whether there were masks.

    Example:
        >>> seen = Range(count=1001, share=0.99)
        >>> for part in np.split(np.arange(1001.0), 7):
        ...     seen.add(part)
        >>> [round(float(end), 6) for end in seen.ends()]
        [10.0, 990.0]
    """

    def __init__(self, count: int, share: float, limit: float = -math.inf):
        self._share, self._seen, self._limit = share, 0, limit
        self.masked, self._least = False, math.inf
        self._kept = math.floor((count - 1) * (1 - share)) + 2
        self._low = self._high = np.empty(0, np.float32)

    def add(self, values: np.ndarray) -> None:
        """Add values; those that are not finite are ignored."""
        values, masked, least = hide(values, self._limit)
        self.masked, self._least = self.masked or masked, min(self._least, least)
        self._seen += values.size
        self._low = self._keep_smallest(np.concatenate([self._low, values]))
        self._high = -self._keep_smallest(-np.concatenate([self._high, values]))

    def ends(self) -> tuple[Any, Any] | None:
        """Return both ends, each a quantile, or `None` if there were no values."""
        if not self._seen:
            return None if math.isinf(self._least) else (self._least, self._least)
        place = (self._seen - 1) * (1 - self._share)
        places = np.arange(len(self._low))
        low = np.interp(place, places, np.sort(self._low))
        if self.masked and low <= self._limit / GAP:
            low = np.float64(self._least)  # Numbers of every size are no masks.
        return low, -np.interp(place, places, np.sort(-self._high))

    def _keep_smallest(self, values: np.ndarray) -> np.ndarray:
        return np.partition(values, self._kept - 1)[: self._kept] if len(values) > self._kept else values


def calibrate(model: str | os.PathLike, samples: str | os.PathLike, method: str, output: str | os.PathLike) -> None:
    """Copy a float TFLite file and record the range of every tensor in the copy.

    Args:
        model: The float file.
        samples: An `.npz` file of one array per input, samples first, as `arrays.save` writes it.
        method: Name in `METHODS`.
        output: File to write.
    """
    share = METHODS[check_method(method)]
    content = flatbuffer.load_model(model)
    masks = Masks(content)
    found = _measure(model, content, arrays.load(samples), share, masks)
    ranges = {index: ends for index, seen in found.items() if (ends := seen.ends())}
    ranges = masks.replace(ranges, {index for index, seen in found.items() if seen.masked})
    for index, ends in _widen_choices(content, ranges).items():
        flatbuffer.set_range(content.subgraphs[0].tensors[index], *sorted(masks.signs[index] * end for end in ends))
    pathlib.Path(output).write_bytes(flatbuffer.serialize(content))


def read_ranges(path: str | os.PathLike) -> dict[str, dict[str, np.float32]]:
    """Return the ranges in a calibrated file: tensor name to `min` and `max`, as litert-quantizer takes them."""
    graph = flatbuffer.load_model(path).subgraphs[0]
    recorded = [(tensor.name.decode(), tensor.quantization) for tensor in graph.tensors]
    return {
        name: {"min": np.float32(quantization.min[0]), "max": np.float32(quantization.max[0])}
        for name, quantization in recorded
        if quantization is not None and quantization.min is not None and len(quantization.min)
    }


def _widen_choices(model: Any, ranges: dict[int, tuple[Any, Any]]) -> dict[int, tuple[Any, Any]]:
    """Return the ranges, where what is chosen from covers what it is chosen for.

    TensorFlow's quantizer gives the inputs of these operators the range of the output. That cuts off an input that
    another operator reads too, such as `x` in `where(x > 0, x, 0.3 * x)`.
    """
    graph, widened = model.subgraphs[0], dict(ranges)
    readers = collections.Counter(index for operator in graph.operators for index in operator.inputs)
    for operator in reversed(graph.operators):
        if flatbuffer.name_operator(model.operatorCodes[operator.opcodeIndex]) in _CHOOSING:
            output = operator.outputs[0]
            shared = [index for index in operator.inputs if index in widened and readers[index] > 1]
            if output in widened and shared:
                ends = [widened[index] for index in (output, *shared)]
                widened[output] = min(low for low, _ in ends), max(high for _, high in ends)
    return widened


def _measure(
    path: str | os.PathLike, model: Any, inputs: arrays.Arrays, share: float, masks: Masks
) -> dict[int, Range]:
    """Return the `Range` of each tensor's values, times its sign, by index, when the file runs on the data."""
    interpreter, details = _open(path)
    count = len(next(iter(inputs.values())))
    tensors = model.subgraphs[0].tensors
    computed = {
        index: Range(count * math.prod(detail["shape"]), share, masks.limits[index])
        for index, detail in enumerate(interpreter.get_tensor_details()[: len(tensors)])
        if detail["dtype"] is np.float32 and not flatbuffer.is_constant(model, tensors[index])
    }
    for row in range(count):
        for name, detail in details.items():
            interpreter.set_tensor(detail["index"], inputs[name][row : row + 1])
        interpreter.invoke()
        for index, seen in computed.items():
            # The output of a loop that nothing reads has no memory, and no range.
            with contextlib.suppress(ValueError):
                seen.add(masks.signs[index] * interpreter.get_tensor(index).ravel())
    return computed


def _open(path: str | os.PathLike) -> tuple[Any, dict[str, dict]]:
    """Return an interpreter in which no operator overwrites a tensor, and the details of its inputs."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    interpreter = Interpreter(
        model_path=str(path),
        experimental_preserve_all_tensors=True,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    return interpreter, interpreter.get_signature_runner("serving_default").get_input_details()
