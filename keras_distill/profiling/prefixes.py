"""The training step, cut off after each of its parts: what one prefix takes more than the one before is that part's."""

import tensorflow as tf

from keras_distill._core.batches import unpack
from keras_distill.answers.answer import dense_logits
from keras_distill.features.taps import FINAL_OUTPUT

PARTS = ("input", "teacher", "student, forward", "losses", "student, backward", "optimizer, metrics")
"""The parts of a step, in their order."""


def prefixes(distiller, batches):
    """Return, by part, a function that runs one execution of steps up to that part, and waits for it.

    Executions are of as many steps as those of `fit`: a call from Python can take longer than a small step.

    Args:
        distiller: A compiled `Distiller`, on TensorFlow.
        batches: Iterator of a `tf.data.Dataset` that does not end.
    """
    return {part: _waiting(distiller, step, batches) for part, step in zip(PARTS, _steps(distiller), strict=True)}


def _steps(distiller):
    def teacher(data):
        outputs = distiller._ask_teacher(data).teacher_outputs
        return {**outputs, FINAL_OUTPUT: dense_logits(outputs[FINAL_OUTPUT])}

    def student(data):
        return teacher(data), distiller.student_outputs(unpack(data)[0], training=True)

    def loss(data):
        return distiller.optimizer.scale_loss(distiller._loss_to_minimise(distiller._ask_teacher(data)))

    def gradients(data):
        with tf.GradientTape() as tape:
            value = loss(data)
        return [each for each in tape.gradient(value, distiller.trainable_variables) if each is not None]

    return (lambda data: data), teacher, student, loss, gradients, distiller.train_step


def _waiting(distiller, step, batches):
    @tf.function(jit_compile=distiller.jit_compile or None)
    def one(data):
        # All of it is read: TensorFlow leaves out what only a control dependency asks for.
        computed = [each for each in tf.nest.flatten(step(data), expand_composites=True) if tf.is_tensor(each)]
        return tf.add_n([tf.reduce_sum(tf.cast(each, "float32")) for each in computed if each.dtype != tf.string])

    def several(batches):
        done = tf.zeros(())
        for _ in tf.range(distiller.steps_per_execution):
            done += one(next(batches))
        return done

    # Traced here: TensorFlow would warn that so many functions of one name are.
    execute = tf.function(several).get_concrete_function(batches)
    return lambda: execute(batches).numpy()
