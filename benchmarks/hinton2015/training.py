"""Train the teacher on shifted digits with labels, and students on labels or on stored soft targets."""

import keras
import numpy as np
import tensorflow as tf

import keras_distill as kd
from keras_distill.recipes import hinton2015

STEPS_PER_CALL = 20  # A call of the compiled step costs milliseconds, more than a narrow student's step.
PREDICTED = 1000


def teacher_of(x, y, schedule, seed, **arguments):
    """Train a teacher, built with these arguments, on digits, which it moves itself; return it."""
    keras.utils.set_random_seed(seed)
    teacher = hinton2015.teacher(**arguments)
    return _fit(teacher, (x, y), schedule, seed, keras.losses.SparseCategoricalCrossentropy(from_logits=True))


def targets_of(teacher, x, path):
    """Ask a teacher once about digits as they are, and store what it says; return the store."""
    return kd.targets.write(teacher, x, path, dtype="float32", batch_size=PREDICTED)


def student_of(student, x, y, seed, store=None):
    """Train a student on the digits of its transfer set.

    Args:
        student: A `settings.Student`.
        x: Images `[samples, 28, 28, 1]`, of which those of its classes are taken.
        y: Hard labels `[samples]`.
        seed: Seed of weights and order.
        store: Soft targets of all the images, a `TargetStore`. Defaults to `None`, where it learns from labels alone.

    Returns:
        The trained model.
    """
    keras.utils.set_random_seed(seed)
    model, kept = hinton2015.student(student.width), np.isin(y, student.digits)
    x, y = x[kept], y[kept]
    if student.temperature is None:
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        return _fit(model, (x, y), student.schedule, seed, loss)
    soft = kd.losses.LogitsDistillation(temperature=student.temperature)
    distiller = kd.Distiller(store, model, soft, student_loss_weight=student.hard_weight)
    # Joined as one batch: every key is compared once, and then all of it is shuffled in memory.
    joined = next(iter(store.join((x, y), order="any", batch_size=len(y))))
    loss = "sparse_categorical_crossentropy" if student.hard_weight else None
    _fit(distiller, joined, student.schedule, seed, loss)
    return model


def logits_of(model, x):
    """Return a model's logits `[samples, classes]`."""
    batches = [model(x[start : start + PREDICTED], training=False) for start in range(0, len(x), PREDICTED)]
    return np.concatenate([keras.ops.convert_to_numpy(batch) for batch in batches])


def shuffled(element, batch_size, seed):
    """Return shuffled batches of one element that holds everything, in another order in every epoch."""
    element = keras.tree.map_structure(lambda part: None if part is None else tf.constant(part), element)
    count = len(keras.tree.flatten(element)[0])

    def rows(numbers):
        return keras.tree.map_structure(lambda part: None if part is None else tf.gather(part, numbers), element)

    numbers = tf.data.Dataset.range(count).shuffle(count, seed=seed).batch(min(batch_size, count), drop_remainder=True)
    return numbers.map(rows).prefetch(4)


def _fit(model, element, schedule, seed, loss):
    batches = shuffled(element, schedule.batch_size, seed)
    steps = len(batches)
    decay = keras.optimizers.schedules.CosineDecay(schedule.learning_rate, schedule.epochs * steps)
    model.compile(keras.optimizers.Adam(decay), loss, steps_per_execution=min(steps, STEPS_PER_CALL), jit_compile=False)
    model.fit(batches, epochs=schedule.epochs, shuffle=False, verbose=0)
    return model
