"""Schedules that depend on what was measured."""

from collections.abc import Callable
from typing import Any

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.models import accepts


@checked(function=Any)
def driven(metric: str, function: Callable[[float], Any]) -> Callable[..., Any]:
    """Return a schedule that depends on a metric in the logs, such as the agreement with the teacher.

    The callbacks that take schedules call it at the end of an epoch (or a training step, depending on their unit) for
    the value of the next one. After an epoch without validation, the schedule of a `val_` metric keeps its value.

    Args:
        metric: Name of the metric in the logs.
        function: Function from the measured number to the value.

    Returns:
        A function of position and logs that returns the value, or `None` to keep the present one.

    Raises:
        ValueError: When it is called, if the logs lack the metric.

    Example:

    >>> schedule = driven("val_agreement", lambda agreement: 1.0 + 6.0 * (1.0 - agreement))
    >>> schedule(3, logs={"loss": 0.2, "val_agreement": 0.75})
    2.5
    """
    if not callable(function):
        raise ValueError(expected("a function from a measured number to a value", f"function={function!r}"))

    def value_from(position: Any, logs: Any) -> Any:
        if metric in logs:
            return function(float(logs[metric]))
        if not metric.startswith("val_") or any(name.startswith("val_") for name in logs):
            raise ValueError(expected(f"logs with {metric!r}, which drives a schedule", ", ".join(logs) or "none"))
        return None

    return value_from


@checked()
def takes_logs(schedule: Callable[..., Any]) -> bool:
    """Return whether a schedule depends on the logs, which it does if it has an argument of that name."""
    try:
        return accepts(schedule, "logs")
    except ValueError:  # Some functions that are not written in Python have no signature.
        return False
