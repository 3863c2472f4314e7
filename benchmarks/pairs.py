"""Teachers and students for the benchmarks of the training step, and a step written by hand."""

import keras
import numpy as np
import tensorflow as tf
from keras import layers

CLASSES, SIDE, TEMPERATURE = 10, 28, 4.0


def network(widths, strides, hidden, classes=CLASSES, name=None):
    """Build convolutions of 3 x 3 with a hidden layer, and logits."""
    inputs = x = keras.Input((SIDE, SIDE, 1))
    for index, (width, stride) in enumerate(zip(widths, strides, strict=True)):
        x = layers.Conv2D(width, 3, strides=stride, padding="same", activation="relu", name=f"stage_{index}")(x)
    x = layers.Dense(hidden, activation="relu", name="hidden")(layers.Flatten()(x))
    return keras.Model(inputs, layers.Dense(classes, name="logits")(x), name=name)


def teacher(classes=CLASSES, scale=1):
    """Build a teacher of 1.4 million parameters (at a scale of 1) whose stage 2 is as wide as the student's."""
    hidden = min(1700, 20_000_000 // classes)  # A last layer of 20 million weights at most.
    return network((32 * scale, 64 * scale, 16), (2, 2, 1), hidden, classes, name="teacher")


def student(classes=CLASSES):
    """Build a student of 24 thousand parameters."""
    return network((8, 16, 16), (2, 2, 1), 24, classes, name="student")


def batches(size=128, count=8, classes=CLASSES):
    """Return a cached data set of random images and labels."""
    random = np.random.default_rng(0)
    x = random.normal(size=(size * count, SIDE, SIDE, 1)).astype("float32")
    return tf.data.Dataset.from_tensor_slices((x, random.integers(0, classes, size * count))).batch(size).cache()


def hard_labels():
    """Return the hard-label loss, on logits."""
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True)


class ByHand(keras.Model):
    """The least that distils: one forward pass of each model, two cross-entropies, one tracker."""

    def __init__(self, teacher, student):
        super().__init__()
        self.teacher, self.student = teacher, student
        teacher.trainable = False
        self.tracker = keras.metrics.Mean(name="loss")
        self.built = True

    def train_step(self, data):
        x, y = data
        soft = tf.nn.softmax(self.teacher(x, training=False) / TEMPERATURE)
        with tf.GradientTape() as tape:
            logits = self.student(x, training=True)
            hard = tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, logits))
            soft = tf.reduce_mean(tf.nn.softmax_cross_entropy_with_logits(soft, logits / TEMPERATURE))
            loss = 0.5 * hard + 0.5 * TEMPERATURE**2 * soft
        variables = self.student.trainable_variables
        self.optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables, strict=True))
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}


class TeacherAlone(keras.Model):
    """A step that runs the teacher and nothing else."""

    def __init__(self, teacher):
        super().__init__()
        self.teacher = teacher
        self.built = True

    def train_step(self, data):
        return {"loss": tf.reduce_sum(self.teacher(data[0], training=False))}
