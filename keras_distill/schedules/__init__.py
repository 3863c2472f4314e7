"""Schedules: functions from a position (an epoch or a training step, counted from 0) to a value.

Any function of one number is a schedule, including those of `keras.optimizers.schedules`. A schedule that ends keeps
its last value from then on. A function with a second argument called `logs` is a schedule too: it depends on what was
measured.
"""

from keras_distill.schedules.basic import constant, cosine, exponential, linear
from keras_distill.schedules.composition import add, multiply, piecewise, restarts, warmup
from keras_distill.schedules.driven import driven, takes_logs

__all__ = [
    "add",
    "constant",
    "cosine",
    "driven",
    "exponential",
    "linear",
    "multiply",
    "piecewise",
    "restarts",
    "takes_logs",
    "warmup",
]
