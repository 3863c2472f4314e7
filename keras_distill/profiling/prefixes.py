"""Prefixes of the training step: the extra time of a prefix over the one before it is the time of its last part."""

from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from keras_distill._core.batches import unpack
from keras_distill.answers.answer import dense_logits
from keras_distill.features.taps import FINAL_OUTPUT

PARTS = ("input", "teacher", "student, forward", "losses", "student, backward", "optimizer, metrics")
"""The parts of a step, in order."""


def make_prefixes(distiller: Any, batches: Iterator[Any]) -> dict[str, Callable[[], Any]]:
    """Return, for each part, a function that runs one execution of steps up to that part and waits for it.

    An execution has as many steps as one of `fit`, because a call from Python can take longer than a small step.

    Args:
        distiller: A compiled `Distiller` on TensorFlow.
        batches: Iterator over an endless `tf.data.Dataset`.
    """
    steps = zip(PARTS, _make_steps(distiller), strict=True)
    return {part: _make_execution(distiller, step, batches) for part, step in steps}


def _make_steps(distiller: Any) -> tuple[Callable[[Any], Any], ...]:
    def teacher(data: Any) -> Any:
        outputs = distiller._ask_teacher(data).teacher_outputs
        return {**outputs, FINAL_OUTPUT: dense_logits(outputs[FINAL_OUTPUT])}

    def student(data: Any) -> Any:
        return teacher(data), distiller.student_outputs(unpack(data)[0], training=True)

    def loss(data: Any) -> Any:
        return distiller.optimizer.scale_loss(distiller._loss_to_minimise(distiller._ask_teacher(data)))

    def gradients(data: Any) -> Any:
        with tf.GradientTape() as tape:
            value = loss(data)
        return [each for each in tape.gradient(value, distiller.trainable_variables) if each is not None]

    return (lambda data: data), teacher, student, loss, gradients, distiller.train_step


def _make_execution(distiller: Any, step: Callable[[Any], Any], batches: Iterator[Any]) -> Callable[[], Any]:
    @tf.function(jit_compile=distiller.jit_compile or None)
    def one(data: Any) -> Any:
        # All outputs are used: TensorFlow prunes what only a control dependency needs.
        computed = [each for each in tf.nest.flatten(step(data), expand_composites=True) if tf.is_tensor(each)]
        return tf.add_n([tf.reduce_sum(tf.cast(each, "float32")) for each in computed if each.dtype != tf.string])

    def several(batches: Any) -> Any:
        done = tf.zeros(())
        for _ in tf.range(distiller.steps_per_execution):
            done += one(next(batches))
        return done

    # Traced here, because TensorFlow would warn about retracing so many functions of one name.
    execute = tf.function(several).get_concrete_function(batches)
    return lambda: execute(batches).numpy()
