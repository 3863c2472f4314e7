"""Run a model once on symbolic inputs, which computes only the shapes."""

from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill._core.models import run
from keras_distill._core.watching import watching

_IMAGE_SIDE = 224
"""Height and width of symbolic images for models that accept any size."""


class _Symbolic(keras.Operation):
    """A function of tensors that `compute_output_spec` runs in a scratch graph."""

    def __init__(self, function: Callable):
        super().__init__()
        self.call = function


def check_built(model: keras.Model, role: str, what: Any) -> None:
    """Raise a `ValueError` unless a model is built.

    Args:
        model: A `keras.Model`.
        role: The role of the model, for the message.
        what: What the caller takes from the model, for the message.
    """
    if not model.built:
        received = f"{type(model).__name__} named {model.name!r} that is not built"
        raise ValueError(expected(f"a built {role} to take {what} from", received, "Call it once on a batch."))


def trace(
    model: keras.Model, methods: Iterable[tuple[Any, str]], training: bool = False, sized: bool = False
) -> tuple[Any, list[Any]]:
    """Run a model once on symbolic inputs, and watch some of its layers.

    Args:
        model: A built `keras.Model`.
        methods: List of `(layer, name)` to watch, see `watching`.
        training: Whether the model runs in training mode. Defaults to `False`.
        sized: Whether to give images of unknown size a fixed one. Defaults to `False`.

    Returns:
        The final output and the list of events, both with symbolic tensors.

    Raises:
        ValueError: If the model cannot run symbolically, or its inputs are unknown.
    """
    failure = None
    for inputs in _symbolic_inputs(model):
        traced: list[Any] = []

        def forward(x: Any, traced: Any = traced) -> None:
            with watching(methods) as events:
                traced.extend([run(model, x, training), events])

        try:
            _Symbolic(forward).compute_output_spec(keras.tree.map_structure(_with_sides, inputs) if sized else inputs)
        except Exception as error:
            failure = error
        else:
            return traced[0], traced[1]
    fix = f"It raised {type(failure).__name__}: {failure}" if failure else "Call it once on one batch of inputs."
    raise ValueError(expected("a model that runs on symbolic inputs", repr(model.name), fix)) from failure


def shapes_of(outputs: Any) -> Any:
    """Return the static shape of a tensor, or a nest of them, with `None` for the batch and unknown lengths."""
    return keras.tree.map_structure(_shape_of, outputs)


def leaks(feature: Any, output: Any) -> bool:
    """Return whether a tensor belongs to a loop or function inside the model, and cannot be used outside of it."""
    graphs = [getattr(each, "graph", None) for each in keras.tree.flatten(output)]
    inner = [getattr(each, "graph", None) for each in keras.tree.flatten(feature)]
    return any(graph is not None and not any(graph is outer for outer in graphs) for graph in inner)


def _shape_of(output):
    shape = getattr(output, "shape", None)
    if shape is None or getattr(shape, "rank", 0) is None:
        return None
    return (None, *tuple(shape)[1:]) if len(shape) else ()


def _symbolic_inputs(model):
    """Yield inputs for a model: its own symbolic inputs, or tensors of the shapes that it was built for."""
    if getattr(model, "inputs", None):
        # The exact structure that the model accepts: a single tensor, not a list of one.
        single = len(model.inputs) == 1 and (isinstance(model, keras.Sequential) or not hasattr(model, "input"))
        yield model.inputs[0] if single else getattr(model, "input", model.inputs)
        return
    shapes = (model.get_build_config() or {}).get("input_shape")
    for dtype in (model.input_dtype, "int32") if shapes else ():  # A model of tokens does not declare it.
        yield keras.tree.map_shape_structure(
            lambda shape, dtype=dtype: keras.KerasTensor((None, *shape[1:]), dtype), shapes
        )


def _with_sides(tensor):
    if len(tensor.shape) != 4:
        return tensor
    batch, *sides, channels = tensor.shape
    return keras.KerasTensor((batch, *(side or _IMAGE_SIDE for side in sides), channels), tensor.dtype)
