"""Losses of a large vocabulary without its logits: values, what is never computed, and training."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill.losses.vocabulary import FusedVocabulary, fused_distillation
from keras_distill.losses.vocabulary.heads import find_head
from keras_distill.targets import TopK
from keras_distill.teachers import Trust

TOKENS, WIDTH, CLASSES, K, SHARE = (2, 5), 6, 40, 4, 0.3
FORMS = ("top_k", "all", "logits", "head")


def draw(spread=3.0, seed=0):
    """Student's hidden states, kernel and bias, teacher's hidden states and kernel, labels: exact in float32."""
    generator = np.random.default_rng(seed)
    shapes = [(*TOKENS, WIDTH), (WIDTH, CLASSES), (CLASSES,), (*TOKENS, WIDTH), (WIDTH, CLASSES)]
    arrays = [spread**0.5 * generator.normal(size=shape) for shape in shapes]
    arrays = [each.astype("float32").astype("float64") for each in arrays]
    return arrays[:3], arrays[3:], generator.integers(0, CLASSES, TOKENS)


def targets_of(form, teacher, temperature, dtype):
    """Return the teacher's answer in one of four forms."""
    hidden, kernel = teacher
    logits = hidden @ kernel
    if form == "head":
        return hidden.astype(dtype), kernel.astype(dtype), None
    if form == "logits":
        return logits.astype(dtype)
    k = K if form == "top_k" else CLASSES
    order = np.argsort(-logits, -1)
    values = np.take_along_axis(logits, order, -1)
    rest = tf.reduce_logsumexp(values[..., k:] / temperature, axis=-1, keepdims=True).numpy()
    return TopK(order[..., :k], values[..., :k].astype(dtype), rest, (temperature,), classes=CLASSES)


def unfused(inputs, labels, targets, temperature, mask=None):
    """The closed form in float64, from log-softmax."""
    hidden, kernel, bias = inputs
    logits = hidden @ kernel + bias
    teacher, student = targets, logits
    if isinstance(targets, TopK):
        teacher, student = targets.reduced(logits, temperature)
    elif isinstance(targets, tuple):
        teacher = targets[0] @ targets[1]
    log_p, log_q = (tf.nn.log_softmax(each / temperature) for each in (teacher, student))
    soft = temperature**2 * tf.reduce_sum(tf.exp(log_p) * (log_p - tf.maximum(log_q, -1e30)), axis=-1)
    hard = -tf.gather(tf.nn.log_softmax(logits), labels, batch_dims=2)
    counted = tf.cast(tf.ones(TOKENS) if mask is None else mask, "float64")
    return (SHARE * tf.reduce_sum(counted * hard) + (1 - SHARE) * tf.reduce_sum(counted * soft)) / tf.reduce_sum(
        counted
    )


def with_slopes(function, inputs, dtype):
    inputs = [tf.constant(each, dtype) for each in inputs]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        value = function(inputs)
    return [value, *tape.gradient(value, inputs)]


def assert_close(found, wanted, rtol):
    for one, other in zip(found, wanted, strict=True):
        assert_allclose(one, other, rtol=rtol, atol=rtol * np.abs(other).max())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0, 20.0])
def test_value_and_gradients_are_the_closed_form(form, temperature):
    inputs, teacher, labels = draw()
    exact = targets_of(form, teacher, temperature, "float64")
    wanted = with_slopes(lambda each: unfused(each, labels, exact, temperature), inputs, "float64")
    for dtype, chunk, rtol in (("float32", None, 1e-5), ("float32", 3, 1e-5), ("float64", 4, 1e-6)):
        given = targets_of(form, teacher, temperature, dtype)
        found = with_slopes(
            lambda each: fused_distillation(*each, labels, given, temperature, SHARE, chunk).loss, inputs, dtype
        )
        assert found[0].dtype == dtype
        assert_close(found, wanted, rtol)


