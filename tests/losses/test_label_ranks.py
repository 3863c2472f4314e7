"""Labels meet outputs as in plain Keras: ranks, functions, lambdas and classes as losses, classes that are left out."""

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from keras_distill.losses.hard_labels import HardLabelLoss, mark_unlabelled

VALUES = np.random.default_rng(0).uniform(0.1, 0.9, 8).astype("float32")
LABELS = (np.random.default_rng(1).random(8) < 0.5).astype("float32")
WEIGHTS = np.arange(8.0, dtype="float32")


def focal(y, p):
    q = keras.ops.clip(y * p + (1.0 - y) * (1.0 - p), 1e-6, 1.0)
    return keras.ops.mean(-keras.ops.square(1.0 - q) * keras.ops.log(q), axis=-1)


class Own(keras.losses.Loss):
    def call(self, y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)


LOSSES = {
    **{name: name for name in ("mse", "mae", "mape", "msle", "huber", "log_cosh", "cosine_similarity", "poisson")},
    **{name: name for name in ("hinge", "squared_hinge", "categorical_hinge", "kl_divergence", "dice", "tversky")},
    **{name: name for name in ("binary_crossentropy", "binary_focal_crossentropy", "MeanSquaredError")},
    "Keras's function": keras.losses.binary_crossentropy,
    "Keras's object": keras.losses.Huber(delta=0.3),
    "Keras's class": keras.losses.Poisson,
    "function of your own": focal,
    "lambda": lambda y, p: keras.ops.mean(keras.ops.square(y - p), axis=-1),
    "partial": functools.partial(keras.losses.huber, delta=0.3),
    "own object": Own(reduction="sum"),
    "own class": Own,
}
RANKS = {
    "labels (N,), outputs (N, 1)": (LABELS, VALUES[:, None]),
    "labels (N, 1), outputs (N,)": (LABELS[:, None], VALUES),
    "both (N, 1)": (LABELS[:, None], VALUES[:, None]),
    "labels (N, 4), outputs (N, 4, 1)": (LABELS.reshape(2, 4), VALUES.reshape(2, 4, 1)),
    "labels (N, 4, 1), outputs (N, 4)": (LABELS.reshape(2, 4, 1), VALUES.reshape(2, 4)),
}


def in_keras(loss, labels, outputs, weights=None):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss)
    return model.compute_loss(y=labels, y_pred=outputs, sample_weight=weights)


TABLE = [(loss, ranks) for loss in LOSSES for ranks in RANKS if loss[:3] != "own" or "4" not in ranks]
"""Keras leaves the ranks to a `Loss` of your own, which broadcasts them."""


@pytest.mark.filterwarnings("ignore:The loss '.*' returns one value for the whole batch")
@pytest.mark.parametrize("loss, ranks", TABLE)
def test_every_rank_that_keras_takes(loss, ranks):
    given, (labels, outputs) = LOSSES[loss], map(tf.constant, RANKS[ranks])
    np.testing.assert_allclose(HardLabelLoss(given)(labels, outputs), in_keras(given, labels, outputs), rtol=1e-6)
    if loss[:3] != "own" and "4" not in ranks:
        weighted = HardLabelLoss(given)(labels, outputs, WEIGHTS)
        np.testing.assert_allclose(weighted, in_keras(given, labels, outputs, WEIGHTS), rtol=1e-6)


