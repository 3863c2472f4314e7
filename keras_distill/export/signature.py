"""The inputs and outputs of a student: names, shapes, dtypes, and the mapping from names to Keras's structures."""

import dataclasses
import keyword
import re
from typing import Any

import keras

from keras_distill._core.checks import check_items
from keras_distill._core.messages import expected

# Keras numbers the names that it makes up within a process, so the next run would write other names.
_MADE_UP_INPUT = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        name: Its name in the files, a valid identifier as signatures require.
        keras_name: Its name in Keras, which users may use in their data too.
        shape: Shape with the batch first; `None` where the size is free.
        dtype: Its dtype.
    """

    name: str
    keras_name: str
    shape: tuple[Any, ...]
    dtype: str

    def to_dict(self) -> dict[str, Any]:
        """Return name, shape and dtype as JSON types."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a student.

    Attributes:
        inputs: Inputs in Keras's flat order.
        outputs: Outputs in Keras's flat order.
        structure: Nested structure that the student takes; its leaves are ignored.
        example_shapes: Dict of input name to the shape of one sample, with batch 1 and without free sizes.
    """

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    structure: Any
    example_shapes: dict[str, tuple]

    def call(self, model: Any, inputs: dict[str, Any]) -> dict[str, Any]:
        """Run a model on a dict of named inputs, in inference mode, and return a dict of named outputs."""
        flat = [inputs[tensor.name] for tensor in self.inputs]
        outputs = model(keras.tree.pack_sequence_as(self.structure, flat), training=False)
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, keras.tree.flatten(outputs), strict=True))


def read_inputs(student: Any, example: Any) -> tuple[Any, tuple[Tensor, ...]]:
    """Return the structure that a student takes, and its inputs.

    Functional and Sequential models declare their inputs; those of a subclassed model are taken from the example.

    Args:
        student: Built `keras.Model`.
        example: Nested structure of arrays, one batch as the user gave it.
    """
    structure = _read_structure(student, example)
    tensors = []
    for position, (path, leaf) in enumerate(keras.tree.flatten_with_path(structure)):
        keras_name = path[-1] if path and isinstance(path[-1], str) else getattr(leaf, "name", f"input_{position}")
        name = f"input_{position}" if _MADE_UP_INPUT.fullmatch(keras_name) else _make_identifier(keras_name)
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        # The data may be float64 or int64, while a student without declared dtypes computes in Keras's defaults.
        if structure is example:
            dtype = {"float64": "float32", "int64": "int32"}.get(dtype, dtype)
        tensors.append(Tensor(name, keras_name, (None, *leaf.shape[1:]), dtype))
    return structure, _make_distinct(tensors)


def _read_structure(student: Any, example: Any) -> Any:
    if not _is_functional(student):
        return example
    # Until it has been called, a Sequential model has `inputs` but no `input`.
    return student.inputs[0] if isinstance(student, keras.Sequential) else student.input


def read_signature(student: Any, structure: Any, inputs: tuple[Tensor, ...], example: dict[str, Any]) -> Signature:
    """Return the signature of a student, whose outputs are found by running it on one sample.

    Args:
        student: Built `keras.Model`.
        structure: Structure that `read_inputs` returned.
        inputs: Inputs that `read_inputs` returned.
        example: Dict of input name to array, one batch.
    """
    sample = [example[tensor.name][:1] for tensor in inputs]
    answer = student(keras.tree.pack_sequence_as(structure, sample), training=False)
    # A file of static shapes takes the sizes of the data where the student leaves them free.
    shapes = {tensor.name: array.shape for tensor, array in zip(inputs, sample, strict=True)}
    return Signature(inputs, read_outputs(student, answer), structure, shapes)


def fix_sizes(signature: Signature, input_spec: Any = None) -> Signature:
    """Return the signature with a number for every free size except the batch, as small runtimes require.

    Args:
        signature: `Signature` of a student.
        input_spec: `None`, to take the sizes of the data; or the shape of one sample, without the batch (a
            `keras.InputSpec` or `tf.TensorSpec` with it), or a list or dict of these by input. Defaults to `None`.

    Raises:
        ValueError: If names, ranks or sizes do not fit the student's inputs.

    Example:
        >>> words = Tensor("words", "words", (None, None), "int32")
        >>> free = Signature((words,), (), None, {"words": (1, 7)})
        >>> fix_sizes(free).inputs[0].shape, fix_sizes(free, (12,)).example_shapes
        ((None, 7), {'words': (1, 12)})
    """
    shapes = {name: shape[1:] for name, shape in signature.example_shapes.items()}
    shapes |= _read_input_spec(input_spec, signature.inputs)
    inputs = tuple(dataclasses.replace(tensor, shape=(None, *shapes[tensor.name])) for tensor in signature.inputs)
    examples = {name: (1, *shape) for name, shape in shapes.items()}
    return dataclasses.replace(signature, inputs=inputs, example_shapes=examples)


def _read_input_spec(input_spec: Any, inputs: tuple[Tensor, ...]) -> dict[str, tuple]:
    """Return the shapes of an `input_spec` by input name."""
    if input_spec is None:
        return {}
    if isinstance(input_spec, dict):
        keyed = {key: tensor for tensor in inputs for key in (tensor.keras_name, tensor.name)}
        if unknown := sorted(set(input_spec) - set(keyed)):
            wanted = f"input_spec to name inputs of {', '.join(tensor.keras_name for tensor in inputs)}"
            raise ValueError(expected(wanted, ", ".join(unknown)))
        pairs = [(keyed[name], spec) for name, spec in input_spec.items()]
    else:
        several = isinstance(input_spec, list) and not all(isinstance(size, int) for size in input_spec)
        specs = input_spec if several else [input_spec]
        if len(specs) != len(inputs):
            raise ValueError(expected(f"input_spec of {len(inputs)} inputs", f"{len(specs)} shapes"))
        pairs = list(zip(inputs, specs, strict=True))
    return {tensor.name: _read_sizes(spec, tensor) for tensor, spec in pairs}


def _read_sizes(spec: Any, tensor: Tensor) -> tuple[int, ...]:
    shape = tuple(spec.shape)[1:] if hasattr(spec, "shape") else tuple(check_items("input_spec", spec, "sizes"))
    fits = len(shape) == len(tensor.shape) - 1 and all(
        isinstance(size, int) and size > 0 and declared in (None, size)
        for size, declared in zip(shape, tensor.shape[1:], strict=True)
    )
    if not fits:
        wanted = f"input_spec of {tensor.keras_name!r} to be sizes that fit {tensor.shape[1:]}"
        raise ValueError(expected(wanted, shape, "Leave out the batch, and give a number for every size."))
    return shape


def read_outputs(student: Any, answer: Any) -> tuple[Tensor, ...]:
    """Return the outputs of a student, given its answer to a batch."""
    declared = keras.tree.flatten(student.outputs) if _is_functional(student) else keras.tree.flatten(answer)
    given = _read_output_names(student)
    tensors = []
    for position, (path, leaf) in enumerate(keras.tree.flatten_with_path(answer)):
        keras_name = path[-1] if path and isinstance(path[-1], str) else given.get(position, f"output_{position}")
        shape = (None, *declared[position].shape[1:])
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        name = f"output_{position}" if _is_made_up(student, keras_name) else _make_identifier(keras_name)
        tensors.append(Tensor(name, keras_name, shape, dtype))
    return _make_distinct(tensors)


def _is_functional(student: Any) -> bool:
    """Return whether the student declares its inputs and outputs."""
    return bool(getattr(student, "inputs", None)) and bool(getattr(student, "outputs", None))


def _read_output_names(student: Any) -> dict[int, str]:
    if isinstance(student, keras.Sequential):
        return {0: student.layers[-1].name}
    return dict(enumerate(getattr(student, "output_names", None) or ()))


def _is_made_up(student: Any, layer_name: str) -> bool:
    """Return whether Keras named this layer after its class, such as `dense_7`; the next run would not repeat it."""
    layer = next((layer for layer in student.layers if layer.name == layer_name), None)
    if layer is None:
        return False
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
    return re.fullmatch(rf"{re.escape(snake)}(_\d+)?", layer_name) is not None


def _make_identifier(name: str) -> str:
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    # Signatures are called with their inputs as keyword arguments.
    name = f"{name}_" if keyword.iskeyword(name) else name
    return f"_{name}" if name[:1].isdigit() else name


def _make_distinct(tensors: list[Tensor]) -> tuple[Tensor, ...]:
    """Number equal names, which occur when one layer is called twice."""
    taken: set[str] = set()
    distinct = []
    for tensor in tensors:
        name, count = tensor.name, 1
        while name in taken:
            name, count = f"{tensor.name}_{count}", count + 1
        taken.add(name)
        distinct.append(dataclasses.replace(tensor, name=name))
    return tuple(distinct)