@pytest.mark.parametrize("form", FORMS)
def test_high_temperatures_are_their_limit(form):
    inputs, teacher, labels = draw()
    wanted, found = (
        with_slopes(lambda each: run(each, targets_of(form, teacher, 1000.0, dtype)), inputs, dtype)
        for run, dtype in (
            (lambda each, given: unfused(each, labels, given, 1000.0), "float64"),
            (lambda each, given: fused_distillation(*each, labels, given, 1000.0, SHARE).loss, "float32"),
        )
    )
    # Of the rest, float32 logits know the sum of exponentials that are all nearly one less well than the others.
    assert_close(found, wanted, 1e-4 if form == "top_k" else 1e-5)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("temperature", [0.5, 1.0, 1000.0])
def test_gaps_of_thousands_stay_finite(form, temperature):
    inputs, teacher, labels = draw(spread=400.0)
    given = targets_of(form, teacher, temperature, "float32")
    found = with_slopes(
        lambda each: fused_distillation(*each, labels, given, temperature, SHARE).loss, inputs, "float32"
    )
    assert all(np.isfinite(each).all() for each in found) and found[0] > 10.0
    exact = targets_of(form, teacher, temperature, "float64")
    wanted = with_slopes(lambda each: unfused(each, labels, exact, temperature), inputs, "float64")
    assert_close(found, wanted, 1e-3)


@pytest.mark.parametrize("form", FORMS)
def test_a_masked_token_has_no_effect(form):
    inputs, teacher, labels = draw()
    mask = np.array([[True] * 5, [True, True, False, False, False]])
    wanted = with_slopes(
        lambda each: unfused(each, labels, targets_of(form, teacher, 2.0, "float64"), 2.0, mask), inputs, "float64"
    )
    given = targets_of(form, teacher, 2.0, "float32")
    inputs[0][1, 2:], labels[1, 2:] = np.nan, -1
    results = []

    def run(each):
        results.append(fused_distillation(*each, labels, given, 2.0, SHARE, mask=mask))
        return results[-1].loss

    found = with_slopes(run, inputs, "float32")
    assert not found[1][1, 2:].numpy().any() and not results[0].soft[1, 2:].numpy().any()
    assert_close(found, wanted, 1e-5)


def test_a_token_without_a_label_learns_from_its_teacher_alone():
    inputs, teacher, labels = draw()
    inputs, given = [each.astype("float32") for each in inputs], targets_of("top_k", teacher, 1.0, "float32")
    whole = fused_distillation(*inputs, labels, given, student_loss_weight=SHARE)
    labels[0] = -1
    result = fused_distillation(*inputs, labels, given, student_loss_weight=SHARE)
    assert_allclose(result.hard, np.where(labels < 0, 0.0, whole.hard), rtol=1e-6)
    wanted = SHARE * np.mean(whole.hard[1]) + (1 - SHARE) * np.mean(whole.soft)
    assert_allclose(result.loss, wanted, rtol=1e-6)
    alone = fused_distillation(*inputs, None, given, student_loss_weight=SHARE, gradients=False)
    assert_allclose(alone.loss, np.mean(whole.soft), rtol=1e-6)


def test_half_precision_is_computed_in_float32():
    inputs, teacher, labels = draw()
    inputs[0] = np.round(inputs[0] * 16) / 16
    given = targets_of("top_k", teacher, 2.0, "float32")
    hidden, *head = (
        tf.constant(each, dtype) for each, dtype in zip(inputs, ("float16", "float32", "float32"), strict=True)
    )
    with tf.GradientTape() as tape:
        tape.watch([hidden, *head])
        loss = fused_distillation(hidden, *head, labels, given, 2.0, SHARE).loss
    found = [loss, *tape.gradient(loss, [hidden, *head])]
    wanted = with_slopes(lambda each: fused_distillation(*each, labels, given, 2.0, SHARE).loss, inputs, "float32")
    assert [each.dtype for each in found] == ["float32", "float16", "float32", "float32"]
    assert_close(found[2:] + found[:1], wanted[2:] + wanted[:1], 1e-6)
    assert_close(found[1:2], wanted[1:2], 1e-3)


