"""Running a model once on symbolic inputs, which computes nothing and tells every shape."""

import keras

from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill._core.watching import watching

_IMAGE_SIDE = 224
"""Stands in for the sides of images that a model takes in any size."""


class _Symbolic(keras.Operation):
    """A function of tensors, to be run in a scratch graph by `compute_output_spec`."""

    def __init__(self, function):
        super().__init__()
        self.call = function


def check_built(model, role, what):
    """Raise a `ValueError` unless a model is built.

    Args:
        model: A `keras.Model`.
        role: What the message calls it.
        what: What is to be taken from it, in words.
    """
    if not model.built:
        received = f"{type(model).__name__} named {model.name!r} that is not built"
        raise ValueError(expected(f"a built {role} to take {what} from", received, "Call it once on a batch."))


def trace(model, methods, training=False, sized=False):
    """Run a model once on symbolic inputs, and watch some of its layers.

    Args:
        model: A built `keras.Model`.
        methods: List of `(layer, name)` to watch, see `watching`.
        training: Whether it is for training. Defaults to `False`.
        sized: Whether images of unknown size are given one. Defaults to `False`.

    Returns:
        The final output and the list of events, of symbolic tensors.

    Raises:
        ValueError: If the model cannot be run symbolically, or does not say what it takes.
    """
    failure = None
    for inputs in _symbolic_inputs(model):
        traced = []

        def forward(x, traced=traced):
            with watching(methods) as events:
                traced.extend([run(model, x, training), events])

        try:
            _Symbolic(forward).compute_output_spec(keras.tree.map_structure(_with_sides, inputs) if sized else inputs)
        except Exception as error:
            failure = error
        else:
            return tuple(traced)
    fix = f"It raised {type(failure).__name__}: {failure}" if failure else "Call it once on one batch of inputs."
    raise ValueError(expected("a model that runs on symbolic inputs", repr(model.name), fix)) from failure


def shapes_of(outputs):
    """Return the static shape of a tensor, or a nest of them, with `None` for the batch and unknown lengths."""
    return keras.tree.map_structure(_shape_of, outputs)


def leaks(feature, output):
    """Tell whether a tensor is of a loop or function inside the model, and so is nothing outside it."""
    graphs = [getattr(each, "graph", None) for each in keras.tree.flatten(output)]
    inner = [getattr(each, "graph", None) for each in keras.tree.flatten(feature)]
    return any(graph is not None and not any(graph is outer for outer in graphs) for graph in inner)


def _shape_of(output):
    shape = getattr(output, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return (None, *tuple(shape)[1:]) if len(shape) else ()


def _symbolic_inputs(model):
    """Yield what a model may be called on: its own symbolic inputs, or some of the shapes that it was built for."""
    if getattr(model, "inputs", None):
        # The very structure that the model takes: a single tensor is no list of one.
        single = len(model.inputs) == 1 and (isinstance(model, keras.Sequential) or not hasattr(model, "input"))
        yield model.inputs[0] if single else getattr(model, "input", model.inputs)
        return
    shapes = (model.get_build_config() or {}).get("input_shape")
    for dtype in (model.input_dtype, "int32") if shapes else ():  # A model of tokens does not say so.
        yield keras.tree.map_shape_structure(
            lambda shape, dtype=dtype: keras.KerasTensor((None, *shape[1:]), dtype), shapes
        )


def _with_sides(tensor):
    if len(tensor.shape) != 4:
        return tensor
    batch, *sides, channels = tensor.shape
    return keras.KerasTensor((batch, *(side or _IMAGE_SIDE for side in sides), channels), tensor.dtype)
