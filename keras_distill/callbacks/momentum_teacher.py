"""Moving the teacher after the student, as an average of what the student has been."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.losses.divergences import wide_dtype


class MomentumTeacher(keras.callbacks.Callback):
    """Let the teacher of a `Distiller` be the exponential moving average of its student.

    After every training step `teacher = m * teacher + (1 - m) * student`, for every weight of floating point: trained
    ones and, since they belong to weights of the same age, the statistics of batch normalisation. Weights of other
    types are copied. With `steps_per_execution` above 1, the teacher moves once per execution, so `m` should be lower.

    `keras_distill.stages.momentum_teacher(student)` makes the teacher to begin with, an equal copy. The average,
    `distiller.teacher`, is often better than the student. As of every teacher, `save_weights` and
    `keras.callbacks.BackupAndRestore` hold nothing of it; a `.keras` file of the distiller does.

    Args:
        momentum: The share m that the teacher keeps, from 0.0 to 1.0, or a function from the number of training steps
            made (1 after the first) to it, such as those of `keras_distill.schedules`. Defaults to 0.999.

    Raises:
        ValueError: If the momentum is out of range or, when training begins, the model is no `Distiller` or its teacher
            and student are not of the same architecture.

    Example:

    >>> import keras_distill as kd
    >>> constant = kd.callbacks.MomentumTeacher(momentum=0.996)
    >>> rising = kd.callbacks.MomentumTeacher(kd.schedules.cosine(0.9, 0.999, steps=1000))

    and then `distiller.fit(..., callbacks=[rising])`.

    Reference:
        Tarvainen, Valpola, "Mean teachers are better role models: Weight-averaged consistency targets improve
        semi-supervised deep learning results", 2017, arXiv:1703.01780.
    """

    def __init__(self, momentum=0.999):
        super().__init__()
        self.momentum = momentum if callable(momentum) else check_number("momentum", momentum, 0.0, 1.0)
        self._move = None

    def on_train_begin(self, logs=None):
        # One graph for all weights: an assignment each, from Python, would take longer than a small student's step.
        self._move = _compiled(_mover, *_paired(self.model))

    def on_train_batch_end(self, batch, logs=None):
        # On JAX, to ask for the model is what lets its variables have the values of this step.
        model, momentum = self.model, self.momentum
        if callable(momentum):
            step = int(model.optimizer.iterations.numpy())
            momentum = check_number("momentum", momentum(step), 0.0, 1.0)
        self._move(ops.convert_to_tensor(1.0 - momentum, wide_dtype("float32")))


def _paired(model):
    """Return the weights of teacher and student, in one order; raise a `ValueError` unless they pair up."""
    teacher, student = getattr(model, "teacher", None), getattr(model, "student", None)
    if teacher is None or student is None:
        fix = "It belongs in the callbacks of Distiller.fit."
        raise ValueError(expected("a Distiller", type(model).__name__, fix))
    shapes = [[(tuple(weight.shape), weight.dtype) for weight in each.weights] for each in (teacher, student)]
    if shapes[0] != shapes[1] or not shapes[0]:
        received = f"weights of shapes {_listed(teacher)} and {_listed(student)}"
        fix = "Make the teacher by keras_distill.stages.momentum_teacher(student)."
        raise ValueError(expected("a teacher and a student of one architecture, both built", received, fix))
    return teacher.weights, student.weights


def _mover(teacher, student):
    def move(share):
        for old, new in zip(teacher, student, strict=True):
            if keras.backend.is_float_dtype(old.dtype):
                old.assign_add(ops.cast(share, old.dtype) * (ops.convert_to_tensor(new) - ops.convert_to_tensor(old)))
            else:
                old.assign(ops.convert_to_tensor(new))

    return move


def _compiled(mover, teacher, student):
    """Return the function that a mover makes, as one graph."""
    move = mover(teacher, student)
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        return tf.function(move)
    import jax

    @jax.jit
    def moved(share, *values):
        with keras.StatelessScope(zip([*teacher, *student], values, strict=True)) as scope:
            move(share)
        return [scope.get_current_value(variable) for variable in teacher]

    def run(share):
        values = moved(share, *(variable.value for variable in (*teacher, *student)))
        for variable, value in zip(teacher, values, strict=True):
            variable.assign(value)

    return run


def _listed(model):
    return f"[{', '.join(str(tuple(weight.shape)) for weight in model.weights)}]"
