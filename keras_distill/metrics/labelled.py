"""Keras metrics restricted to labelled samples: a class label of -1, or the loss's `ignore_class`, is no label."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of, whole_numbers
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import expand_like, snake_case
from keras_distill.losses.hard_labels import NO_LABEL, HardLabelLoss, drop_label_axis
from keras_distill.metrics.base import LabelMetric
from keras_distill.metrics.heads import check_head, head_of_loss, name_of_loss

AUTO = "auto"
_BY_SHAPE = ("accuracy", "acc")


def _check_metric(name, metric):
    if isinstance(metric, type) or not (isinstance(metric, (str, dict)) or callable(metric)):
        raise ValueError(expected(f"{name} to be a metric, its name or a function", f"{name}={metric!r}"))


@keras.saving.register_keras_serializable(package="keras_distill")
class Labelled(keras.metrics.Metric):
    """Compute a Keras metric on labelled samples only, leaving out those whose class label means that there is none.

    `Distiller.compile` wraps every metric in it and tells it which label its loss leaves out. A fully labelled batch
    reaches the metric unchanged, and so do labels that are not sparse, labels of a single output, and targets that are
    not classes, for which -1 is an ordinary number. Functions that return one value for a whole batch, and metrics
    without state before their first batch, cannot leave out samples: they see every label unchanged.

    One weight for each sequence multiplies all of its positions, and positions that the mask of the outputs leaves out
    do not count, as in the losses.

    Args:
        metric: A Keras metric: its name, a function or an object. An object holds the state itself.
        name: Name in the logs. Defaults to `None`, the name of the metric.
        ignore_class: The label that means that there is none, or `None` if every label is one. Defaults to `"auto"`:
            -1 if the labels are integers, or if the metric compares classes (accuracy, sparse metrics, IoU and the
            metrics of this package).
        head: What the outputs decide, for metrics that ask: see `Agreement`. Defaults to `None`.

    Example:

    >>> metric = Labelled("accuracy")
    >>> metric.update_state([1, -1, 0], [[0.0, 2.0], [0.0, 3.0], [0.0, 1.0]])
    >>> metric.name, float(metric.result())
    ('accuracy', 0.5)
    """

    @checked(metric=_check_metric)
    def __init__(
        self, metric: Any, name: str | None = None, ignore_class: int | str | None = AUTO, head: str | None = None
    ):
        super().__init__(name=name or _find_name(metric))
        self._given = metric
        self.ignore_class, self.head = ignore_class, check_head(head)
        by_shape = isinstance(metric, str) and metric.lower() in _BY_SHAPE
        found: Any = _accuracy if by_shape else keras.metrics.get(metric)
        is_metric = isinstance(found, keras.metrics.Metric)
        self._function = None if by_shape or is_metric else found
        # Keras would create it at the first batch; variables that a step creates cost a second trace of the step.
        self.metric: Any = found if is_metric else keras.metrics.MeanMetricWrapper(found)
        if self.metric is not metric:
            self.metric.name = self.name
        if by_shape:
            self.metric._direction = "up"  # Like the metrics that Keras chooses between.

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: Labels; sparse labels are `[batch, positions...]` or `[batch, positions..., 1]`.
            y_pred: Outputs `[batch, positions..., classes]`.
            sample_weight: Optional weights that broadcast to `[batch, positions...]`. Defaults to `None`.
        """
        y_true, y_pred = ops.convert_to_tensor(y_true), ops.convert_to_tensor(y_pred)
        sample_weight = _repeat_along_mask(sample_weight, y_pred)
        ignored = self._ignored_label(y_true) if _is_sparse(y_true, y_pred) and self.metric.variables else None
        if ignored is not None:
            # Unsigned labels have no -1 to compare with; a cast of floats would take -1.5 for it.
            exact = keras.backend.is_float_dtype(y_true.dtype)
            missing = ops.equal(y_true if exact else whole_numbers(y_true), ignored)
            known = ops.where(missing, ops.zeros_like(y_true), y_true)
            if self._returns_value_per_sample(known, y_pred):
                return self._update_labelled(known, missing, y_pred, sample_weight)
        self._update(y_true, y_pred, sample_weight)

    def _ignored_label(self, y_true):
        if self.ignore_class != AUTO:
            return self.ignore_class
        are_classes = compares_classes(self._given) or not keras.backend.is_float_dtype(y_true.dtype)
        return NO_LABEL if are_classes else None

    def _update(self, y_true, y_pred, sample_weight):
        told = {"head": self.head} if isinstance(self.metric, LabelMetric) else {}
        self.metric.update_state(y_true, y_pred, sample_weight=sample_weight, **told)

    def _update_labelled(self, known, missing, y_pred, sample_weight):
        metric = self.metric
        weight = ops.cast(drop_label_axis(ops.logical_not(missing), y_pred), metric.dtype)
        if sample_weight is not None:
            weight = weight * _align(ops.cast(sample_weight, metric.dtype), weight)
        # Updated with and without weights, and one result is kept: weights of 1 are not always the same as no weights,
        # and a condition in the graph would hide the updates from Keras, which first traces metrics without variables.
        before = _copy_values(metric)
        self._update(known, y_pred, sample_weight)
        unweighted = _copy_values(metric)
        _assign(metric, before)
        self._update(known, y_pred, weight)
        partly = ops.any(missing)
        _assign(
            metric, [ops.where(partly, new, old) for new, old in zip(_copy_values(metric), unweighted, strict=True)]
        )

    @property
    def _direction(self):
        return self.metric._direction  # Whether a higher value is better, for callbacks that monitor it.

    def _returns_value_per_sample(self, known, y_pred):
        return self._function is None or len(self._function(known, y_pred).shape) > 0

    def result(self) -> Tensor:
        return self.metric.result()

    def reset_state(self) -> None:
        self.metric.reset_state()

    def get_config(self) -> dict[str, Any]:
        given = {"ignore_class": self.ignore_class, "head": self.head}
        return {"metric": keras.saving.serialize_keras_object(self._given), "name": self.name, **given}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Labelled":
        return cls(**{**config, "metric": keras.saving.deserialize_keras_object(config["metric"])})


