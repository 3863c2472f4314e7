"""What goes into a student and what comes out: names, shapes, dtypes, and the way from names to Keras's structures."""

import dataclasses
import keyword
import re

import keras

from keras_distill._core.messages import expected

# Names that Keras makes up count upwards within a process; the next run's file would have other ones.
_MADE_UP_INPUT = re.compile(r"(keras_tensor|input_layer)(_\d+)?")


@dataclasses.dataclass(frozen=True)
class Tensor:
    """One input or output.

    Attributes:
        name: str, its name in the artefacts; a valid identifier, as signatures demand.
        keras_name: str, what Keras calls it; users may name their data so too.
        shape: tuple, batch first; None where the size is free.
        dtype: str.
    """

    name: str
    keras_name: str
    shape: tuple
    dtype: str

    def to_dict(self):
        """Return name, shape and dtype as JSON types."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype}


@dataclasses.dataclass(frozen=True)
class Signature:
    """The inputs and outputs of a student.

    Attributes:
        inputs: tuple of `Tensor`, in Keras's flat order.
        outputs: tuple of `Tensor`, in Keras's flat order.
        structure: nested structure that the student takes, its leaves of no importance.
        example_shapes: dict of str to tuple, the shape of one sample of each input, batch 1, with no None.
    """

    inputs: tuple
    outputs: tuple
    structure: object
    example_shapes: dict

    def call(self, model, inputs):
        """Run `model` on a dict of named inputs, in inference mode; return a dict of named outputs."""
        flat = [inputs[tensor.name] for tensor in self.inputs]
        outputs = model(keras.tree.pack_sequence_as(self.structure, flat), training=False)
        names = [tensor.name for tensor in self.outputs]
        return dict(zip(names, keras.tree.flatten(outputs), strict=True))


def inputs_of(student, example):
    """Read a student's inputs.

    Functional and Sequential models say them; the inputs of a subclassed model are those of the example.

    Args:
        student: built `keras.Model`.
        example: nested structure of arrays, one batch as the user gave it.

    Returns:
        tuple of the structure the student takes, and a tuple of `Tensor`.
    """
    structure = _structure(student, example)
    tensors = []
    for position, (path, leaf) in enumerate(keras.tree.flatten_with_path(structure)):
        keras_name = path[-1] if path and isinstance(path[-1], str) else getattr(leaf, "name", f"input_{position}")
        name = f"input_{position}" if _MADE_UP_INPUT.fullmatch(keras_name) else _identifier(keras_name)
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        # Data comes as float64 or int64 where the student, being of no declared dtype, computes in Keras's defaults.
        if structure is example:
            dtype = {"float64": "float32", "int64": "int32"}.get(dtype, dtype)
        tensors.append(Tensor(name, keras_name, (None, *leaf.shape[1:]), dtype))
    return structure, _distinct(tensors)


def _structure(student, example):
    if not _is_functional(student):
        return example
    # A Sequential model knows its input as `inputs` only, until it has been called.
    return student.inputs[0] if isinstance(student, keras.Sequential) else student.input


def signature_of(student, structure, inputs, example):
    """Complete a student's signature by running it on one sample.

    Args:
        student: built `keras.Model`.
        structure: as `inputs_of` returns it.
        inputs: tuple of `Tensor`.
        example: dict of input name to array, one batch.

    Returns:
        `Signature`.
    """
    sample = [example[tensor.name][:1] for tensor in inputs]
    answer = student(keras.tree.pack_sequence_as(structure, sample), training=False)
    # A static file needs a number where the student leaves a size free: the data's.
    shapes = {tensor.name: array.shape for tensor, array in zip(inputs, sample, strict=True)}
    return Signature(inputs, outputs_of(student, answer), structure, shapes)


def pinned(signature, input_spec=None):
    """Return the signature with a number in the place of every free size but the batch's, as small runtimes need it.

    Args:
        signature: `Signature`.
        input_spec: None, to take the sizes of the data; or the shape of one sample, without the batch (a
            `keras.InputSpec` or `tf.TensorSpec` with it), or a list or dict of these by input.

    Returns:
        `Signature`.

    Raises:
        ValueError: if names, ranks or sizes do not fit the student's inputs.

    Example:
        >>> words = Tensor("words", "words", (None, None), "int32")
        >>> free = Signature((words,), (), None, {"words": (1, 7)})
        >>> pinned(free).inputs[0].shape, pinned(free, (12,)).example_shapes
        ((None, 7), {'words': (1, 12)})
    """
    shapes = {name: shape[1:] for name, shape in signature.example_shapes.items()} | _asked(
        input_spec, signature.inputs
    )
    inputs = tuple(dataclasses.replace(tensor, shape=(None, *shapes[tensor.name])) for tensor in signature.inputs)
    return dataclasses.replace(
        signature, inputs=inputs, example_shapes={name: (1, *shape) for name, shape in shapes.items()}
    )


def _asked(input_spec, inputs):
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
        pairs = zip(inputs, specs, strict=True)
    return {tensor.name: _sizes(spec, tensor) for tensor, spec in pairs}


def _sizes(spec, tensor):
    shape = tuple(spec.shape)[1:] if hasattr(spec, "shape") else tuple(spec)
    fits = len(shape) == len(tensor.shape) - 1 and all(
        isinstance(size, int) and size > 0 and declared in (None, size)
        for size, declared in zip(shape, tensor.shape[1:], strict=True)
    )
    if not fits:
        wanted = f"input_spec of {tensor.keras_name!r} to be sizes that fit {tensor.shape[1:]}"
        raise ValueError(expected(wanted, shape, "The batch is left out, and no size is None."))
    return shape


def outputs_of(student, answer):
    """Return a tuple of `Tensor`, the outputs of a student that gave this answer."""
    declared = keras.tree.flatten(student.outputs) if _is_functional(student) else keras.tree.flatten(answer)
    given = _given_output_names(student)
    tensors = []
    for position, (path, leaf) in enumerate(keras.tree.flatten_with_path(answer)):
        keras_name = path[-1] if path and isinstance(path[-1], str) else given.get(position, f"output_{position}")
        shape = (None, *declared[position].shape[1:])
        dtype = keras.backend.standardize_dtype(leaf.dtype)
        name = f"output_{position}" if _made_up(student, keras_name) else _identifier(keras_name)
        tensors.append(Tensor(name, keras_name, shape, dtype))
    return _distinct(tensors)


def _is_functional(student):
    """Say whether the student knows its own inputs and outputs."""
    return bool(getattr(student, "inputs", None)) and bool(getattr(student, "outputs", None))


def _given_output_names(student):
    if isinstance(student, keras.Sequential):
        return {0: student.layers[-1].name}
    return dict(enumerate(getattr(student, "output_names", None) or ()))


def _made_up(student, layer_name):
    """Say whether Keras named this layer after its class, as `dense_7`, a name that the next run would not repeat."""
    layer = next((layer for layer in student.layers if layer.name == layer_name), None)
    if layer is None:
        return False
    snake = re.sub(r"([a-z0-9])([A-Z])", r"\1_\2", re.sub(r"(.)([A-Z][a-z]+)", r"\1_\2", type(layer).__name__)).lower()
    return re.fullmatch(rf"{re.escape(snake)}(_\d+)?", layer_name) is not None


def _identifier(name):
    name = re.sub(r"\W", "_", name, flags=re.ASCII)
    # Signatures are called with their inputs as keyword arguments.
    name = f"{name}_" if keyword.iskeyword(name) else name
    return f"_{name}" if name[:1].isdigit() else name


def _distinct(tensors):
    """Number names that came out alike, as when one layer is called twice."""
    taken, distinct = set(), []
    for tensor in tensors:
        name, count = tensor.name, 1
        while name in taken:
            name, count = f"{tensor.name}_{count}", count + 1
        taken.add(name)
        distinct.append(dataclasses.replace(tensor, name=name))
    return tuple(distinct)