@pytest.mark.parametrize("wrong", ["classes", "positions", "labels"])
def test_shapes_must_fit(wrong):
    inputs, teacher, labels = draw()
    given = {
        "classes": np.zeros((*TOKENS, 7)),
        "positions": np.zeros((9, CLASSES)),
        "labels": np.zeros((*TOKENS, CLASSES)),
    }
    labels = labels[0] if wrong == "labels" else labels
    with pytest.raises(ValueError, match="^Expected (soft targets of shape|hidden .*, labels)"):
        fused_distillation(*inputs, labels, given[wrong])


# In a Distiller ------------------------------------------------------------------------------------------------------


@keras.saving.register_keras_serializable(package="tests")
class Counting(keras.layers.Dense):
    """A last layer that counts how often its output is really computed."""

    runs = []

    def call(self, inputs):
        def count(x):
            self.runs.append(len(x))
            return x

        outputs = super().call(inputs)
        counted = tf.numpy_function(count, [outputs], outputs.dtype, stateful=False)
        return tf.ensure_shape(counted, outputs.shape)


def language_model(width, seed=0, head=keras.layers.Dense, **options):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Embedding(30, width, mask_zero=True), keras.layers.LayerNormalization(name="norm")]
    return keras.Sequential([keras.Input((5,), dtype="int32"), *layers, head(30, name="lm_head", **options)])


@pytest.fixture(scope="module")
def text():
    """Tokens, the ones that follow, and weights; zeros are padding, and one label is missing."""
    tokens = np.random.default_rng(0).integers(1, 30, (8, 6)).astype("int32")
    tokens[0, 3:] = 0
    x, y = tokens[:, :-1], tokens[:, 1:].copy()
    y[1, 1] = -1
    return tf.data.Dataset.from_tensor_slices((x, y, np.linspace(0.5, 2.0, 8).astype("float32"))).batch(8)


@pytest.fixture(scope="module")
def store(text, tmp_path_factory):
    path = tmp_path_factory.mktemp("targets") / "top"
    return kd.targets.write(language_model(12), text, path, top_k=K, dtype="float32", temperatures=(1.0, 2.0))


def train(teacher, data, loss, compile_loss=None, student=None, steps=2, **compiled):
    distiller = kd.Distiller(teacher, student or language_model(6, 1), loss, student_loss_weight=SHARE)
    distiller.compile(keras.optimizers.SGD(0.5), compile_loss, **compiled)
    history = distiller.fit(data.repeat(steps), steps_per_epoch=steps, verbose=0).history
    return distiller, {name: values[0] for name, values in history.items()}


@pytest.mark.parametrize("live", [False, True])
@pytest.mark.slow
def test_it_trains_to_the_weights_of_the_unfused_losses(store, text, live):
    teacher, data = (language_model(12), text) if live else (store, store.join(text))
    unfused, wanted = train(teacher, data, kd.losses.LogitsDistillation(2.0), "sparse_categorical_crossentropy")
    fused, logs = train(teacher, data, FusedVocabulary(2.0, teacher_head="lm_head" if live else None, chunk=7))
    for one, other in zip(fused.get_weights(), unfused.get_weights(), strict=True):
        assert_allclose(one, other, rtol=1e-4, atol=1e-6)
    assert_allclose(logs["loss"], wanted["loss"], rtol=1e-5)
    assert list(logs) == ["loss", "distillation_loss", "total_loss", "temperature", "cross_entropy", "divergence"]
    data = data.map(lambda x, y, weight, *extras: (x, y, None, *extras) if extras else (x, y))
    compiled = {"loss": "sparse_categorical_crossentropy", "fidelity": True}
    unfused.compile("sgd", **compiled)
    found, wanted = (each.evaluate(data, verbose=0, return_dict=True) for each in (fused, unfused))
    pairs = (("cross_entropy", "student_loss"), ("divergence", "distillation_loss"), ("loss", "loss"))
    assert_allclose([found[one] for one, _ in pairs], [wanted[other] for _, other in pairs], rtol=1e-4)