@pytest.mark.parametrize("loss", [focal, "binary_crossentropy", "mse", lambda y, p: keras.ops.square(y - p), Own])
def test_training_equals_plain_keras(loss):
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(size=(16, 6)).astype("float32")
    y = (x.sum(-1) > 0).astype("float32").reshape((16, 1) if loss is Own else 16)
    student = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, "sigmoid")])
    teacher, alone = keras.models.clone_model(student), keras.models.clone_model(student)
    alone.set_weights(student.get_weights())
    distiller = kd.Distiller(teacher, student, kd.losses.FeatureDistillation("mse"), student_loss_weight=1.0)
    for model in (distiller, alone):
        model.compile(keras.optimizers.SGD(0.5), loss)
        model.fit(x, y, batch_size=8, epochs=2, shuffle=False, verbose=0)
    for one, other in zip(student.get_weights(), alone.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


LOGITS = np.random.default_rng(2).normal(size=(2, 5, 3)).astype("float32")
CLASSES = np.array([[0, 1, 2, 0, 1], [2, 2, 0, 1, 0]])
VOID = np.array([[0, 0, 1, 0, 0], [1, 0, 0, 0, 1]], bool)


def sparse_with_void(y, logits):
    """Leaves out 255, by itself."""
    y = keras.ops.cast(y, "int32")
    known = keras.ops.cast(y != 255, logits.dtype)
    values = keras.losses.sparse_categorical_crossentropy(keras.ops.where(y == 255, 0, y), logits, from_logits=True)
    return keras.ops.sum(values * known, axis=-1) / keras.ops.sum(known, axis=-1)


class SparseWithVoid(keras.losses.SparseCategoricalCrossentropy):
    def call(self, y_true, y_pred):
        return sparse_with_void(y_true, y_pred)


@pytest.mark.parametrize("loss", [sparse_with_void, SparseWithVoid()], ids=["function", "subclass"])
def test_a_loss_with_void_labels_of_its_own_is_used_as_it_is(loss):
    labels = np.where(VOID, 255, CLASSES)
    found = HardLabelLoss(loss)(tf.constant(labels), tf.constant(LOGITS))
    np.testing.assert_allclose(found, np.mean(sparse_with_void(labels, LOGITS)), rtol=1e-6)


IGNORING = {
    "no label": (-1, "sparse_categorical_crossentropy"),
    "object": (255, keras.losses.SparseCategoricalCrossentropy(True, ignore_class=255)),
    "class 0": (0, keras.losses.SparseCategoricalCrossentropy(True, ignore_class=0)),
    "partial": (
        255,
        functools.partial(keras.losses.sparse_categorical_crossentropy, from_logits=True, ignore_class=255),
    ),
    "own": (255, sparse_with_void),
}


@pytest.mark.parametrize("case", IGNORING)
@pytest.mark.parametrize("dtype", ["int64", "uint8", "float32"])
def test_marked_labels(case, dtype):
    void, loss = IGNORING[case]
    if void == -1 and dtype == "uint8":
        pytest.skip("unsigned labels have no -1")
    labels = np.where(VOID, void, CLASSES).astype(dtype)
    missing = labels == void
    marked = mark_unlabelled(HardLabelLoss(loss), tf.constant(labels), tf.constant(LOGITS))
    np.testing.assert_array_equal(marked, np.where(missing, -1, labels.astype("int64")))


@pytest.mark.parametrize("method", ["dkd", "nkd", "wsld", "trust"])
def test_distillation_leaves_out_what_the_hard_loss_ignores(method):
    teacher, student = (keras.Sequential([keras.Input((5, 4)), keras.layers.Dense(3)]) for _ in range(2))
    x = np.random.default_rng(0).normal(size=(2, 5, 4)).astype("float32")
    trust = kd.teachers.Trust(contradicting="ignore") if method == "trust" else None
    loss = kd.losses.get("kd" if trust else method)
    found = {}
    for case in ("no label", "object", "own"):
        void, hard = IGNORING[case]
        distiller = kd.Distiller(teacher, student, loss, trust=trust)
        distiller.compile(keras.optimizers.SGD(0.0), hard, run_eagerly=True)
        labels = np.where(VOID, void, CLASSES)
        found[case] = distiller.fit(x, labels, verbose=0).history["distillation_loss"][0]
    logits = teacher(x), student(x)
    labels = np.where(VOID, -1, CLASSES)
    if trust is not None:
        weights = trust.weights(logits[0], labels)
        wanted = loss.compute_loss(*logits, sample_weight=weights)
    else:
        rows = [each.numpy()[~VOID] for each in logits]
        wanted = loss.compute_loss(*rows, labels=CLASSES[~VOID])
    np.testing.assert_allclose(list(found.values()), float(wanted), rtol=1e-5)


ONE_HOT = np.eye(3)[[0, 1, 2, 0]]
NAMES = np.array(["cat", "dog", "cow", "cat"])
UNFIT = {
    "one-hot for sparse": ("sparse_categorical_crossentropy", ONE_HOT, r"one class index.*\(None, 3\).*argmax"),
    "one-hot for a sparse object": (keras.losses.SparseCategoricalCrossentropy(), ONE_HOT, "one class index"),
    "sparse for one-hot": ("categorical_crossentropy", np.arange(4) % 3, r"one-hot.*\(None,\).*one_hot"),
    "sparse column for one-hot": ("categorical_crossentropy", np.arange(4)[:, None] % 3, "one-hot.*one_hot"),
    "sparse for a focal loss": ("categorical_focal_crossentropy", np.arange(4) % 3, "one-hot.*one_hot"),
    "sparse for several labels": ("binary_crossentropy", np.arange(4) % 3, "labels of the outputs' shape"),
    "sparse for squares": ("mse", np.arange(4) % 3, "labels of the outputs' shape"),
    "other classes": ("categorical_crossentropy", np.eye(4), "one-hot labels"),
    "text": ("sparse_categorical_crossentropy", NAMES, "labels that are numbers.*numpy.unique"),
    "text as objects": ("sparse_categorical_crossentropy", NAMES.astype(object), "labels that are numbers"),
    "text for a method": (None, NAMES, "labels that are numbers"),
    "other classes for a method": (None, np.eye(4), "one label, sparse or one-hot"),
}


@pytest.mark.parametrize("case", UNFIT)
def test_labels_that_do_not_fit(case):
    loss, labels, message = UNFIT[case]
    teacher, student = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]) for _ in range(2))
    distiller = kd.Distiller(teacher, student, "dkd" if loss is None else "kd")
    distiller.compile("sgd", loss, metrics=None if loss is None else ["accuracy"])
    with pytest.raises(ValueError, match=f"^Expected .*{message}"):
        distiller.fit(np.ones((4, 2)), labels, verbose=0)


def test_text_in_a_dataset():
    teacher, student = (keras.Sequential([keras.Input((2,)), keras.layers.Dense(3)]) for _ in range(2))
    distiller = kd.Distiller(teacher, student, "kd")
    distiller.compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="^Expected labels that are numbers. Received: labels of dtype string"):
        distiller.fit(tf.data.Dataset.from_tensor_slices((np.ones((4, 2)), NAMES)).batch(2), verbose=0)
