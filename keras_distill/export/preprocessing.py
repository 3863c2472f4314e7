"""Preprocessing as part of the file: what a camera gives goes in, probabilities come out."""

import dataclasses
import math
import re

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.export import signature
from keras_distill.losses import heads

_DTYPES = ("uint8", "int32", "float32")


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How raw values, as of a camera, become what the student was trained on: `(raw * scale + offset - mean) / std`.

    In the graph by default, so that whoever uses the file feeds raw values and cannot get it wrong; calibration and
    evaluation data are then raw values too. With `in_graph=False` the student stays as it is, and the file's metadata
    and its model card say what has to be done before it.

    Args:
        input_dtype: str, dtype of the raw values: `"uint8"`, `"int32"` or `"float32"`. Defaults to `"uint8"`.
        scale: float. Defaults to 1 / 255, which makes bytes numbers from 0 to 1.
        offset: float. Defaults to 0.
        mean: float, or a sequence of one per channel, of the scaled values. Defaults to 0.
        std: float, or a sequence of one per channel, of the scaled values. Defaults to 1.
        softmax: bool, or names of outputs, whether class scores become probabilities; nothing is added to outputs
            that are probabilities already. Defaults to True, all outputs.
        in_graph: bool. Defaults to True.

    Raises:
        ValueError: if a number is not finite, not positive where it has to be, or a dtype is none of those above.

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
    mean: float | tuple = 0.0
    std: float | tuple = 1.0
    softmax: bool | tuple = True
    in_graph: bool = True

    def __post_init__(self):
        if self.input_dtype not in _DTYPES:
            raise ValueError(expected(f"input_dtype to be one of {', '.join(_DTYPES)}", repr(self.input_dtype)))
        for name in ("scale", "offset", "mean", "std"):
            object.__setattr__(self, name, _numbers(getattr(self, name), name, name in ("scale", "std")))
        for name in ("scale", "offset"):
            if len(getattr(self, name)) != 1:
                fix = "Numbers per channel belong into mean and std."
                raise ValueError(expected(f"{name} of a Preprocessing to be one number", getattr(self, name), fix))
            object.__setattr__(self, name, getattr(self, name)[0])
        if not isinstance(self.softmax, bool):
            names = (self.softmax,) if isinstance(self.softmax, str) else tuple(self.softmax)
            object.__setattr__(self, "softmax", names)

    def affine(self, channels):
        """Return the factor and the summand that say the same, two arrays, of one number or one per channel.

        Args:
            channels: int or None, size of the input's last axis.

        Raises:
            ValueError: if there are numbers for another count of channels.
        """
        for name in ("mean", "std"):
            count = len(getattr(self, name))
            if count not in (1, channels):
                raise ValueError(expected(f"{name} of a Preprocessing for {channels} channels, or one number", count))
        mean, std = np.array(self.mean), np.array(self.std)
        factor, summand = np.broadcast_arrays(self.scale / std, (self.offset - mean) / std)
        return factor, summand

    def to_dict(self):
        """Return it as JSON types; `feed` has the mean and std of raw values that say the same."""
        steps = {name: getattr(self, name) for name in ("input_dtype", "scale", "offset", "in_graph")}
        mean, std = np.broadcast_arrays(np.array(self.mean), np.array(self.std))
        feed = {"mean": ((mean - self.offset) / self.scale).tolist(), "std": (std / self.scale).tolist()}
        return steps | {"mean": list(self.mean), "std": list(self.std), "feed": feed}


def by_input(preprocessing, inputs):
    """Return the `Preprocessing` of each input that has one.

    Args:
        preprocessing: None; a `Preprocessing`, for a student of one input; or a dict by input name.
        inputs: tuple of `signature.Tensor`.

    Returns:
        dict of str, the input's name in the files, to `Preprocessing`.

    Raises:
        TypeError: if it is of another kind.
        ValueError: if a name is of no input, or numbers are for another count of channels.
    """
    names = ", ".join(tensor.keras_name for tensor in inputs)
    if preprocessing is None:
        return {}
    if isinstance(preprocessing, Preprocessing):
        if len(inputs) != 1:
            raise ValueError(expected(f"preprocessing to be a dict by input ({names})", "one Preprocessing"))
        preprocessing = {inputs[0].keras_name: preprocessing}
    keyed = {key: tensor for tensor in inputs for key in (tensor.keras_name, tensor.name)}
    for name, step in dict(preprocessing).items():
        if name not in keyed:
            raise ValueError(expected(f"preprocessing of the inputs {names}", repr(name)))
        if not isinstance(step, Preprocessing):
            raise TypeError(expected(f"preprocessing of input {name!r} to be a Preprocessing", type(step).__name__))
        step.affine(keyed[name].shape[-1])
    return {keyed[name].name: step for name, step in preprocessing.items()}


