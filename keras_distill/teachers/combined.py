"""What all teachers that combine models have in common: inference mode, logits and shapes of their parts."""

from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.checks import check_model
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked, run
from keras_distill._core.tensors import is_eager
from keras_distill.answers.answer import Logits
from keras_distill.losses.heads import find_head, logits_of, refusal, rows_are_probabilities
from keras_distill.teachers.base import Teacher


class CombinedTeacher(Teacher):
    """Combine several models, or transform the logits of one, into a teacher.

    Its parts always run in inference mode, each in its own precision. Subclasses override `soft_targets(inputs)`.

    Args:
        models: The models to combine.
        seen_by: Models or functions that take the inputs unchanged. Defaults to `None`, every model.
        shown_by: Models whose logits have the shape of the combined logits. Defaults to `None`, every model.
        classes: Number of classes. Defaults to `None`, that of these models.
        name: Name of the model. Defaults to `None`: Keras chooses one.
        **kwargs: Passed to `keras.Model`.
    """

    _nested: tuple[str, ...] = ()
    """Names of the arguments that hold models or layers."""

    def __init__(
        self,
        models: Any,
        seen_by: Any = None,
        shown_by: Any = None,
        classes: Any = None,
        name: str | None = None,
        **kwargs: Any,
    ):
        # No autocast: the parts decide about the dtype of their inputs.
        super().__init__(name=name, **{"dtype": "float32", "autocast": False, **kwargs})
        self.supports_jit = all(getattr(model, "supports_jit", True) for model in models)
        self.built = all(model.built for model in models)
        given = next((found for found in map(_input, seen_by or models) if found is not None), None)
        self._shown = Untracked((given, _output(shown_by or models, classes)))

    @property
    def input(self) -> Any:
        """The inputs as symbolic tensors, in the structure that the parts take, if they are known."""
        return super().input if self._shown.content[0] is None else self._shown.content[0]

    @property
    def output(self) -> Any:
        """The logits as a symbolic tensor, if their shape is known."""
        return super().output if self._shown.content[1] is None else self._shown.content[1]

    @property
    def inputs(self) -> Any:
        """The inputs as a list of symbolic tensors, or `None` if they are unknown."""
        given = self._shown.content[0]
        return None if given is None else keras.tree.flatten(given)

    @property
    def outputs(self) -> Any:
        """The logits as a symbolic tensor in a list, or `None` if their shape is unknown."""
        shown = self._shown.content[1]
        return None if shown is None else [shown]

    @classmethod
    def from_config(cls, config: Any) -> Any:
        objects = {name: keras.saving.deserialize_keras_object(config[name]) for name in cls._nested}
        return cls(**{**config, **objects})


def infer(model: keras.Model, inputs: Any) -> Any:
    """Run a model in inference mode, even inside a training step; return its `Answer`, or a nest of them."""
    if isinstance(model, Teacher):
        return model.answer(inputs)
    outputs = run(model, inputs, training=False)
    return keras.tree.map_structure(lambda output: Logits(as_logits(output, model.name)), outputs)


def as_logits(output: Any, owner: str) -> Any:
    """Return the logits of an output: if it comes from a softmax, the input of the softmax."""
    logits = logits_of(output, owner)
    if not is_eager(output) and output.shape[-1] != 1 and find_head(output).kind in ("linear", "unknown"):
        # Once combined with others they look like logits: the check of the Distiller would come too late.
        rows = ops.prod(ops.shape(output)[:-1])
        found = ops.logical_and(rows > 1, rows_are_probabilities(output))
        guards.check(ops.logical_not(found), refusal(owner))
    return logits


def check_member(role: str, model: Any) -> None:
    """Raise a `ValueError` unless a model can be part of a combined teacher."""
    check_model(role, model, "For a file or a function, use `keras_distill.teachers.as_teacher`.")
    check_shows_its_teacher(model)


def check_shows_its_teacher(model: keras.Model) -> None:
    """Raise a `ValueError` for a plain Keras model with a layer that answers differently at each temperature.

    Called as a layer, such a teacher returns its logits at T = 1. At any other temperature the model around it would
    silently teach another distribution.
    """
    if isinstance(model, Teacher):
        return
    for layer in model._flatten_layers():
        if isinstance(layer, Teacher) and not layer.one_for_all_temperatures:
            fix = "Pass it itself; to prepare its inputs, use Member(..., preprocessing=...)."
            received = f"{type(layer).__name__} {layer.name!r} as a layer of {model.name!r}"
            raise ValueError(expected("a teacher of several models by itself", received, fix))


def known_classes(model: keras.Model) -> list[int | None] | None:
    """Return the number of classes of each output of a model, or `None` if its shapes are unknown."""
    outputs = getattr(model, "outputs", None)
    return None if outputs is None else [output.shape[-1] for output in outputs]


def one_class_count(role: str, model: keras.Model) -> int | None:
    """Return the number of classes of a model, or `None` if it is unknown; raise if the model has several outputs."""
    counts = known_classes(model)
    if counts is not None and len(counts) != 1:
        raise ValueError(expected(f"{role} to have one output", f"{model.name!r} with {len(counts)}"))
    return None if counts is None else counts[0]


def _input(model):
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    # The structure that the model takes, which for one input is a tensor rather than a list.
    single = isinstance(model, keras.Sequential) or not hasattr(model, "input")
    return inputs[0] if single and len(inputs) == 1 else getattr(model, "input", inputs)


def _output(models, classes):
    shapes = [model.outputs[0].shape for model in models if len(known_classes(model) or ()) == 1]
    if not shapes:
        return None
    *positions, count = shapes[0]
    return keras.KerasTensor((*positions, count if classes is None else classes), "float32")
