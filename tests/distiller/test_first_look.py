"""A teacher that cannot teach is named before the first step, by the first labels; one that can never is."""

import re
import warnings

import keras
import numpy as np
import pytest

import keras_distill as kd
from keras_distill.distiller.first_look import find_doubt

CLASSES = 4


@pytest.fixture
def blobs():
    """128 images of 4 classes, from 0 to 1; a class is the brightest quarter."""
    generator = np.random.default_rng(0)
    y = generator.integers(0, CLASSES, 128)
    return (0.9 * np.eye(CLASSES)[y] + 0.1 * generator.random((128, CLASSES))).astype("float32"), y


def knowing(weights=1.0, head=None):
    """A model that knows the classes; the bias makes it wrong for images that are not from 0 to 1."""
    model = keras.Sequential(
        [
            keras.Input((CLASSES,)),
            keras.layers.Dense(CLASSES, "sigmoid", name="hidden"),
            keras.layers.Dense(CLASSES, head),
        ]
    )
    identity = np.eye(CLASSES, dtype="float32")
    bias = np.full(CLASSES, -5.0)
    model.set_weights([10.0 * identity, bias, weights * identity, np.zeros(CLASSES)])
    return model


def fresh():
    head = keras.layers.Dense(CLASSES, kernel_initializer="zeros", name="head")
    return keras.Sequential([keras.Input((CLASSES,)), head])


def hints(teacher, student, x, y, loss="sparse_categorical_crossentropy", method="kd", **settings):
    """Return the hints of two trainings."""
    distiller = kd.Distiller(teacher, student, method)
    distiller.compile("sgd", loss, run_eagerly=True)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for _ in range(2):
            distiller.fit(x, y, batch_size=64, verbose=0, **settings)
    return [str(each.message) for each in caught if str(each.message).startswith("Check the teacher")]


DOUBTFUL = {
    "untrained": (lambda: knowing(0.0), fresh, lambda x, y: (x, y), "no more than by chance"),
    "other order of classes": (knowing, fresh, lambda x, y: (x, (y + 1) % CLASSES), "in its order?"),
    "images to 255": (knowing, fresh, lambda x, y: (255 * x, y), r"scaled as .* \(Its inputs are from .* to 25\d"),
    "swapped": (fresh, knowing, lambda x, y: (x, y), "before its first step, of 128. Are the two swapped"),
    "two softmaxes": (lambda: knowing(0.1, "softmax"), fresh, lambda x, y: (x, y), "close to uniform"),
    "one-hot labels": (lambda: knowing(0.0), fresh, lambda x, y: (x, np.eye(CLASSES)[y]), "no more than by chance"),
}


@pytest.mark.parametrize("name", DOUBTFUL)
def test_a_doubtful_teacher_is_named_once(blobs, name):
    teacher, student, change, message = DOUBTFUL[name]
    x, y = change(*blobs)
    loss = "categorical_crossentropy" if y.ndim == 2 else "sparse_categorical_crossentropy"
    found = hints(teacher(), student(), x, y, loss)
    assert len(found) == 1 and re.search(message, found[0])


LAYERS = kd.losses.FeatureDistillation("mse", teacher_layer_name="hidden", student_layer_name="head")
SOUND = {
    "a teacher that knows": (knowing, lambda x, y: (x, y), {}),
    "a softmax": (lambda: knowing(1.0, "softmax"), lambda x, y: (x, y), {}),
    "few labels": (lambda: knowing(0.0), lambda x, y: (x, np.where(np.arange(128) < 60, y, -1)), {}),
    "labels of one class first": (knowing, lambda x, y: (x[np.argsort(y)], np.sort(y)), {}),
    "layers alone": (lambda: knowing(0.0), lambda x, y: (x, y), {"method": LAYERS}),
    "a teacher of NumPy": (lambda: lambda x: x[:, ::-1], lambda x, y: (x, y), {}),
    "no labels": (lambda: knowing(0.0), lambda x, y: (x, None), {}),
}


@pytest.mark.parametrize("name", SOUND)
def test_no_false_alarm(blobs, name):
    teacher, change, settings = SOUND[name]
    assert hints(teacher(), fresh(), *change(*blobs), **settings) == []


@pytest.mark.parametrize("classes, accuracy", [(2, 0.75), (3, 0.6), (10, 0.3), (100, 0.15), (1000, 0.15)])
def test_weak_teachers_raise_no_alarm_by_chance(classes, accuracy):
    generator = np.random.default_rng(1)
    alarms = 0
    for _ in range(200):
        labels = generator.integers(0, classes, 128)
        said = np.where(generator.random(128) < accuracy, labels, generator.integers(0, classes, 128))
        student = np.eye(classes)[generator.integers(0, classes, 128)]
        alarms += find_doubt(labels, 5.0 * np.eye(classes)[said], student) is not None
    assert alarms == 0