def wrap(student, preprocessing):
    """Return a student that takes raw values and gives probabilities; names of inputs and outputs stay.

    Args:
        student: built Functional or Sequential `keras.Model` of float32.
        preprocessing: as `by_input` takes it.

    Returns:
        float32 `keras.Model` that shares the student's weights; the student itself if nothing is to be in the graph.

    Raises:
        ValueError: if the student does not say its inputs, takes integers where it is to be given numbers, or softmax
            is asked of an output that is no class scores.

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
        raise ValueError(
            expected("a Functional or Sequential student, to put preprocessing before it", student.name, fix)
        )
    structure, tensors = signature.inputs_of(student, None)
    steps = {name: step for name, step in by_input(preprocessing, tensors).items() if step.in_graph}
    if not steps:
        return student
    placeholders = [_placeholder(tensor, steps.get(tensor.name)) for tensor in tensors]
    values = [_normalised(value, steps.get(tensor.name)) for tensor, value in zip(tensors, placeholders, strict=True)]
    answer = _renamed(student, structure)(keras.tree.pack_sequence_as(structure, values))
    outputs = signature.outputs_of(student, answer)
    wanted = _wanted([step.softmax for step in steps.values()], outputs)
    kinds = _kinds(student, structure) if wanted else [None] * len(outputs)
    ends = [
        _end(value, output, kind, output.name in wanted)
        for value, output, kind in zip(keras.tree.flatten(answer), outputs, kinds, strict=True)
    ]
    return keras.Model(
        keras.tree.pack_sequence_as(structure, placeholders),
        keras.tree.pack_sequence_as(answer, ends),
        name=f"{student.name}_with_preprocessing",
    )


def _numbers(value, name, positive):
    try:
        numbers = tuple(float(number) for number in np.atleast_1d(np.asarray(value, float)).ravel())
    except (TypeError, ValueError) as error:
        raise ValueError(expected(f"{name} of a Preprocessing to be numbers", repr(value))) from error
    if not numbers or not all(map(math.isfinite, numbers)) or (positive and min(numbers) <= 0):
        raise ValueError(
            expected(f"{name} of a Preprocessing to be {'positive' if positive else 'finite'} numbers", numbers)
        )
    return numbers


def _renamed(student, structure):
    """Return the same model under a name that none of its outputs has, as a layer here must not have."""
    answer = student.outputs[0] if isinstance(student, keras.Sequential) else student.output
    return keras.Model(structure, answer, name=f"{student.name}_without_preprocessing")


def _placeholder(tensor, step):
    if step is not None and "float" not in tensor.dtype:
        fix = "Leave this input out: the student takes what a camera gives already."
        raise ValueError(expected(f"input {tensor.keras_name!r} of the student to be of floats", tensor.dtype, fix))
    return keras.Input(tensor.shape[1:], name=tensor.keras_name, dtype=step.input_dtype if step else tensor.dtype)


def _normalised(value, step):
    if step is None:
        return value
    factor, summand = (array.tolist() for array in step.affine(value.shape[-1]))
    factor, summand = (numbers[0] if len(set(numbers)) == 1 else numbers for numbers in (factor, summand))
    # Whatever the global policy: files compute in float32.
    return keras.layers.Rescaling(factor, summand, dtype="float32")(value)


def _wanted(softmax, outputs):
    """Return the names of the outputs that are to be probabilities."""
    if any(wish is True for wish in softmax):
        return {output.name for output in outputs}
    keyed = {key: output.name for output in outputs for key in (output.keras_name, output.name)}
    names = [name for wish in softmax if wish for name in wish]
    for name in names:
        if name not in keyed:
            raise ValueError(expected(f"softmax to name outputs of {', '.join(keyed)}", repr(name)))
    return {keyed[name] for name in names}


def _kinds(student, structure):
    """Return how each output ends, as `losses.heads` tells it, and whether its values are probabilities anyway."""
    import tensorflow as tf

    kinds = []

    def trace(*leaves):
        answer = student(keras.tree.pack_sequence_as(structure, list(leaves)), training=False)
        kinds.extend(heads.head_of(output)[0] for output in keras.tree.flatten(answer))
        return keras.tree.flatten(answer)

    leaves = keras.tree.flatten(structure)
    traced = tf.function(trace).get_concrete_function(*[tf.TensorSpec(leaf.shape, leaf.dtype) for leaf in leaves])
    if all(size is not None for leaf in leaves for size in leaf.shape[1:]):
        generator = np.random.default_rng(0)
        sample = [tf.constant(generator.normal(size=(4, *leaf.shape[1:])), leaf.dtype) for leaf in leaves]
        for place, output in enumerate(traced(*sample)):
            if kinds[place] == "linear" and output.shape.rank > 1 and output.shape[-1] > 1:
                kinds[place] = "probabilities" if bool(heads.rows_are_probabilities(output)) else "linear"
    return kinds


def _end(value, output, kind, wanted):
    """Return the last tensor of an output: under its old name, and a probability if that is wanted."""
    # A name that Keras made up was replaced; as the name of another kind of layer it would pass for a given one.
    name = output.name if re.fullmatch(r"output_\d+", output.name) else output.keras_name
    if not wanted or kind in ("softmax", "probabilities"):
        return keras.layers.Identity(name=name, dtype="float32")(value)
    if kind == "sigmoid" or len(output.shape) < 2 or output.shape[-1] in (None, 1):
        received = f"output {output.keras_name!r} of shape {output.shape}" + " under a sigmoid" * (kind == "sigmoid")
        fix = "Pass softmax=False, or the names of the outputs that are."
        raise ValueError(expected("class scores, to make probabilities of", received, fix))
    return keras.layers.Activation("softmax", name=name, dtype="float32")(value)
