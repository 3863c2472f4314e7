"""Schedules that are driven by what was measured."""

from keras_distill._core.messages import expected
from keras_distill._core.models import accepts


def driven(metric, function):
    """Make a schedule that is driven by what was measured: the agreement with the teacher, say, or the distance to it.

    The callbacks that take schedules ask it when an epoch (or a training step, by their unit) is over, for the next
    one. An epoch without validation leaves the value of a `val_` metric's schedule where it is.

    Args:
        metric: Name of the metric in the logs.
        function: Function from the number measured to the value.

    Returns:
        A function (position, logs) -> value, or `None` to stay.

    Raises:
        ValueError: When it is asked, if the logs have no such metric.

    Example:

    >>> schedule = driven("val_agreement", lambda agreement: 1.0 + 6.0 * (1.0 - agreement))
    >>> schedule(3, logs={"loss": 0.2, "val_agreement": 0.75})
    2.5
    """
    if not callable(function):
        raise ValueError(expected("a function from a measured number to a value", f"function={function!r}"))

    def value_from(position, logs):
        if metric in logs:
            return function(float(logs[metric]))
        if not metric.startswith("val_") or any(name.startswith("val_") for name in logs):
            raise ValueError(expected(f"logs with {metric!r} to drive a schedule by", ", ".join(logs) or "none"))
        return None

    return value_from


def takes_logs(schedule):
    """Tell whether a schedule is driven by the logs: a callable with an argument of that name."""
    try:
        return accepts(schedule, "logs")
    except ValueError:  # Some callables that are not written in Python do not tell.
        return False
