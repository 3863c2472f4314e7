"""Ensembles: the mean of probabilities, of logits, or of the logarithms of probabilities of several teachers."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_number
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import TemperedLogits
from keras_distill.losses.divergences import working_dtype
from keras_distill.teachers.combined import CombinedTeacher, check_member, infer, known_classes
from keras_distill.teachers.log_space import FLOOR, exactly, log_mean_exp, log_probabilities, prepared, tempered

_MAP_FIX = "Map the classes: `Member(model, classes=...)`."
_SIZE_FIX = "Resize its inputs: `Member(model, preprocessing=keras.layers.Resizing(...))`."


@keras.saving.register_keras_serializable(package="keras_distill")
class Ensemble(CombinedTeacher):
    """Combine several teachers into one.

    At the temperature T of the loss, the soft targets of members with logits `z_k` and weights `w_k` are

    | combine | soft targets at T |
    |---|---|
    | `"probabilities"` | the arithmetic mean `sum_k w_k softmax(z_k / T)` |
    | `"geometric"` | the geometric mean `prod_k softmax(z_k / T) ** w_k`, divided by its sum |
    | `"logits"` | `softmax(sum_k w_k z_k / T)` |

    The last two are identical at every T, since normalisers are one number per row and cancel. The arithmetic mean is
    another distribution, which no mean of logits gives. Take two members that are certain of different classes, `[0.98,
    0.01, 0.01]` and `[0.01, 0.98, 0.01]`. Their arithmetic mean is `[0.495, 0.495, 0.01]`: one of the first two, not
    the third. Their geometric mean is `[0.476, 0.476, 0.048]`: a class is likely if no member rules it out, and the
    third class has nearly five times the probability that either member gives it. The example shows both.

    Each member runs once per batch, however many temperatures the losses have; a member of weight zero does not run.
    Members run in inference mode. An ensemble of one member equals that member bit for bit.

    Args:
        members: Non-empty list of `keras.Model`s, or of `Member`s for models with their own preprocessing or order of
            classes. If a member ends in a softmax, its logits are used. Models with several outputs are combined
            output by output.
        weights: One number >= 0 for each member, divided by their sum; or `"confidence"`, for each sample the largest
            probability of each member at T = 1, divided by their sum, which favours members that are certain, right or
            wrong. Defaults to `None`, equal weights.
        combine: `"probabilities"`, `"geometric"` or `"logits"`. Defaults to `"probabilities"`.
        name: Name of the model. Defaults to `"ensemble"`.
        **kwargs: Passed to `keras.Model`.

    Raises:
        ValueError: If an argument is invalid, or the members do not have the same classes or inputs.

    Example:

    >>> import numpy as np
    >>> def sure_of(probabilities):
    ...     head = keras.layers.Dense(3, kernel_initializer="zeros")
    ...     model = keras.Sequential([keras.Input((4,)), head])
    ...     head.bias.assign(np.log(probabilities))
    ...     return model
    >>> members = [sure_of([0.98, 0.01, 0.01]), sure_of([0.01, 0.98, 0.01])]
    >>> def soft_targets(combine, temperature):
    ...     logits = Ensemble(members, combine=combine).answer(np.ones((1, 4))).at(temperature)
    ...     return ops.softmax(logits / temperature)[0].numpy().round(3)
    >>> print(soft_targets("probabilities", 1.0), soft_targets("geometric", 1.0), soft_targets("logits", 1.0))
    [0.495 0.495 0.01 ] [0.476 0.476 0.048] [0.476 0.476 0.048]
    >>> print(soft_targets("probabilities", 4.0), soft_targets("geometric", 4.0), soft_targets("logits", 4.0))
    [0.403 0.403 0.194] [0.39 0.39 0.22] [0.39 0.39 0.22]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """

    _nested = ("members",)

    @checked(combine=Any)
    def __init__(
        self, members: Any, weights: Any = None, combine: str = "probabilities", name: str = "ensemble", **kwargs: Any
    ):
        members = _check_members(members)
        check_choice("combine", combine, COMBINATIONS)
        weights = _check_weights(weights, len(members))
        super().__init__(members, name=name, **kwargs)
        self.members = members
        self.combine = combine
        self._member_weights = weights  # In Keras, `weights` are all variables of a model.

    def soft_targets(self, inputs: Any) -> Any:
        fixed = isinstance(self._member_weights, tuple)
        weights = self._member_weights if fixed else [1.0] * len(self.members)
        heard = [(member, weight) for member, weight in zip(self.members, weights, strict=True) if weight > 0.0]
        outputs = [infer(member, inputs) for member, _ in heard]
        if len(outputs) == 1:
            return outputs[0]
        _check_outputs(outputs)
        weights = [weight / sum(weights) for _, weight in heard]
        return keras.tree.map_structure(lambda *answers: self._combined(answers, weights), *outputs)

    def _combined(self, answers, weights):
        now = _stacked([answer.logits for answer in answers])
        weights = confidences(now) if self._member_weights == "confidence" else weights
        combine = COMBINATIONS[self.combine]

        def at(temperature: Any) -> Any:
            return combine(_stacked([answer.at(temperature) for answer in answers]), weights, temperature)

        return TemperedLogits(combine(now, weights), at)

    def get_config(self) -> dict[str, Any]:
        fixed = isinstance(self._member_weights, tuple)
        weights = list(self._member_weights) if fixed else self._member_weights
        members = [keras.saving.serialize_keras_object(member) for member in self.members]
        return {**super().get_config(), "members": members, "weights": weights, "combine": self.combine}


@checked(logits="[members, ..., classes]", weights="[members, *...]")
def mean_of_probabilities(logits: Any, weights: Any = None, temperature: Any = 1.0) -> Any:
    """Compute logits `v` of the arithmetic mean: `softmax(v / T) = sum_k w_k softmax(z_k / T)`.

    Args:
        logits: Float tensor `[members, ..., classes]`.
        weights: Numbers `[members]` or float tensor `[members, ...]` that sums to 1 along the members. Defaults to
            `None`, equal weights.
        temperature: Positive number or scalar tensor T. Defaults to 1.0.

    Returns:
        Float tensor `[..., classes]`, at T = 1 the logarithms of the mean.

    Example:

    >>> import numpy as np
    >>> logits = np.log([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
    >>> ops.exp(mean_of_probabilities(logits)).numpy().round(3).tolist()
    [0.495, 0.495, 0.01]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    logits = prepared(logits)
    scaled = _up_to_a_constant(logits, temperature)
    mean = log_mean_exp(scaled, _broadcast(weights, logits), axis=0)[0]
    return exactly(temperature, mean.dtype) * mean - math.log(logits.shape[-1])


@checked(logits="[members, ..., classes]", weights="[members, *...]")
def geometric_mean(logits: Any, weights: Any = None, temperature: Any = 1.0) -> Any:
    """Compute logits `v` of the geometric mean: `softmax(v / T)` is `prod_k softmax(z_k / T)^w_k` over its sum.

    Args:
        logits: Float tensor `[members, ..., classes]`.
        weights: Numbers `[members]` or float tensor `[members, ...]` that sums to 1 along the members. Defaults to
            `None`, equal weights.
        temperature: Positive number or scalar tensor T. Defaults to 1.0.

    Returns:
        Float tensor `[..., classes]`, at T = 1 the logarithms of the mean.

    Example:

    >>> import numpy as np
    >>> logits = np.log([[0.98, 0.01, 0.01], [0.01, 0.98, 0.01]])
    >>> ops.exp(geometric_mean(logits)).numpy().round(3).tolist()
    [0.476, 0.476, 0.048]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    # The normalisers of the members cancel; leaving them out avoids their rounding errors.
    mean = mean_of_logits(tempered(logits, 1.0), weights)
    temperature = exactly(temperature, mean.dtype)
    return temperature * _up_to_a_constant(mean, temperature) - math.log(mean.shape[-1])


@checked(logits="[members, ..., classes]", weights="[members, *...]")
def mean_of_logits(logits: Any, weights: Any = None, temperature: Any = None) -> Any:
    """Compute the weighted mean of logits.

    Args:
        logits: Float tensor `[members, ..., classes]`.
        weights: Numbers `[members]` or float tensor `[members, ...]` that sums to 1 along the members. Defaults to
            `None`, equal weights.
        temperature: Unused, since the mean is the same at every temperature. Defaults to `None`.

    Returns:
        Float tensor `[..., classes]`.

    Example:

    >>> mean_of_logits([[4.0, 0.0], [0.0, 0.0]], [0.75, 0.25]).numpy().tolist()
    [3.0, 0.0]

    Reference:
        Hinton, Vinyals, Dean, "Distilling the Knowledge in a Neural Network", 2015, arXiv:1503.02531.
    """
    logits = prepared(logits)
    return ops.maximum(ops.sum(_broadcast(weights, logits) * logits, axis=0), FLOOR)


@checked(logits="[..., classes]")
def confidences(logits: Any) -> Any:
    """Compute each member's largest probability at T = 1, divided by the sum over members.

    Args:
        logits: Float tensor `[members, ..., classes]`.

    Returns:
        Float tensor `[members, ...]` that sums to 1 along the members.

    Example:

    >>> import numpy as np
    >>> confidences(np.log([[[0.9, 0.1]], [[0.4, 0.6]]])).numpy().round(3).tolist()
    [[0.6], [0.4]]
    """
    largest = ops.exp(ops.max(log_probabilities(logits), axis=-1))
    return largest / ops.sum(largest, axis=0, keepdims=True)


COMBINATIONS = {"probabilities": mean_of_probabilities, "geometric": geometric_mean, "logits": mean_of_logits}
"""The ways to combine members, by name."""


def _up_to_a_constant(logits, temperature):
    """Return `log_softmax(logits / T) + log(classes)`: at a high T, the constant would swamp the differences."""
    scaled = tempered(logits, temperature)
    share = exactly(1.0 / scaled.shape[-1], scaled.dtype)
    return scaled - log_mean_exp(scaled, share, axis=-1)


def _stacked(outputs):
    dtype = working_dtype(*outputs)
    return ops.stack([ops.cast(output, dtype) for output in outputs])


def _broadcast(weights, logits):
    """Return weights `[members, ..., 1]`."""
    if weights is None:
        weights = [1.0 / logits.shape[0]] * logits.shape[0]
    weights = exactly(weights, logits.dtype)
    missing = len(logits.shape) - len(weights.shape)
    return ops.reshape(weights, (*ops.shape(weights), *(1,) * missing))


def _check_members(members):
    if not isinstance(members, (list, tuple)) or not members:
        raise ValueError(expected("a list of at least one member", f"members={members!r}"))
    for member in members:
        check_member("each member", member)
    counts = [count for count in map(known_classes, members) if count is not None]
    if any(count != counts[0] or min(count) < 2 for count in counts):
        received = ", ".join(str(count[0] if len(count) == 1 else count) for count in counts)
        raise ValueError(expected("members of the same number of classes, at least 2", received, _MAP_FIX))
    inputs = [member.inputs for member in members if getattr(member, "inputs", None) is not None]
    shapes = [tuple(tensors[0].shape) for tensors in inputs if len(tensors) == 1]
    if any(not same_shape(shape, shapes[0]) for shape in shapes):
        raise ValueError(expected("members with inputs of one shape", ", ".join(map(str, shapes)), _SIZE_FIX))
    return list(members)


def _check_weights(weights, count):
    if weights is None or (isinstance(weights, str) and weights == "confidence"):
        return weights
    if isinstance(weights, (str, dict)) or not hasattr(weights, "__len__"):
        raise ValueError(expected('weights to be a list of numbers, "confidence" or None', f"weights={weights!r}"))
    if len(weights) != count:
        raise ValueError(expected(f"{count} weights, one for each member", f"{len(weights)}: {list(weights)}"))
    weights = tuple(check_number("weights", weight, 0.0, math.inf) for weight in weights)
    if not 0.0 < sum(weights) < math.inf:
        raise ValueError(expected("at least one weight > 0, and a finite sum", f"weights={list(weights)}"))
    return weights


def _check_outputs(outputs):
    shapes = [[tuple(output.shape) for output in keras.tree.flatten(output)] for output in outputs]
    if any(
        len(each) != len(shapes[0]) or not all(map(same_shape, each, shapes[0])) or any(s[-1] < 2 for s in each)
        for each in shapes
    ):
        received = "outputs of shapes " + ", ".join(str(each[0] if len(each) == 1 else each) for each in shapes)
        raise ValueError(expected("members of the same number of classes, at least 2", received, _MAP_FIX))