def test_the_last_layer_never_runs_in_a_step(store, text):
    Counting.runs.clear()
    student = language_model(6, 1, Counting)
    distiller, _ = train(store, store.join(text), FusedVocabulary(2.0), student=student)
    distiller.evaluate(store.join(text), verbose=0)
    assert not Counting.runs
    distiller.predict(np.ones((2, 5), "int32"), verbose=0)
    assert Counting.runs == [2]


@pytest.mark.slow
def test_fidelity_and_metrics_run_it(store, text):
    loss = FusedVocabulary(2.0)
    plain, _ = train(store, store.join(text), loss)
    measured, logs = train(store, store.join(text), loss, fidelity=True, metrics=["accuracy"])
    assert {"agreement", "accuracy"} < logs.keys()
    for one, other in zip(measured.get_weights(), plain.get_weights(), strict=True):
        assert_allclose(one, other, rtol=1e-6)


def test_weights_move_without_retracing(store, text):
    data = store.join(text).map(lambda x, y, weight, extras: (x, y, None, extras))
    distiller, _ = train(store, data, FusedVocabulary(2.0))
    function = distiller.train_function
    for share in (1.0, 0.25, 0.0):
        distiller.student_loss_weight = share
        logs = distiller.fit(data, verbose=0).history
        terms = share * logs["cross_entropy"][0] + (1.0 - share) * logs["divergence"][0]
        assert_allclose(logs["loss"][0], terms, rtol=1e-5)
    assert distiller.train_function is function


@pytest.mark.slow
def test_a_saved_distiller_trains_on(store, text, tmp_path):
    distiller, _ = train(store, store.join(text), FusedVocabulary(2.0, head="lm_head", chunk=9))
    distiller.save(tmp_path / "d.keras")
    loaded = keras.models.load_model(tmp_path / "d.keras")
    assert repr(loaded.distillation_losses) == repr(distiller.distillation_losses)
    logs = [each.fit(store.join(text), verbose=0).history["loss"] for each in (distiller, loaded)]
    assert_array_equal(*logs)


def test_what_cannot_be_is_refused(store):
    def distiller(student=None, **options):
        return kd.Distiller(store, student or language_model(6), FusedVocabulary(**options.pop("loss", {})), **options)

    with pytest.raises(ValueError, match="no other loss with one that never holds the logits"):
        distiller().compile("sgd", "sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="keras.layers.Dense, linear or softmax"):
        distiller(language_model(6, activation="relu"))
    with pytest.raises(ValueError, match="lm_head"):
        distiller(loss={"head": "head"})
    with pytest.raises(ValueError, match="a student for the loss"):
        FusedVocabulary().compute_loss(None, None)
    trusting = distiller(trust=Trust(min_confidence=0.5))
    with pytest.raises(ValueError, match="where `trust` is given"):
        trusting.objective.soft_terms({"final_output": tf.zeros((1, 2))}, {"norm": tf.zeros((1, 2))}, None)


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("softmax", [False, True])
def test_what_feeds_the_last_layer_is_found(policy, softmax):
    inputs = keras.Input((5,), dtype="int32")
    body = keras.Sequential([keras.layers.Embedding(30, 4), keras.layers.LayerNormalization()], name="body")
    x = keras.layers.Dropout(0.5, name="dropout", dtype=policy)(body(inputs))
    head = keras.layers.Dense(30, activation="softmax" if softmax else None, name="lm_head")
    model = keras.Model(inputs, head(x))
    assert find_head(model) == find_head(model, "lm_head") == ("dropout", head)
