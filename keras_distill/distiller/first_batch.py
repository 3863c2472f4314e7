"""What only the first batch can show: probabilities where logits are expected."""

from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill.answers.answer import dense_logits
from keras_distill.distiller.batch import Batch
from keras_distill.features.taps import FINAL_OUTPUT
from keras_distill.losses.heads import find_head, refusal, rows_are_probabilities


def check_first_batch(distiller: Any, batch: Batch) -> None:
    """Stop the first step if teacher or student return probabilities where a loss expects logits.

    Shapes do not show it, so that the check is part of the step. It costs one batch.

    Args:
        distiller: A compiled `Distiller`.
        batch: The batch, with the outputs of teacher and student.
    """
    soft = any(getattr(loss, "compares_logits", False) for loss in distiller.distillation_losses)
    hard = any(loss.on_logits for loss in keras.tree.flatten(distiller.loss) if loss is not None)
    # A loss on hard labels takes the output of a head that it does not know for probabilities, as Keras does.
    kinds = ("linear", "unknown") if soft else ("linear",)
    suspects = _suspects("teacher", batch.teacher_outputs, soft, ("linear", "unknown"))
    suspects += _suspects("student", batch.student_outputs, soft or hard, kinds)
    if not suspects:
        return
    found = ops.cond(
        ops.equal(distiller.optimizer.iterations, 0),
        lambda: [_are_several_probabilities(output) for _, output in suspects],
        lambda: [False for _ in suspects],
    )
    for (owner, _), wrong in zip(suspects, found, strict=True):
        guards.check(ops.logical_not(wrong), refusal(owner))


def _suspects(owner, outputs, concerned, kinds):
    if not concerned:
        return []
    found = [(owner, output) for output in dense_logits(outputs[FINAL_OUTPUT])]
    return [(owner, output) for owner, output in found if find_head(output).kind in kinds and output.shape[-1] != 1]


def _are_several_probabilities(output):
    return ops.logical_and(ops.prod(ops.shape(output)[:-1]) > 1, rows_are_probabilities(output))
