"""What is particular to JAX: the state, the teacher beside it, checks after the step, several devices."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal

import keras_distill as kd
from keras_distill.stages import momentum_teacher
from tests.jax import scenarios
from tests.jax.scenarios import HARD, data, filled


def classifier(width, head=None, seed=0):
    hidden = keras.layers.Dense(width, activation="relu", name="hidden")
    return filled(keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(3, head)]), seed)


def make(head=None, losses="kd", teacher=None, **compile_arguments):
    teacher = classifier(16, head, seed=3) if teacher is None else teacher
    distiller = kd.Distiller(teacher, classifier(8, head), losses)
    distiller.compile(keras.optimizers.SGD(0.1), HARD, **compile_arguments)
    return distiller


def fit(distiller, *batches, **arguments):
    arguments = {"batch_size": 32, "shuffle": False, "verbose": 0, **arguments}
    return distiller.fit(*(batches or data()), **arguments).history


class Traced(kd.Distiller):
    """Count how often the step is traced."""

    traces = 0

    def train_step(self, state, data):
        self.traces += 1
        return super().train_step(state, data)


def traced():
    student = classifier(8)
    distiller = Traced(momentum_teacher(student), student, "kd")
    distiller.compile(keras.optimizers.SGD(0.1), HARD)
    return distiller


# State --------------------------------------------------------------------------------------------------------------


def test_one_trace_whatever_is_assigned():
    distiller = traced()

    class Assign(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            distiller.temperature = batch + 1.0
            distiller.student_loss_weight = 0.1 * batch
            distiller.distillation_loss_weights = [1.0 + batch]

        def on_train_batch_end(self, batch, logs=None):
            seen.append((logs["temperature"], distiller.temperature, distiller.student_loss_weight))

    seen = []
    fit(distiller, epochs=2, callbacks=[Assign(), kd.callbacks.MomentumTeacher(0.9)])
    assert distiller.traces == 1
    assert_allclose(seen, [(1, 1, 0), (2, 2, 0.1), (3, 3, 0.2)] * 2)


def test_a_weight_that_is_assigned_counts_in_the_next_step():
    logs = []
    for weight in (0.0, 1.0):
        distiller = make()
        distiller.student_loss_weight = weight
        logs.append(fit(distiller))
    assert_allclose([each["loss"] for each in logs], [logs[0]["distillation_loss"], logs[1]["student_loss"]], rtol=1e-6)


def test_the_teacher_is_read_anew_and_never_given_away():
    distiller, (x, _) = make(), data()
    before = distiller.evaluate(x, verbose=0, return_dict=True)
    distiller.teacher.set_weights([0.5 * weight for weight in distiller.teacher.get_weights()])
    after = distiller.evaluate(x, verbose=0, return_dict=True)
    assert abs(before["distillation_loss"] - after["distillation_loss"]) > 1e-2
    weights = distiller.teacher.get_weights()
    fit(distiller, epochs=2)
    for weight, then in zip(distiller.teacher.get_weights(), weights, strict=True):
        assert_array_equal(weight, then)


def test_the_teacher_is_in_no_list_of_weights_and_in_no_checkpoint(tmp_path):
    distiller = make()
    fit(distiller)
    teachers = {id(weight) for weight in distiller.teacher.variables}
    assert not teachers & {id(variable) for variable in distiller.variables}
    distiller.save_weights(tmp_path / "student.weights.h5")
    distiller.save(tmp_path / "all.keras")
    again = keras.models.load_model(tmp_path / "all.keras")
    assert_allclose(again.teacher(data()[0]), distiller.teacher(data()[0]), rtol=1e-6)
    assert_allclose(again.predict(data()[0], verbose=0), distiller.predict(data()[0], verbose=0), rtol=1e-6)
    assert (tmp_path / "student.weights.h5").stat().st_size < (tmp_path / "all.keras").stat().st_size


def test_layers_that_teacher_and_student_share():
    body = keras.layers.Dense(8, activation="relu", name="body")
    body.trainable = False
    models = [keras.Sequential([keras.Input((4,)), body, keras.layers.Dense(3)]) for _ in range(2)]
    distiller = kd.Distiller(*models, "kd")
    distiller.compile("sgd", HARD)
    logs = fit(distiller, epochs=3)
    assert logs["loss"][-1] < logs["loss"][0]


def test_steps_per_execution_and_eager_steps_change_nothing():
    x, y = data()
    for samples, arguments in ((96, {"steps_per_execution": 3}), (32, {"run_eagerly": True})):
        distillers = make(), make(**arguments)
        for each in distillers:
            fit(each, x[:samples], y[:samples])
        for one, other in zip(*(each.student.get_weights() for each in distillers), strict=True):
            assert_allclose(other, one, atol=1e-6)


def test_a_single_batch_is_a_step():
    distiller, other, (x, y) = make(), make(), data()
    logs = distiller.train_on_batch(x, y, return_dict=True)
    assert_allclose(logs["loss"], fit(other, batch_size=96)["loss"][0], rtol=1e-6)
    assert_allclose(distiller.student.get_weights()[0], other.student.get_weights()[0], atol=1e-7)
    assert set(distiller.test_on_batch(x, y, return_dict=True)) == {"loss", "student_loss", "total_loss"}


def test_dropout_draws_anew_in_each_step():
    student = keras.Sequential([keras.Input((4,)), keras.layers.Dropout(0.5, seed=1), keras.layers.Dense(3)])
    distiller = kd.Distiller(classifier(16), student, "kd", student_loss_weight=0.0)
    distiller.compile(keras.optimizers.SGD(0.0), HARD)
    seed = student.layers[0].seed_generator.state
    before = np.array(seed)
    losses = [fit(distiller, batch_size=96)["loss"][0] for _ in range(2)]
    assert losses[0] != losses[1] and (np.array(seed) != before).any()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision(policy):
    exact = fit(make(), epochs=3)
    keras.config.set_dtype_policy(policy)
    try:
        distiller = make()
    finally:
        keras.config.set_dtype_policy("float32")
    assert isinstance(distiller.optimizer, keras.optimizers.LossScaleOptimizer) == (policy == "mixed_float16")
    assert_allclose(fit(distiller, epochs=3)["loss"], exact["loss"], rtol=0.02)


def test_a_training_that_is_resumed_ends_where_one_without_a_break_does(tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    def trained(*callbacks):
        distiller = make()
        schedule = kd.callbacks.TemperatureScheduler(kd.schedules.linear(8.0, 2.0, steps=3))
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup", delete_checkpoint=False)
        fit(distiller, epochs=4, callbacks=[schedule, *([backup] if callbacks or resumed else []), *callbacks])
        return distiller

    resumed = False
    whole = trained()
    with pytest.raises(KeyboardInterrupt):
        trained(Stop())
    resumed = True
    again = trained()
    assert int(again.epochs_trained) == int(whole.epochs_trained) == 4
    for one, other in zip(again.student.get_weights(), whole.student.get_weights(), strict=True):
        assert_allclose(one, other, atol=1e-6)


def test_a_loss_of_ones_own_with_keras_arguments():
    class Own(kd.Distiller):
        def compute_loss(self, x, y, y_pred, sample_weight=None, training=True):
            return super().compute_loss(x, y, y_pred, sample_weight, training) + 1.0

    distiller = Own(classifier(16, seed=3), classifier(8), "kd")
    distiller.compile(keras.optimizers.SGD(0.1), HARD)
    assert_allclose(fit(distiller)["loss"][0], fit(make())["loss"][0] + 1.0, rtol=1e-5)


# Checks -------------------------------------------------------------------------------------------------------------


def spoilt(kind):
    x, y = data()
    if kind == "nan":
        x[70] = np.nan
    return x, np.where(np.arange(96) == 70, 7, y) if kind == "label" else y


@pytest.mark.parametrize("eager", [False, True])
@pytest.mark.parametrize(
    "kind, error, message",
    [
        (
            "nan",
            FloatingPointError,
            "Expected a finite student_loss in every training step. Received: nan in batch 3 of epoch 1.",
        ),
        ("label", ValueError, "Expected labels from 0 to 2. Received: 0 to 7."),
    ],
)
def test_a_failed_check_names_what_failed_and_the_batch_leaves_no_trace(kind, error, message, eager):
    distiller, good, (x, y) = make(run_eagerly=eager), make(), spoilt(kind)
    with pytest.raises(error) as caught:
        fit(distiller, x, y)
    assert str(caught.value) == message
    fit(good, x[:64], y[:64])
    for weight, expected in zip(distiller.student.get_weights(), good.student.get_weights(), strict=True):
        assert_allclose(weight, expected, atol=1e-6)
    assert np.isfinite(fit(distiller)["loss"][0])  # It can be trained on.


def test_evaluation_and_single_batches_are_checked_too():
    distiller, (x, y) = make(), data()
    for call in (distiller.train_on_batch, distiller.evaluate):
        with pytest.raises(ValueError, match="Expected labels from 0 to 2. Received: 9 to 9."):
            call(x, np.full_like(y, 9), **({"verbose": 0} if call == distiller.evaluate else {}))


def test_probabilities_where_logits_should_be_stop_the_first_batch():
    inputs = keras.Input((4,))
    scores = keras.ops.softplus(keras.layers.Dense(3)(inputs))
    teacher = keras.Model(inputs, scores / keras.ops.sum(scores, axis=-1, keepdims=True))
    with pytest.raises(ValueError, match="Expected logits from the teacher. Received: rows of probabilities"):
        fit(make(teacher=teacher))


def test_no_batch_at_all():
    with pytest.raises(ValueError, match=r"^Expected data with at least one sample\. Received: none\.$"):
        fit(make(), tf.data.Dataset.from_tensor_slices(data()).filter(lambda *_: False), batch_size=None)


def test_an_error_while_tracing_leaves_the_model_whole():
    distiller, (x, y) = make(), data()
    weights = distiller.student.get_weights()
    with pytest.raises(ValueError):
        fit(distiller, x, y[:, None, None, None] * np.ones((1, 2, 3, 4)))
    assert_array_equal(distiller.student.get_weights()[0], weights[0])
    assert np.isfinite(fit(distiller)["loss"][0])


@pytest.mark.parametrize(
    "call",
    [
        lambda: kd.losses.FusedVocabulary(),
        lambda: kd.stages.MutualLearning([]),
        lambda: kd.export.export(classifier(4), "folder"),
        lambda: kd.teachers.as_teacher(lambda x: x),
        lambda: kd.losses.fused_distillation(
            np.ones((2, 4)), np.ones((4, 3)), np.ones(3), np.arange(2), np.ones((2, 3))
        ),
    ],
)
def test_what_needs_tensorflow_says_so(call):
    with pytest.raises(ValueError, match=r"Expected the TensorFlow backend for .*\. Received: KERAS_BACKEND=jax\."):
        call()


# Devices ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def two_devices():
    devices = keras.distribution.list_devices()
    if len(devices) < 2:
        pytest.skip("needs two devices")
    before = keras.distribution.distribution()
    keras.distribution.set_distribution(keras.distribution.DataParallel(devices=devices[:2]))
    yield
    keras.distribution.set_distribution(before)


@pytest.fixture(scope="module")
def on_one_device():
    names = ("soft_targets", "feature_losses", "moving_teacher", "contrastive")
    return {name: scenarios.SCENARIOS[name](None) for name in names}


@pytest.mark.parametrize("name", ["soft_targets", "feature_losses", "moving_teacher", "contrastive"])
def test_two_devices_come_to_what_one_does(on_one_device, two_devices, name):
    for what, values in scenarios.SCENARIOS[name](None).items():
        assert_allclose(values, on_one_device[name][what], rtol=1e-5, atol=1e-6, err_msg=what)


def test_models_made_before_the_devices_were_chosen(request):
    distiller = make()
    request.getfixturevalue("two_devices")
    distiller.compile("sgd", HARD)
    with pytest.raises(ValueError, match="Expected teacher and student on all devices. Received: .* on one. Call"):
        fit(distiller)
