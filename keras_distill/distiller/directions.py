"""Which way each log improves, for the callbacks of Keras that monitor it with `mode="auto"`."""

import types
from collections.abc import Callable
from typing import Any

import keras
from keras.src.trainers.compile_utils import MetricsList  # `EarlyStopping` and its kin search in no other list.


class Directions(MetricsList):
    """List the logs of a model under their own names, with the direction in which each improves.

    Keras's callbacks look up the name that they monitor among the metrics of such lists in `model.metrics`. They do not
    find a log there whose name is not that of its metric, such as `kind_accuracy` or `weighted_accuracy`, nor a metric
    outside `compile(metrics=...)`. This list has no state, and adds nothing to the logs.

    Args:
        directions: Function that returns a dict of `"up"` or `"down"` by name of the log.
    """

    def __init__(self, directions: Callable[[], dict[str, str]]):
        keras.metrics.Metric.__init__(self, name="directions")
        self._find = directions

    @property
    def metrics(self) -> list[Any]:
        """One object for each log, with a `name` and a direction."""
        return [types.SimpleNamespace(name=name, _direction=each) for name, each in self._find().items()]

    @property
    def variables(self) -> list[Any]:
        return []

    def reset_state(self) -> None:
        """Do nothing: there is no state."""

    def result(self) -> dict[str, Any]:
        """Return no logs."""
        return {}


def compiled_directions(compiled: Any) -> dict[str, str]:
    """Return the directions of the metrics given to `compile`, by the names that Keras gives them in the logs."""
    if compiled is None or not compiled.built:
        return {}
    # Values of their own: to read those of a metric, the replicas of `tf.distribute` would all have to take part.
    empty = [(variable, keras.ops.zeros(variable.shape, variable.dtype)) for variable in compiled.variables]
    with keras.StatelessScope(state_mapping=empty):
        names = list(compiled.result())
    metrics = compiled.metrics
    return known_directions(zip(names, metrics, strict=True)) if len(names) == len(metrics) else {}


def known_directions(metrics: Any) -> dict[str, str]:
    """Return the directions of pairs of names and metrics, without the metrics that have none."""
    return {name: metric._direction for name, metric in metrics if hasattr(metric, "_direction")}
