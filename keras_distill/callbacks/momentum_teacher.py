"""A teacher that is the moving average of its student."""

from collections.abc import Callable
from typing import Any

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.losses.divergences import wide_dtype


class MomentumTeacher(keras.callbacks.Callback):
    """Update the teacher of a `Distiller` to the exponential moving average of its student.

    After every training step, `teacher = m * teacher + (1 - m) * student` for every floating-point weight: trained
    weights and the statistics of batch normalisation, which belong to weights of the same age. Weights of other types
    are copied. If `steps_per_execution` is above 1, the teacher is updated once per execution, so `m` should be lower.

    Start with `keras_distill.stages.momentum_teacher(student)`, a copy of the student. The average,
    `distiller.teacher`, is often better than the student. Like every teacher, it is not part of `save_weights` and
    `keras.callbacks.BackupAndRestore`, but it is part of a `.keras` file of the distiller.

    Args:
        momentum: The share m that the teacher keeps, from 0.0 to 1.0, or a function from the number of completed
            training steps (1 after the first) to m, such as those of `keras_distill.schedules`. Defaults to 0.999.

    Raises:
        ValueError: If the momentum is out of range or, when training begins, the model is not a `Distiller` or its
            teacher and student differ in architecture.

    Example:

    >>> import keras_distill as kd
    >>> constant = kd.callbacks.MomentumTeacher(momentum=0.996)
    >>> rising = kd.callbacks.MomentumTeacher(kd.schedules.cosine(0.9, 0.999, steps=1000))

    and then `distiller.fit(..., callbacks=[rising])`.

    Reference:
        Tarvainen, Valpola, "Mean teachers are better role models: Weight-averaged consistency targets improve
        semi-supervised deep learning results", 2017, arXiv:1703.01780.
    """

    def __init__(self, momentum: float | Callable[[int], Any] = 0.999):
        super().__init__()
        self.momentum = momentum if callable(momentum) else check_number("momentum", momentum, 0.0, 1.0)
        self._move: Any = None

    def on_train_begin(self, logs: Any = None) -> None:
        # One graph for all weights: assigning each from Python would take longer than a small student's step.
        self._move = _compile_update(*_pair_weights(self.model))

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        # On JAX, accessing `self.model` writes the values of this step to its variables.
        model: Any = self.model
        momentum = self.momentum
        if callable(momentum):
            step = int(model.optimizer.iterations.numpy())
            momentum = check_number("momentum", momentum(step), 0.0, 1.0)
        self._move(ops.convert_to_tensor(1.0 - momentum, wide_dtype("float32")))


def _pair_weights(model):
    """Return the weights of teacher and student in the same order; raise a `ValueError` if they differ in shape."""
    teacher, student = getattr(model, "teacher", None), getattr(model, "student", None)
    if teacher is None or student is None:
        raise ValueError(expected("a Distiller", type(model).__name__, "Pass it to Distiller.fit."))
    shapes = [[(tuple(weight.shape), weight.dtype) for weight in each.weights] for each in (teacher, student)]
    if shapes[0] != shapes[1] or not shapes[0]:
        received = f"weights of shapes {_list_shapes(teacher)} and {_list_shapes(student)}"
        fix = "Create the teacher with keras_distill.stages.momentum_teacher(student)."
        raise ValueError(expected("a built teacher and student of the same architecture", received, fix))
    return teacher.weights, student.weights


def _compile_update(teacher, student) -> Callable[[Any], Any]:
    """Return a function of the student's share that updates all weights of the teacher in one graph."""

    def move(share: Any) -> None:
        for old, new in zip(teacher, student, strict=True):
            if keras.backend.is_float_dtype(old.dtype):
                old.assign_add(ops.cast(share, old.dtype) * (ops.convert_to_tensor(new) - ops.convert_to_tensor(old)))
            else:
                old.assign(ops.convert_to_tensor(new))

    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(move)
    import jax

    @jax.jit
    def moved(share: Any, *values: Any) -> Any:
        with keras.StatelessScope(zip([*teacher, *student], values, strict=True)) as scope:
            move(share)
        return [scope.get_current_value(variable) for variable in teacher]

    def run(share: Any) -> None:
        values = moved(share, *(variable.value for variable in (*teacher, *student)))
        for variable, value in zip(teacher, values, strict=True):
            variable.assign(value)

    return run


def _list_shapes(model):
    return f"[{', '.join(str(tuple(weight.shape)) for weight in model.weights)}]"
