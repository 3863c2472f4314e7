"""What every teacher made of other models shares: its parts in inference mode, their logits, their shapes."""

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.checks import check_model
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked, run
from keras_distill._core.tensors import is_eager
from keras_distill.answers.answer import Logits
from keras_distill.losses.heads import head_of, logits_of, refusal, rows_are_probabilities
from keras_distill.teachers.base import Teacher


class CombinedTeacher(Teacher):
    """Let several models, or one and what is done with its logits, teach as one `keras.Model`.

    Its parts run in inference mode, whatever it is told, and each in its own precision. Subclasses compute
    `soft_targets(inputs)`.

    Args:
        models: The models that it is made of.
        seen_by: What is given the inputs as they are, models or functions. Defaults to `None`, every model.
        shown_by: The models that give logits of the shape of its own. Defaults to `None`, every model.
        classes: Number of classes. Defaults to `None`, as many as these models have.
        name: Name of the model. Defaults to `None`, one of Keras's.
        **kwargs: Passed to `keras.Model`.
    """

    _nested = ()
    """Names of the arguments that hold models or layers."""

    def __init__(self, models, seen_by=None, shown_by=None, classes=None, name=None, **kwargs):
        # Inputs reach the parts as they are: a cast to this model's precision is not the parts'.
        super().__init__(name=name, **{"dtype": "float32", "autocast": False, **kwargs})
        self.supports_jit = all(getattr(model, "supports_jit", True) for model in models)
        self.built = all(model.built for model in models)
        given = next((found for found in map(_input, seen_by or models) if found is not None), None)
        self._shown = Untracked((given, _output(shown_by or models, classes)))

    @property
    def input(self):
        """The inputs as symbolic tensors, in the structure that the parts take, where they are known."""
        return super().input if self._shown.content[0] is None else self._shown.content[0]

    @property
    def output(self):
        """The logits as a symbolic tensor, where their shape is known."""
        return super().output if self._shown.content[1] is None else self._shown.content[1]

    @property
    def inputs(self):
        """The inputs as a list of symbolic tensors, `None` where they are unknown."""
        given = self._shown.content[0]
        return None if given is None else keras.tree.flatten(given)

    @property
    def outputs(self):
        """The logits as a symbolic tensor in a list, `None` where their shape is unknown."""
        shown = self._shown.content[1]
        return None if shown is None else [shown]

    @classmethod
    def from_config(cls, config):
        objects = {name: keras.saving.deserialize_keras_object(config[name]) for name in cls._nested}
        return cls(**{**config, **objects})


def infer(model, inputs):
    """Run a model in inference mode, whatever its caller is doing; return its `Answer`, or a nest of them."""
    if isinstance(model, Teacher):
        return model.answer(inputs)
    outputs = run(model, inputs, training=False)
    return keras.tree.map_structure(lambda output: Logits(as_logits(output, model.name)), outputs)


def as_logits(output, owner):
    """Return the logits of an output: if it comes from a softmax, those that the softmax was given."""
    logits = logits_of(output, owner)
    if head_of(output)[0] == "linear" and output.shape[-1] != 1 and not is_eager(output):
        # Once combined with others nothing gives them away: the Distiller's own check would come too late.
        rows = ops.prod(ops.shape(output)[:-1])
        found = ops.logical_and(rows > 1, rows_are_probabilities(output))
        guards.check(ops.logical_not(found), refusal(owner))
    return logits


def check_member(role, model):
    """Raise a `ValueError` unless a model can be part of a combined teacher: a Keras model that hides no other one."""
    check_model(role, model, "Make one of a file or a function by `keras_distill.teachers.as_teacher`.")
    check_shows_its_teacher(model)


def check_shows_its_teacher(model):
    """Raise a `ValueError` for a plain Keras model that has a combined teacher among its layers.

    Called as a layer, a combined teacher gives its logits at T = 1: at any other temperature the model around it would
    answer with another distribution, and nothing would tell.
    """
    if isinstance(model, Teacher):
        return
    hidden = next((layer for layer in model._flatten_layers() if isinstance(layer, CombinedTeacher)), None)
    if hidden is not None:
        fix = "Pass it itself; what prepares its inputs goes into Member(..., preprocessing=...)."
        received = f"{type(hidden).__name__} {hidden.name!r} as a layer of {model.name!r}"
        raise ValueError(expected("a teacher of several models by itself", received, fix))


def known_classes(model):
    """Return the number of classes of each output of a model in a list, `None` where its shapes are not known."""
    outputs = getattr(model, "outputs", None)
    return None if outputs is None else [output.shape[-1] for output in outputs]


def one_class_count(role, model):
    """Return the number of classes of a model, `None` where it is not known; raise if it has several outputs."""
    counts = known_classes(model)
    if counts is not None and len(counts) != 1:
        raise ValueError(expected(f"{role} to have one output", f"{model.name!r} with {len(counts)}"))
    return None if counts is None else counts[0]


def _input(model):
    inputs = getattr(model, "inputs", None)
    if not inputs:
        return None
    # The very structure that the model takes: a single tensor is no list of one.
    single = isinstance(model, keras.Sequential) or not hasattr(model, "input")
    return inputs[0] if single and len(inputs) == 1 else getattr(model, "input", inputs)


def _output(models, classes):
    shapes = [model.outputs[0].shape for model in models if len(known_classes(model) or ()) == 1]
    if not shapes:
        return None
    *positions, count = shapes[0]
    return keras.KerasTensor((*positions, count if classes is None else classes), "float32")