def labelled_only(metrics: Any, loss: Any = None) -> Any:
    """Return a nest with every metric wrapped in `Labelled`; what is not a nest is left for Keras to refuse.

    Args:
        metrics: What `compile` was given: a list, or a nest by output.
        loss: The loss on the hard labels, or a nest with one for each output. Defaults to `None`.
    """
    return _wrap(metrics, loss) if keras.tree.is_nested(metrics) else metrics


def _wrap(metrics, loss):
    if isinstance(metrics, dict):
        return {name: _wrap(each, _find_part(loss, name, len(metrics))) for name, each in metrics.items()}
    if isinstance(metrics, (list, tuple)):
        return type(metrics)(_wrap(each, _find_part(loss, i, len(metrics))) for i, each in enumerate(metrics))
    if metrics is None or isinstance(metrics, Labelled):
        return metrics
    return Labelled(metrics, ignore_class=_find_ignored(metrics, loss), head=head_of_loss(loss))


def _find_part(loss, key, count):
    """Return the part of a nest of losses for the entry `key` of `count` metrics, or `None` if it cannot be told."""
    if not keras.tree.is_nested(loss):
        return loss
    if isinstance(loss, dict) and isinstance(key, str):
        return loss.get(key)
    losses = list(loss.values()) if isinstance(loss, dict) else list(loss)
    if len(losses) == 1:
        return losses[0]
    return losses[key] if len(losses) == count and not isinstance(key, str) else None


def _find_ignored(metric, loss):
    """Return which label a metric leaves out beside a loss."""
    loss = loss.loss if isinstance(loss, HardLabelLoss) else loss
    ignored = getattr(loss, "ignore_class", None)
    if ignored is not None:
        return ignored
    if loss in ("crossentropy", "ce") or "sparse" in name_of_loss(loss):
        return NO_LABEL
    return AUTO if loss is None or compares_classes(metric) else None


def compares_classes(metric: Any) -> bool:
    """Return whether a metric compares class indices, so that its sparse labels cannot be anything else.

    Args:
        metric: A Keras metric: its name, a function, a class or an object.
    """
    if isinstance(metric, (LabelMetric, keras.metrics.IoU)):
        return True
    name = metric if isinstance(metric, str) else getattr(metric, "__name__", type(metric).__name__)
    return name.lower() in _BY_SHAPE or "sparse" in name.lower()


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


def _repeat_along_mask(sample_weight, outputs):
    """Return weights with one for each position of a mask: Keras would multiply those of a sequence along time."""
    mask = mask_of(outputs)
    if sample_weight is None or mask is None or len(ops.shape(sample_weight)) >= len(mask.shape):
        return sample_weight
    return ops.broadcast_to(expand_like(sample_weight, mask), ops.shape(mask))


def _align(sample_weight, weight):
    extra = len(sample_weight.shape) > len(weight.shape)
    return ops.squeeze(sample_weight, -1) if extra else expand_like(sample_weight, weight)


def _copy_values(metric):
    return [ops.copy(variable) for variable in metric.variables]  # Converting would give TensorFlow's own variable.


def _assign(metric, values):
    for variable, value in zip(metric.variables, values, strict=True):
        variable.assign(value)


def _find_name(metric: Any) -> str:
    if isinstance(metric, str):
        return metric
    if isinstance(metric, type):
        return metric().name
    if hasattr(metric, "name"):
        return metric.name
    return snake_case(getattr(metric, "__name__", type(metric).__name__))
