"""What only the first batch can show: probabilities where logits are expected."""

from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill.answers.answer import dense_logits
from keras_distill.distiller.batch import Batch
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.losses.heads import find_head, refusal

_ROWS = 16
_TOLERANCE, _TOLERANCE_OF_ONE = 1e-2, 1e-5
_EPSILON = {"float16": 2.0**-10, "bfloat16": 2.0**-7}


def check_first_batch(distiller: Any, batch: Batch, training: bool = True) -> None:
    """Stop the first step if teacher or student return probabilities where a loss expects logits.

    Shapes do not show it, so that the check is part of the step.

    Args:
        distiller: A compiled `Distiller`.
        batch: The batch, with the outputs of teacher and student.
        training: Whether the step trains; each step of an evaluation is checked. Defaults to `True`.
    """
    soft = any(getattr(loss, "compares_logits", False) for loss in distiller.distillation_losses)
    hard = any(loss.on_logits for loss in keras.tree.flatten(distiller.loss) if loss is not None)
    # A loss on hard labels takes the output of a head that it does not know for probabilities, as Keras does.
    kinds = ("linear", "unknown") if soft else ("linear",)
    suspects = _suspects("teacher", batch.teacher_outputs, soft, ("linear", "unknown"))
    suspects += _suspects("student", batch.student_outputs, soft or hard, kinds)
    if not suspects:
        return
    first = ops.equal(distiller.optimizer.iterations, 0) if training else True
    for owner, output in suspects:
        guards.check(ops.logical_not(ops.logical_and(first, are_probabilities(output))), refusal(owner))


def _suspects(owner, outputs, concerned, kinds):
    if not concerned:
        return []
    found = [(owner, output) for output in dense_logits(outputs[FINAL_OUTPUT])]
    return [(owner, output) for owner, output in found if find_head(output).kind in kinds and output.shape[-1] != 1]


def are_probabilities(output: Any) -> Any:
    """Return, as a bool tensor, whether the first rows of an output are probabilities, which logits are not by chance.

    A few rows are enough, and cost nothing in every step: a branch would cost more.

    Args:
        output: Float tensor `[batch, ..., classes]`.
    """
    for axis in range(len(output.shape) - 1):
        output = output[(slice(None),) * axis + (slice(_ROWS),)]
    rows = ops.prod(ops.shape(output)[:-1])
    rounding = 2.0 * float(_EPSILON.get(keras.backend.standardize_dtype(output.dtype), 0.0))
    output = ops.cast(output, "float32")
    far = ops.abs(ops.sum(output, axis=-1) - 1.0)
    # The sum of a single row of logits may come close to one.
    tolerance = ops.cast(ops.where(rows > 1, _TOLERANCE, max(_TOLERANCE_OF_ONE, rounding)), "float32")
    # Compared one by one, since XLA's minimum and maximum of NaN are not NaN.
    return ops.logical_and(rows > 0, ops.logical_and(ops.all(output >= 0.0), ops.all(far < tolerance)))
