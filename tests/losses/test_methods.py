"""Common tests of all registered methods. Their values are in the conformance vectors and in their own tests."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from tests.conformance.handlers import HANDLERS
from tests.losses.method_table import LOGITS, METHODS, make

EVERY = pytest.mark.parametrize("name", METHODS)
# Methods whose loss is not zero for a student that equals the teacher.
_NOT_ZERO = {"soft_target_ce", "nkd", "wsld", "ttm", "wttm", "vid", "crd", "ab"}
# Methods whose adapters have random weights, so that the adapted features differ from the teacher's.
_ADAPTED = {"vid", "ft", "reviewkd_hcl", "ofd", "crd"}
_IN_KERAS = sorted(
    name
    for name, row in METHODS.items()
    if not {"labels", "index"} & {*row.needs} and name not in (*_ADAPTED, "ctkd", "fsp")
)


def close(one, other, rtol=1e-5, atol=1e-6):
    np.testing.assert_allclose(one[0], other[0], rtol=rtol, atol=atol)
    for mine, its in zip(one[1], other[1], strict=True):
        np.testing.assert_allclose(mine, its, rtol=rtol, atol=atol * max(1.0, np.abs(its).max()))


def test_the_table_holds_the_35_published_methods_once():
    published = {name: METHODS[name] for name in HANDLERS}  # Those with conformance vectors.
    assert len(published) == 35 and all(name == row.name for name, row in METHODS.items())
    assert {row.family for row in published.values()} == {"logits", "embeddings", "feature maps", "contrastive"}
    without = {name for name, row in published.items() if row.arxiv is None}
    assert without == {"mlkd", "fsp"}  # Never on arXiv.
    labels = {name for name, row in published.items() if "labels" in row.needs}
    assert labels == {"dkd", "logit_std_dkd", "nkd", "wsld"}


@EVERY
def test_config_round_trip(name):
    loss = make(name).loss
    saved = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(saved) is type(loss) and saved.get_config() == loss.get_config() and saved.name == loss.name == name
    assert type(loss).from_config(loss.get_config()).get_config() == loss.get_config()
    assert getattr(kd.losses, type(loss).__name__) is type(loss) is METHODS[name].loss
    assert repr(saved).startswith(f"{type(loss).__name__}(")


@EVERY
@pytest.mark.slow
def test_compiled_is_as_eager(name):
    batch = make(name)
    eager = batch.value_and_gradient()
    for found in batch.compiled():
        close(found, eager, rtol=1e-4)


@EVERY
@pytest.mark.parametrize("dtypes", [("float16", "float16"), ("float32", "bfloat16")])
def test_half_precision_is_computed_in_float32(name, dtypes):
    batch = make(name)
    teacher, student = (
        keras.tree.map_structure(lambda each, dtype=dtype: tf.cast(each, dtype), outputs)
        for outputs, dtype in zip((batch.teacher, batch.student), dtypes, strict=True)
    )
    value, gradients = batch.value_and_gradient(teacher, student)
    exact, slopes = batch.value_and_gradient()
    assert value.dtype == "float32" and all(gradient.dtype == dtypes[1] for gradient in gradients)
    np.testing.assert_allclose(value, exact, rtol=1e-4, atol=1e-6)
    for gradient, slope in zip(gradients, slopes, strict=True):
        np.testing.assert_allclose(gradient.astype("float32"), slope, rtol=2e-2, atol=1e-2 * np.abs(slope).max())


@EVERY
def test_sample_weights(name):
    batch = make(name)
    size = len(keras.tree.flatten(batch.student)[0])
    plain = batch.value_and_gradient()
    doubled = batch.value_and_gradient(sample_weight=np.full(size, 2.0, "float32"))
    close(doubled, (2 * plain[0], [2 * gradient for gradient in plain[1]]))
    # A weighted mean is linear in the weights: two that add up to one give two values that add up.
    weights = np.random.default_rng(0).uniform(0, 1, size).astype("float32")
    parts = [batch.value_and_gradient(sample_weight=each)[0] for each in (weights, 1.0 - weights)]
    np.testing.assert_allclose(sum(parts), plain[0], rtol=1e-5, atol=1e-6)
    assert parts[0] > 0.0 or plain[0] == 0.0
    none = batch.value_and_gradient(sample_weight=np.zeros(size, "float32"))
    assert none[0] == 0.0 and not any(gradient.any() for gradient in none[1])


@EVERY
@pytest.mark.parametrize("padding", [3.0, np.nan])
def test_masked_samples_change_nothing(name, padding):
    batch = make(name)
    mask = np.arange(len(keras.tree.flatten(batch.student)[0])) != 2
    short = make(name)
    short.teacher, short.student = (
        keras.tree.map_structure(lambda each: each[mask], outputs) for outputs in (batch.teacher, batch.student)
    )
    short.given = {
        key: value[mask] if key in ("labels", "index", "contrast_index") else value
        for key, value in batch.given.items()
    }

    def padded(each):
        return np.where(mask.reshape(-1, *[1] * (each.ndim - 1)), each, np.float32(padding))

    teacher, student = (keras.tree.map_structure(padded, outputs) for outputs in (batch.teacher, batch.student))
    value, gradients = batch.value_and_gradient(teacher, student, mask=mask)
    wanted, slopes = short.value_and_gradient()
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    for gradient, slope in zip(gradients, slopes, strict=True):
        assert not gradient[2].any()
        np.testing.assert_allclose(gradient[mask], slope, rtol=1e-4, atol=1e-6 * max(1.0, np.abs(slope).max()))


@EVERY
def test_no_gradient_reaches_the_teacher(name):
    batch = make(name)
    teacher, student = (keras.tree.map_structure(tf.Variable, outputs) for outputs in (batch.teacher, batch.student))
    with tf.GradientTape() as tape:
        value = batch.compute(
            keras.tree.map_structure(tf.identity, teacher), keras.tree.map_structure(tf.identity, student)
        )
    gradients = tape.gradient(value, [*keras.tree.flatten(teacher), *keras.tree.flatten(student)])
    half = len(gradients) // 2
    assert all(gradient is None for gradient in gradients[:half])
    assert all(gradient is not None for gradient in gradients[half:])


@EVERY
def test_student_that_is_the_teacher(name):
    batch = make(name)
    value, gradients = batch.value_and_gradient(batch.teacher, batch.teacher)
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)
    if name not in _NOT_ZERO | _ADAPTED:
        np.testing.assert_allclose(value, 0.0, atol=1e-6)
    if name not in (_NOT_ZERO | _ADAPTED) - {"soft_target_ce", "wsld"}:
        assert all(np.abs(gradient).max() < 1e-5 for gradient in gradients)


def extremes(name):
    """Yield outputs on which published code returns NaN or overflows."""
    batch = make(name)

    def both(change):
        return tuple(keras.tree.map_structure(change, outputs) for outputs in (batch.teacher, batch.student))

    yield "gaps of 1000", both(lambda each: each * np.float32(1000 / np.ptp(each)))
    yield "identical rows", both(lambda each: np.broadcast_to(each[:1], each.shape).copy())
    yield "all zero", both(np.zeros_like)
    yield "constant", both(lambda each: np.full_like(each, 3.1))
    student_zero = keras.tree.map_structure(np.zeros_like, batch.student)
    yield "student all zero", (batch.teacher, student_zero)
    yield "teacher all zero", (keras.tree.map_structure(np.zeros_like, batch.teacher), batch.student)
    yield (
        "one row zero",
        both(lambda each: np.where(np.arange(len(each)).reshape(-1, *[1] * (each.ndim - 1)) == 1, 0, each)),
    )
    yield "a dead channel", both(lambda each: np.where(np.arange(each.shape[-1]) == 1, 0, each).astype("float32"))
    yield "tiny", both(lambda each: each * np.float32(1e-20))


@EVERY
def test_extreme_outputs_are_finite(name):
    batch = make(name)
    for what, (teacher, student) in extremes(name):
        value, gradients = batch.value_and_gradient(teacher, student)
        assert np.isfinite(value), what
        assert all(np.isfinite(gradient).all() for gradient in gradients), what


@EVERY
def test_a_batch_of_one(name):
    shape = (1, *keras.tree.flatten(make(name).student)[0].shape[1:])
    value, gradients = make(name, shape).value_and_gradient()
    assert np.isfinite(value) and all(np.isfinite(gradient).all() for gradient in gradients)


@pytest.mark.parametrize("name", LOGITS)
@pytest.mark.parametrize("shape", [(3, 4, 5), (2, 3, 2, 5)])
def test_sequences_and_pixels_are_rows(name, shape):
    batch, rows = make(name, shape), make(name, shape)
    rows.teacher, rows.student = batch.teacher.reshape(-1, 5), batch.student.reshape(-1, 5)
    if "labels" in batch.given:
        rows.given = {**batch.given, "labels": batch.given["labels"].reshape(-1)}
    value, (gradient,) = rows.value_and_gradient()
    close(batch.value_and_gradient(), (value, [gradient.reshape(shape)]), rtol=1e-4)


@pytest.mark.parametrize("name", LOGITS)
def test_padded_positions_change_nothing(name):
    batch = make(name, (3, 4, 5))
    mask = np.array([[True] * 4, [True, True, False, False], [True, False, False, False]])
    rows = make(name, (3, 4, 5))
    rows.teacher, rows.student = batch.teacher[mask], batch.student[mask]
    if "labels" in batch.given:
        rows.given = {**batch.given, "labels": batch.given["labels"][mask]}
    wanted, (slope,) = rows.value_and_gradient()
    batch.teacher[~mask], batch.student[~mask] = np.nan, 1e30
    value, (gradient,) = batch.value_and_gradient(mask=mask)
    np.testing.assert_allclose(value, wanted, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(gradient[mask], slope, rtol=1e-4, atol=1e-6)
    assert not gradient[~mask].any()


@pytest.mark.parametrize("name", sorted(name for name, row in METHODS.items() if "labels" in row.needs))
def test_labels(name):
    batch = make(name)
    labels = batch.given["labels"]
    plain = batch.value_and_gradient()
    for same in (labels[:, None], np.eye(5, dtype="float32")[labels], labels.astype("uint8")):
        batch.given["labels"] = same
        close(batch.value_and_gradient(), plain)
    batch.given["labels"] = np.where(np.arange(6) < 4, labels, -1)
    rows = make(name)
    rows.teacher, rows.student, rows.given = batch.teacher[:4], batch.student[:4], {"labels": labels[:4]}
    np.testing.assert_allclose(batch.value_and_gradient()[0], rows.value_and_gradient()[0], rtol=1e-5)
    for missing, message in (
        ({}, "Expected labels, which the loss"),
        ({"labels": labels[:, None, None]}, "Expected one label"),
    ):
        batch.given = missing
        with pytest.raises(ValueError, match=message):
            batch.value_and_gradient()


@pytest.mark.parametrize(
    "name", sorted(name for name, row in METHODS.items() if row.family != "logits" and name != "fitnet")
)
def test_features_of_the_wrong_rank(name):
    batch = make(name)
    flat = keras.tree.map_structure(lambda each: each.reshape(-1), batch.student)
    with pytest.raises(ValueError, match="^Expected "):
        batch.loss.validate_outputs(keras.tree.map_structure(lambda each: each.reshape(-1), batch.teacher), flat)


def convnet(width, name):
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(width, 3, padding="same", name="first"),
            layers.BatchNormalization(name="first_norm"),
            layers.ReLU(name="first_relu"),
            layers.MaxPooling2D(name="pool"),
            layers.Conv2D(2 * width, 3, padding="same", name="second"),
            layers.BatchNormalization(name="second_norm"),
            layers.ReLU(name="second_relu"),
            layers.GlobalAveragePooling2D(name="embedding"),
            layers.Dense(10, name="logits"),
        ],
        name=name,
    )


@pytest.fixture(scope="module")
def digits():
    x, y = kd.data.digits().train
    return x[:64], y[:64]


def in_training(name):
    """Make the loss of a method for the layers of both convnets, and batches of digits for it."""
    arguments = {"dataset_size": 64, "embedding_width": 8} if name == "crd" else {}
    if name == "mlkd":
        arguments = {"temperatures": [2.0, 6.0]}
    if name in ("ofd", "fsp"):  # The matrices of FSP are of the widths of both layers.
        layers = [f"{stage}_{'norm' if name == 'ofd' else 'relu'}" for stage in ("first", "second")]
        arguments = {"teacher_layer_name": layers, "student_layer_name": layers}
    return kd.losses.get(name, **arguments)


def fed(digits, indexed=False):
    x, y = digits
    if indexed:
        return {"x": kd.data.indexed(x, y, batch_size=64, negatives=16, shuffle=False, seed=0)}
    return {"x": x, "y": y, "batch_size": 64, "shuffle": False}


@pytest.mark.parametrize("name", ["kd", "dkd", "rkd", *(name for name in METHODS if "adapter" in METHODS[name].needs)])
@pytest.mark.slow
def test_three_steps_lower_the_loss(name, digits):
    # One for each way to train a loss; the values and gradients of all are compared with those of their authors.
    # Step by step: a trace for each method costs three times as much, and `test_all_in_one_compiled_step` has them all.
    distiller = kd.Distiller(convnet(8, "teacher"), convnet(4, "student"), in_training(name), student_loss_weight=0.0)
    distiller.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", run_eagerly=True)
    losses = distiller.fit(**fed(digits, indexed=name == "crd"), epochs=4, verbose=0).history["distillation_loss"]
    assert losses[3] < losses[0] and np.isfinite(losses).all()
    assert sum(adapter is not None for adapter in distiller.objective.adapters) == (
        "adapter" in METHODS[name].needs and name not in ("cc",)
    )


@pytest.mark.slow
def test_all_in_one_compiled_step(digits):
    histories, distillers = [], []
    for eager in (False, True):
        keras.utils.set_random_seed(7)
        losses = [in_training(name) for name in METHODS]
        distiller = kd.Distiller(convnet(8, "teacher"), convnet(4, "student"), losses, student_loss_weight=0.0)
        distiller.compile(keras.optimizers.SGD(1e-5), "sparse_categorical_crossentropy", run_eagerly=eager)
        distiller.optimizer.build(distiller.trainable_variables)  # Variables made in a trace cost a second one.
        histories.append(distiller.fit(**fed(digits, indexed=True), epochs=2, verbose=0).history)
        distillers.append(distiller)
    for name in METHODS:
        np.testing.assert_allclose(histories[0][name], histories[1][name], rtol=1e-3, atol=1e-5, err_msg=name)
    # Steps as small as these, which keep the two together, may leave a loss where it was in float32.
    distillers[0].optimizer.learning_rate = 1e-3
    later = distillers[0].fit(**fed(digits, indexed=True), epochs=3, verbose=0).history
    # One that turns may pass where it began; it does not stay there.
    begun = {name: pytest.approx(histories[0][name][0], rel=1e-6) for name in METHODS}
    assert not [name for name in METHODS if all(value == begun[name] for value in later[name][1:])]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:Gradients do not exist")  # For the head, behind the features.
@pytest.mark.parametrize("name", _IN_KERAS)
def test_trains_in_the_distiller_of_keras(name, digits):
    arguments = {}
    if METHODS[name].family == "feature maps":
        arguments = {"teacher_layer_name": "second_relu", "student_layer_name": "second_relu"}
    distiller = keras.distillation.Distiller(
        convnet(4, "teacher"), convnet(4, "student"), kd.losses.get(name, **arguments), student_loss_weight=0.0
    )
    # One method of each family in a graph; that the others compile is `test_compiled_is_as_eager`.
    eager = name not in ("kd", "rkd", "at")
    distiller.compile(keras.optimizers.Adam(0.003), "sparse_categorical_crossentropy", run_eagerly=eager)
    losses = distiller.fit(**fed(digits), epochs=4, verbose=0).history["distillation_loss"]
    assert losses[3] < losses[0]


def test_unknown_names():
    with pytest.raises(ValueError, match="^Expected a distillation loss to be one of .*Did you mean 'dkd'"):
        kd.losses.get("dkdd")
    with pytest.raises(ValueError, match="^Expected a method of logits after 'logit_std_'. Received: 'logit_std_rkd'"):
        kd.losses.get("logit_std_rkd")
    assert kd.losses.get("logit_std_ttm").name == "logit_std_ttm"


def test_labels_of_several_outputs():
    one, two = make("dkd"), make("dkd", seed=1)
    labels = [one.given["labels"], two.given["labels"]]
    teachers, students = [one.teacher, two.teacher], [one.student, two.student]
    value = one.loss.compute_loss(teachers, students, labels=labels)
    wanted = one.value_and_gradient()[0] + two.value_and_gradient()[0]
    np.testing.assert_allclose(value, wanted, rtol=1e-5)
    with pytest.raises(ValueError, match="^Expected labels for each of the 2 outputs. Received: 1"):
        one.loss.compute_loss(teachers, students, labels=labels[:1])
    # Of no concern to a loss that needs none.
    maps = make("at")
    given = {"labels": dict(zip("ab", labels, strict=True))}
    np.testing.assert_allclose(
        maps.loss.compute_loss(maps.teacher, maps.student, **given), maps.value_and_gradient()[0]
    )
