"""Preprocessing as part of the file, which then takes raw values, as a camera gives them, and returns probabilities."""

import dataclasses
import math
import re
from typing import Any

import keras
import numpy as np

from keras_distill._core.checks import check_choice, check_flag, check_items, check_number, check_text, is_flag, is_text
from keras_distill._core.messages import expected
from keras_distill.export.comparison.kinds import find_heads
from keras_distill.export.signature import Tensor, read_inputs, read_outputs

_DTYPES = ("uint8", "int32", "float32")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """Map raw values, such as a camera's, to the values that the student was trained on.

    The mapping is `(raw * scale + offset - mean) / std`. By default it is part of the graph, so users of the file feed
    raw values and cannot get it wrong; calibration and evaluation data are then raw values too. With `in_graph=False`
    the student stays unchanged, and the metadata and the model card of the file describe the mapping.

    Args:
        input_dtype: Dtype of the raw values: `"uint8"`, `"int32"` or `"float32"`. Defaults to `"uint8"`.
        scale: Positive factor. Defaults to 1 / 255, which maps bytes to numbers from 0 to 1.
        offset: Number to add. Defaults to 0.
        mean: Mean of the scaled values, one number or one per channel. Defaults to 0.
        std: Positive standard deviation of the scaled values, one number or one per channel. Defaults to 1.
        softmax: Whether class scores become probabilities, a bool for all outputs or the names of some. Outputs that
            are probabilities already stay unchanged. Defaults to `True`.
        in_graph: Whether the mapping is part of the graph. Defaults to `True`.

    Raises:
        ValueError: If a number is not finite, a scale is not positive, or the dtype is unknown.

    Example:
        >>> Preprocessing(mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.5)).affine(3)[0].round(4).tolist()
        [0.0157, 0.0157, 0.0078]
        >>> Preprocessing(std=0.0)
        Traceback (most recent call last):
        ValueError: Expected std of a Preprocessing to be positive numbers. Received: (0.0,).
    """

    input_dtype: str = "uint8"
    scale: float = 1 / 255
    offset: float = 0.0
    mean: Any = 0.0
    std: Any = 1.0
    softmax: Any = True
    in_graph: bool = True

    def __post_init__(self):
        check_choice("input_dtype", self.input_dtype, _DTYPES)
        check_flag("in_graph", self.in_graph)
        for name in ("scale", "offset"):
            if not isinstance(getattr(self, name), (list, tuple, np.ndarray)):
                check_number(name, getattr(self, name), -math.inf, math.inf)
        for name in ("scale", "offset", "mean", "std"):
            object.__setattr__(self, name, _check_numbers(getattr(self, name), name, name in ("scale", "std")))
        for name in ("scale", "offset"):
            if len(getattr(self, name)) != 1:
                fix = "Pass numbers per channel as mean and std."
                raise ValueError(expected(f"{name} of a Preprocessing to be one number", getattr(self, name), fix))
            object.__setattr__(self, name, getattr(self, name)[0])
        if not is_flag(self.softmax):
            what = "True, False or the names of outputs"
            names = tuple(check_items("softmax", [self.softmax] if is_text(self.softmax) else self.softmax, what))
            for name in names:
                check_text("each name in softmax", name)
            object.__setattr__(self, "softmax", names)

    def affine(self, channels: int | None) -> tuple[np.ndarray, np.ndarray]:
        """Return the mapping as a factor and a summand: two arrays, of one number or one per channel.

        Args:
            channels: Size of the input's last axis, or `None`.

        Raises:
            ValueError: If mean or std has numbers for another number of channels.
        """
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise ValueError(expected(f"{name} of a Preprocessing for {channels} channels, or one number", count))
        mean, std = np.array(self.mean), np.array(self.std)
        factor, summand = np.broadcast_arrays(self.scale / std, (self.offset - mean) / std)
        return factor, summand

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments as JSON types; `feed` expresses the mapping as mean and std of the raw values."""
        steps = {name: getattr(self, name) for name in ("input_dtype", "scale", "offset", "in_graph")}
        mean, std = np.broadcast_arrays(np.array(self.mean), np.array(self.std))
        feed = {"mean": ((mean - self.offset) / self.scale).tolist(), "std": (std / self.scale).tolist()}
        return steps | {"mean": list(self.mean), "std": list(self.std), "feed": feed}


def match_inputs(preprocessing: Any, inputs: tuple[Tensor, ...]) -> dict[str, Preprocessing]:
    """Return the `Preprocessing` of each input that has one, by the input's name in the files.

    Args:
        preprocessing: `None`; a `Preprocessing`, for a student of one input; or a dict by input name.
        inputs: Inputs of the student.

    Raises:
        TypeError: If a value is not a `Preprocessing`.
        ValueError: If a name is not that of an input, or numbers are for another number of channels.
    """
    names = ", ".join(tensor.keras_name for tensor in inputs)
    if preprocessing is None:
        return {}
    if isinstance(preprocessing, Preprocessing):
        if len(inputs) != 1:
            raise ValueError(expected(f"preprocessing to be a dict by input ({names})", "one Preprocessing"))
        preprocessing = {inputs[0].keras_name: preprocessing}
    if not isinstance(preprocessing, dict):
        received = f"preprocessing={preprocessing!r}"
        raise ValueError(expected(f"preprocessing to be a Preprocessing, or a dict by input ({names})", received))
    keyed = {key: tensor for tensor in inputs for key in (tensor.keras_name, tensor.name)}
    for name, step in preprocessing.items():
        if name not in keyed:
            raise ValueError(expected(f"preprocessing of the inputs {names}", repr(name)))
        if not isinstance(step, Preprocessing):
            raise TypeError(expected(f"preprocessing of input {name!r} to be a Preprocessing", type(step).__name__))
        step.affine(keyed[name].shape[-1])
    return {keyed[name].name: step for name, step in preprocessing.items()}


def wrap(student: Any, preprocessing: Any) -> Any:
    """Return a student that takes raw values and returns probabilities; names of inputs and outputs stay.

    Args:
        student: Built Functional or Sequential `keras.Model` of float32.
        preprocessing: `Preprocessing`, as `match_inputs` takes it.

    Returns:
        Float32 `keras.Model` that shares the student's weights; the student itself if nothing goes into the graph.

    Raises:
        ValueError: If the student does not declare its inputs, an input with preprocessing takes integers, or softmax
            is requested for an output that does not hold class scores.

    Example:
        >>> student = keras.Sequential([keras.Input((4, 4, 3), name="image"), keras.layers.Flatten(),
        ...     keras.layers.Dense(2, name="species")])
        >>> wrapped = wrap(student, Preprocessing())
        >>> wrapped.input.dtype, wrapped.input.name, wrapped.output_names
        ('uint8', 'image', ['species'])
        >>> image = np.full((1, 4, 4, 3), 255, "uint8")
        >>> bool(np.allclose(wrapped(image), keras.ops.softmax(student(image / 255.0)), atol=1e-6))
        True
    """
    if not getattr(student, "inputs", None):
        fix = "Wrap it: keras.Model(inputs, student(inputs))."
        raise ValueError(expected("a Functional or Sequential student, to add preprocessing to it", student.name, fix))
    structure, tensors = read_inputs(student, None)
    steps = {name: step for name, step in match_inputs(preprocessing, tensors).items() if step.in_graph}
    if not steps:
        return student
    placeholders = [_make_placeholder(tensor, steps.get(tensor.name)) for tensor in tensors]
    values = [_normalize(value, steps.get(tensor.name)) for tensor, value in zip(tensors, placeholders, strict=True)]
    answer = _rename(student, structure)(keras.tree.pack_sequence_as(structure, values))
    outputs = read_outputs(student, answer)
    wanted = _choose_outputs([step.softmax for step in steps.values()], outputs)
    kinds = _find_heads(student, structure) if wanted else [None] * len(outputs)
    ends = [
        _finish(value, output, kind, output.name in wanted)
        for value, output, kind in zip(keras.tree.flatten(answer), outputs, kinds, strict=True)
    ]
    return keras.Model(
        keras.tree.pack_sequence_as(structure, placeholders),
        keras.tree.pack_sequence_as(answer, ends),
        name=f"{student.name}_with_preprocessing",
    )


def _check_numbers(value: Any, name: str, positive: bool) -> tuple[float, ...]:
    try:
        numbers = tuple(float(number) for number in np.atleast_1d(np.asarray(value, float)).ravel())
    except (TypeError, ValueError) as error:
        raise ValueError(expected(f"{name} of a Preprocessing to be numbers", repr(value))) from error
    if not numbers or not all(map(math.isfinite, numbers)) or (positive and min(numbers) <= 0):
        kind = "positive" if positive else "finite"
        raise ValueError(expected(f"{name} of a Preprocessing to be {kind} numbers", numbers))
    return numbers


def _rename(student: Any, structure: Any) -> Any:
    """Return the same model under a name that differs from those of its outputs, which layers here will have."""
    answer = student.outputs[0] if isinstance(student, keras.Sequential) else student.output
    return keras.Model(structure, answer, name=f"{student.name}_without_preprocessing")


def _make_placeholder(tensor: Tensor, step: Preprocessing | None) -> Any:
    if step is not None and "float" not in tensor.dtype:
        fix = "Leave this input out: the student already takes raw values."
        raise ValueError(expected(f"input {tensor.keras_name!r} of the student to take floats", tensor.dtype, fix))
    return keras.Input(tensor.shape[1:], name=tensor.keras_name, dtype=step.input_dtype if step else tensor.dtype)


def _normalize(value: Any, step: Preprocessing | None) -> Any:
    if step is None:
        return value
    pair = (array.tolist() for array in step.affine(value.shape[-1]))
    factor, summand = (numbers[0] if len(set(numbers)) == 1 else numbers for numbers in pair)
    # Files compute in float32, whatever the global policy is.
    return keras.layers.Rescaling(factor, summand, dtype="float32")(value)


def _choose_outputs(softmax: list[Any], outputs: tuple[Tensor, ...]) -> set[str]:
    """Return the names of the outputs that shall be probabilities."""
    if any(wish is True for wish in softmax):
        return {output.name for output in outputs}
    keyed = {key: output.name for output in outputs for key in (output.keras_name, output.name)}
    names = [name for wish in softmax if wish for name in wish]
    for name in names:
        if name not in keyed:
            raise ValueError(expected(f"softmax to name outputs of {', '.join(keyed)}", repr(name)))
    return {keyed[name] for name in names}


def _find_heads(student: Any, structure: Any) -> list[str]:
    leaves = keras.tree.flatten(structure)
    generator = np.random.default_rng(0)
    sample = None
    if all(size is not None for leaf in leaves for size in leaf.shape[1:]):
        sample = [generator.normal(size=(4, *leaf.shape[1:])) for leaf in leaves]
    return find_heads(student, structure, sample)


def _finish(value: Any, output: Tensor, kind: str | None, wanted: bool) -> Any:
    """Return the last tensor of an output, under its old name, as a probability if that is wanted."""
    # A made-up name such as `dense_7` would look like a name that the user gave, on another kind of layer.
    name = output.name if re.fullmatch(r"output_\d+", output.name) else output.keras_name
    if not wanted or kind in ("softmax", "probabilities"):
        return keras.layers.Identity(name=name, dtype="float32")(value)
    if kind == "sigmoid" or len(output.shape) < 2 or output.shape[-1] in (None, 1):
        received = f"output {output.keras_name!r} of shape {output.shape}" + " under a sigmoid" * (kind == "sigmoid")
        fix = "Pass softmax=False, or the names of the outputs that hold class scores."
        raise ValueError(expected("class scores, to turn them into probabilities", received, fix))
    return keras.layers.Activation("softmax", name=name, dtype="float32")(value)
