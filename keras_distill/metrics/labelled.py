"""Keras metrics restricted to labelled samples: a sparse label of -1 means that there is no label."""

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of, set_mask
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import expand_like, snake_case
from keras_distill.losses.hard_labels import drop_label_axis, is_unlabelled

_BY_SHAPE = ("accuracy", "acc")


def _check_metric(name, metric):
    if isinstance(metric, type) or not (isinstance(metric, (str, dict)) or callable(metric)):
        raise ValueError(expected(f"{name} to be a metric, its name or a function", f"{name}={metric!r}"))


@keras.saving.register_keras_serializable(package="keras_distill")
class Labelled(keras.metrics.Metric):
    """Compute a Keras metric on labelled samples only, leaving out those whose sparse label is -1.

    `Distiller.compile` wraps every metric in it. A fully labelled batch reaches the metric unchanged, and so do labels
    that are not sparse and labels of a single output, for which -1 is an ordinary number. Functions that return one
    value for a whole batch, and metrics without state before their first batch, cannot leave out samples: they see
    every label unchanged.

    Args:
        metric: A Keras metric: its name, a function or an object. An object holds the state itself.
        name: Name in the logs. Defaults to `None`, the name of the metric.

    Example:

    >>> metric = Labelled("accuracy")
    >>> metric.update_state([1, -1, 0], [[0.0, 2.0], [0.0, 3.0], [0.0, 1.0]])
    >>> metric.name, float(metric.result())
    ('accuracy', 0.5)
    """

    @checked(metric=_check_metric)
    def __init__(self, metric: Any, name: str | None = None):
        super().__init__(name=name or _find_name(metric))
        self._given = metric
        by_shape = isinstance(metric, str) and metric.lower() in _BY_SHAPE
        found: Any = _accuracy if by_shape else keras.metrics.get(metric)
        is_metric = isinstance(found, keras.metrics.Metric)
        self._function = None if by_shape or is_metric else found
        # Keras would create it at the first batch; variables that a step creates cost a second trace of the step.
        self.metric: Any = found if is_metric else keras.metrics.MeanMetricWrapper(found)
        if self.metric is not metric:
            self.metric.name = self.name

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: Labels; sparse labels are `[batch, positions...]` or `[batch, positions..., 1]`.
            y_pred: Outputs `[batch, positions..., classes]`.
            sample_weight: Optional weights that broadcast to `[batch, positions...]`. Defaults to `None`.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        metric = self.metric
        if _is_sparse(y_true, y_pred) and metric.variables and self._returns_value_per_sample(y_true, y_pred):
            self._update_labelled(metric, y_true, y_pred, sample_weight)
        else:
            metric.update_state(y_true, y_pred, sample_weight=sample_weight)

    def _update_labelled(self, metric, y_true, y_pred, sample_weight):
        missing = is_unlabelled(y_true)
        known = ops.where(missing, ops.zeros_like(y_true), y_true)
        weight = ops.cast(drop_label_axis(ops.logical_not(missing), y_pred), metric.dtype)
        if sample_weight is not None:
            weight = weight * _align(ops.cast(sample_weight, metric.dtype), weight)
        # Updated with and without weights, and one result is kept: weights of 1 are not always the same as no weights,
        # and a condition in the graph would hide the updates from Keras, which first traces metrics without variables.
        before = _copy_values(metric)
        metric.update_state(known, y_pred, sample_weight=sample_weight)
        unweighted = _copy_values(metric)
        _assign(metric, before)
        # Keras applies masks only in metrics that have weights.
        with _without_mask(y_pred) if sample_weight is None else contextlib.nullcontext():
            metric.update_state(known, y_pred, sample_weight=weight)
        partly = ops.any(missing)
        _assign(
            metric, [ops.where(partly, new, old) for new, old in zip(_copy_values(metric), unweighted, strict=True)]
        )

    @property
    def _direction(self):
        return self.metric._direction  # Whether a higher value is better, for callbacks that monitor it.

    def _returns_value_per_sample(self, y_true, y_pred):
        return self._function is None or len(self._function(ops.maximum(y_true, 0), y_pred).shape) > 0

    def result(self) -> Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        return {"metric": keras.saving.serialize_keras_object(self._given), "name": self.name}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Labelled":
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def labelled_only(metrics: Any) -> Any:
    """Return a nest with every metric wrapped in `Labelled`; what is not a nest is left for Keras to refuse."""

    def wrap(each: Any) -> Any:
        return each if each is None or isinstance(each, Labelled) else Labelled(each)

    return keras.tree.map_structure(wrap, metrics) if keras.tree.is_nested(metrics) else metrics


def _accuracy(y_true, y_pred):
    """Return the accuracy of each sample, with the function that Keras chooses for these shapes."""
    if y_pred.shape[-1] == 1:
        return keras.metrics.binary_accuracy(y_true, y_pred)
    sparse = _is_sparse(y_true, y_pred)
    return (keras.metrics.sparse_categorical_accuracy if sparse else keras.metrics.categorical_accuracy)(y_true, y_pred)


def _is_sparse(y_true, y_pred):
    """Return whether labels are class indices, judging by the shapes as Keras does."""
    missing = len(y_pred.shape) - len(y_true.shape)
    return y_pred.shape[-1] != 1 and (missing == 1 or missing == 0 and y_true.shape[-1] == 1)


def _align(sample_weight, weight):
    extra = len(sample_weight.shape) > len(weight.shape)
    return ops.squeeze(sample_weight, -1) if extra else expand_like(sample_weight, weight)


def _copy_values(metric):
    return [ops.copy(variable) for variable in metric.variables]  # Converting would give TensorFlow's own variable.


def _assign(metric, values):
    for variable, value in zip(metric.variables, values, strict=True):
        variable.assign(value)


@contextlib.contextmanager
def _without_mask(tensor: Tensor) -> Iterator[None]:
    mask = mask_of(tensor)
    set_mask(tensor, None)
    try:
        yield
    finally:
        set_mask(tensor, mask)


def _find_name(metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    if isinstance(metric, type):
        return metric().name
    if hasattr(metric, "name"):
        return metric.name
    return snake_case(getattr(metric, "__name__", type(metric).__name__))
