"""DarkKnowledge writes the outputs of teacher and student, read back with TensorBoard's own reader."""

import gc
import io
import re
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from numpy.testing import assert_allclose, assert_array_equal
from PIL import Image
from scipy.special import log_softmax, softmax
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import api_pb2

import keras_distill as kd
from keras_distill.callbacks.dark_knowledge import drawn_epochs
from keras_distill.callbacks.samples import FixedSamples
from tests.callbacks.events import Events

SHAPE, CLASSES = (8, 8, 1), 3
X = np.random.default_rng(0).uniform(size=(300, *SHAPE)).astype("float32")
Y = np.argmax(X.mean(axis=(2, 3))[:, :3], axis=-1).astype("int32")
HARD = "sparse_categorical_crossentropy"
NAMES = ["left", "$middle$", "right"]


def model(width=4, seed=0, shape=SHAPE, head=None, policy=None):
    keras.utils.set_random_seed(seed)
    layers = [keras.layers.Flatten(), keras.layers.Dense(width, "relu", dtype=policy)]
    return keras.Sequential([keras.Input(shape), *layers, keras.layers.Dense(CLASSES, head, dtype=policy)])


def make(losses="kd", teacher=None, student=None, **options):
    distiller = kd.Distiller(teacher or model(16, 1), student or model(), losses, student_loss_weight=0.25)
    # Eagerly unless compiled: tracing would take longer than these few steps.
    options = options or {"run_eagerly": True}
    distiller.compile(keras.optimizers.SGD(0.1), HARD, metrics=["accuracy"], jit_compile=False, **options)
    return distiller


def fit(distiller, callback, epochs=1, extra=(), data=(X[:60], Y[:60]), **options):
    return distiller.fit(*data, batch_size=60, epochs=epochs, callbacks=[*extra, callback], verbose=0, **options)


def watching(folder, **options):
    """Create a callback that takes little time."""
    return kd.callbacks.DarkKnowledge(folder, X, **{"shown": 1, "temperatures": [1.0], **options})


class Stop(keras.callbacks.Callback):
    """Fail at an epoch, as a bug in the user's own callback would."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch = epoch

    def on_epoch_end(self, epoch, logs=None):
        if epoch == self.epoch:
            raise RuntimeError("the user's own")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A distiller after three epochs, and its logs."""
    logs = tmp_path_factory.mktemp("logs")
    losses = [kd.losses.LogitsDistillation(4.0), kd.losses.LogitMatching()]
    distiller = make(losses, fidelity=True, steps_per_execution=2)
    callback = kd.callbacks.DarkKnowledge(logs, (X, Y), NAMES, every=1, hparams={"batch_size": 60, "augmented": False})
    schedule = kd.callbacks.TemperatureScheduler(kd.schedules.linear(8.0, 4.0, steps=2))
    board = keras.callbacks.TensorBoard(logs, write_graph=False)
    history = fit(distiller, callback, epochs=3, extra=[schedule, board], data=(X, Y), validation_data=(X, Y)).history
    return distiller, history, logs


@pytest.fixture(scope="module")
def written(trained):
    return Events(trained[-1] / "dark_knowledge")


@pytest.mark.slow
def test_pictures_of_every_epoch(written):
    for tag in ("soft_targets", "teacher_student_confusion"):
        pictures = written.tensors(tag)
        assert list(pictures) == [0, 1, 2]
        for width, height, content in pictures.values():
            picture = Image.open(io.BytesIO(content))
            assert picture.size == (int(width), int(height))
            assert 300 < picture.width < 1000 and 300 < picture.height < 1000
            assert np.std(np.asarray(picture)) > 10


@pytest.mark.parametrize("owner", ["teacher", "student"])
def test_histograms_of_standard_deviations(trained, written, owner):
    scales = getattr(trained[0], owner).predict(X, verbose=0).std(axis=-1)
    edges, counts = written.histogram(f"logit_scale/{owner}", step=2)
    assert_allclose(edges[[0, -1]], [scales.min(), scales.max()], rtol=1e-5)
    assert counts.sum() == len(X)
    # A sample at the edge of a bucket may be rounded into the next one.
    assert np.abs(counts - np.histogram(scales, edges)[0]).sum() <= 4


def test_agreement(trained, written):
    distiller, history, _ = trained
    answers = [np.argmax(each.predict(X, verbose=0), -1) for each in (distiller.teacher, distiller.student)]
    agreement = written.scalars("agreement")
    assert_allclose(agreement[2], np.mean(answers[0] == answers[1]), rtol=1e-6)
    assert_allclose(list(agreement.values()), history["val_agreement"], rtol=1e-6)


def test_the_layout_finds_the_curves_of_tensorboard(trained, written):
    shown = layout_pb2.Layout.FromString(written.tensors("custom_scalars__config__")[0].item())
    charts = {chart.title: chart.multiline.tag for category in shown.category for chart in category.chart}
    assert [category.title for category in shown.category] == ["Distillation", "Metrics of the student"]
    curves = Events(trained[-1] / "train").tags | Events(trained[-1] / "validation").tags | written.tags
    found = {title: {tag for tag in curves for each in tags if re.match(each, tag)} for title, tags in charts.items()}
    assert found == {
        "Loss": {"epoch_loss"},
        "Hard labels and soft targets": {"epoch_student_loss", "epoch_distillation_loss"},
        "Distillation losses": {"epoch_logits_distillation", "epoch_logit_matching"},
        "Temperature": {"epoch_temperature"},
        "Agreement with the teacher": {"epoch_agreement", "agreement"},
        "Learning rate": {"epoch_learning_rate"},
        "accuracy": {"epoch_accuracy"},
    }


def test_hparams(trained):
    _, history, logs = trained
    session = Events(logs / "dark_knowledge" / "session_1")
    assert session.status == api_pb2.STATUS_SUCCESS
    found = session.hparams
    assert found.pop("learning_rate") == pytest.approx(0.1)
    assert {name: found.pop(name) for name in ("teacher", "student")}.keys() == {"teacher", "student"}
    assert found == {
        "teacher_parameters": 16 * 65 + 3 * 17,
        "student_parameters": 4 * 65 + 3 * 5,
        "distillation_losses": "logits_distillation + logit_matching",
        "logits_distillation_weight": 1.0,
        "logit_matching_weight": 1.0,
        "student_loss": HARD,
        "student_loss_weight": 0.25,
        "temperature": 8.0,
        "optimizer": "SGD",
        "learning_rate_schedule": "constant",
        "epochs": 3.0,
        "batch_size": 60.0,
        "augmented": False,
    }
    for name in ("val_loss", "val_accuracy", "val_student_loss"):
        assert_allclose(list(session.scalars(f"metrics/{name}").values()), history[name], rtol=1e-5)


@pytest.mark.parametrize(("steps_per_execution", "size"), [(1, 60.0), (2, 60.0), (5, None)])
def test_the_batch_size_is_found_or_left_out(tmp_path, steps_per_execution, size):
    callback, distiller = watching(tmp_path), make(run_eagerly=True, steps_per_execution=steps_per_execution)
    fit(distiller, callback, data=(X, Y))
    assert Events(tmp_path / "dark_knowledge" / "session_1").hparams.get("batch_size") == size


def test_a_failed_training_and_the_next_one(tmp_path):
    callback = watching(tmp_path)
    with pytest.raises(RuntimeError, match="the user's own"):
        fit(make(), callback, epochs=2, extra=[Stop(0)])
    fit(make(), callback)
    sessions = [Events(tmp_path / "dark_knowledge" / f"session_{number}") for number in (1, 2)]
    assert [each.status for each in sessions] == [api_pb2.STATUS_FAILURE, api_pb2.STATUS_SUCCESS]
    assert sessions[0].hparams["optimizer"] == "SGD"


def test_a_failure_in_the_first_batch_is_written_when_the_callback_is_released(tmp_path):
    def train():
        callback = watching(tmp_path)
        with pytest.raises(ValueError, match="labels from 0 to 2"):
            fit(make(), callback, data=(X[:60], Y[:60] + 1))

    train()
    gc.collect()
    session = Events(tmp_path / "dark_knowledge" / "session_1")
    assert session.status == api_pb2.STATUS_FAILURE
    assert session.hparams["student_loss"] == HARD


@pytest.mark.slow
def test_a_process_that_an_exception_ends_has_failed(tmp_path):
    program = (
        "import sys\n"
        "from tests.callbacks.test_dark_knowledge import Stop, fit, make, watching\n"
        "fit(make(), watching(sys.argv[1]), extra=[Stop(0)])\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, check=False)
    assert done.returncode == 1 and done.stderr.strip().endswith("RuntimeError: the user's own")
    assert Events(tmp_path / "dark_knowledge" / "session_1").status == api_pb2.STATUS_FAILURE


def test_steps_continue_after_an_interruption(tmp_path):
    for interruption in ([Stop(2)], []):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        callback, distiller = watching(tmp_path, every=1), make()
        try:
            fit(distiller, callback, epochs=4, extra=[*interruption, backup])
        except RuntimeError:
            pass
    assert list(Events(tmp_path / "dark_knowledge").scalars("agreement")) == [0, 1, 2, 3]
    assert Events(tmp_path / "dark_knowledge" / "session_2").status == api_pb2.STATUS_SUCCESS


@pytest.mark.parametrize(
    ("every", "epochs", "steps"),
    [(None, 3, [0, 2]), (None, 1, [0]), (2, 5, [1, 3, 4])],
)
def test_drawn_epochs(tmp_path, every, epochs, steps):
    fit(make(), watching(tmp_path, every=every), epochs)
    assert list(Events(tmp_path / "dark_knowledge").scalars("agreement")) == steps


@pytest.mark.parametrize("epochs", [1, 2, 9, 20, 71, 500])
def test_the_default_rate_is_seldom_and_holds_both_ends(epochs):
    drawn = sorted(drawn_epochs(epochs))
    assert drawn[0] == 0 and drawn[-1] == epochs - 1
    assert len(drawn) <= min(8, 1 + max(1, epochs // 10))
    steps = np.diff(drawn)
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_a_training_that_stops_early_is_drawn_at_its_end(tmp_path):
    stop = keras.callbacks.LambdaCallback(on_epoch_end=lambda epoch, logs: setattr(distiller, "stop_training", True))
    distiller = make()
    fit(distiller, watching(tmp_path, every=3), epochs=6, extra=[stop])
    assert list(Events(tmp_path / "dark_knowledge").scalars("agreement")) == [0]


def test_a_student_in_mixed_precision_under_a_softmax(tmp_path):
    student = model(policy="mixed_float16", head="softmax")
    distiller = make(student=student)
    fit(distiller, kd.callbacks.DarkKnowledge(tmp_path, X))
    assert Events(tmp_path / "dark_knowledge" / "session_1").hparams["optimizer"] == "SGD"
    body = keras.Sequential([student.layers[0], student.layers[1]])
    head = student.layers[2]
    logits = body.predict(X, verbose=0) @ np.float32(head.kernel) + np.float32(head.bias)
    answer = FixedSamples(X, 5).run_student(distiller)
    assert_allclose(answer.logits, logits, atol=5e-3)


def test_soft_targets_do_not_underflow():
    teacher = model(16, 1)
    teacher.layers[-1].bias.assign([0.0, 500.0, -3000.0])
    answer = FixedSamples(X, 4).run_teacher(make(teacher=teacher))
    for temperature in (1.0, 4.0):
        logits = teacher.predict(X[:4], verbose=0).astype("float64")
        wanted = log_softmax(logits / temperature, axis=-1) / np.log(10)
        assert temperature > 1.0 or wanted.min() < -1000
        assert_allclose(answer.log10_probabilities(temperature), wanted, rtol=1e-6, atol=1e-12)


def test_an_ensemble_at_the_temperature_of_the_training():
    members = [model(8, 1), model(8, 2)]
    answer = FixedSamples(X, 4).run_teacher(make(teacher=kd.teachers.Ensemble(members)))
    logits = [each.predict(X[:4], verbose=0) for each in members]
    for temperature in (1.0, 5.0):
        wanted = np.mean([softmax(each / temperature, axis=-1) for each in logits], axis=0)
        assert_allclose(10 ** answer.log10_probabilities(temperature), wanted, rtol=1e-4)


def test_a_teacher_that_does_not_change_runs_on_all_samples_once(monkeypatch):
    distiller, sizes = make(), []
    ask = distiller.teacher_outputs
    monkeypatch.setattr(distiller, "teacher_outputs", lambda x: (sizes.append(len(x)), ask(x))[1])
    samples = FixedSamples(X, 4)
    assert samples.run_teacher(distiller) is samples.run_teacher(distiller)
    assert sizes == [4, 296, 4]
    distiller.teacher.layers[-1].bias.assign([1.0, 0.0, 0.0])
    assert_allclose(samples.run_teacher(distiller).logits, distiller.teacher.predict(X, verbose=0), rtol=1e-5)


def test_stored_teachers(tmp_path):
    dataset = tf.data.Dataset.from_tensor_slices((X, Y)).batch(60)
    stores = {
        "dense": kd.targets.write(model(16, 1), dataset, tmp_path / "dense", dtype="float32"),
        "top": kd.targets.write(model(16, 1), dataset, tmp_path / "top", dtype="float32", top_k=2),
    }
    callbacks, distillers = {}, {}
    for name, store in stores.items():
        joined = store.join(dataset)
        distillers[name] = make(teacher=store), joined
        callbacks[name] = kd.callbacks.DarkKnowledge(tmp_path, next(iter(joined)), shown=2)
    distiller, joined = distillers["dense"]
    distiller.fit(joined, callbacks=[callbacks["dense"]], verbose=0)
    assert Events(tmp_path / "dark_knowledge").histogram("logit_scale/teacher", 0)[1].sum() == 60
    distiller, joined = distillers["top"]
    with pytest.raises(
        ValueError, match="Expected soft targets of all classes. Received: a store of the top k classes"
    ):
        distiller.fit(joined, callbacks=[callbacks["top"]], verbose=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": X[:0]}, r"at least one sample. Received: samples of shape \(0, 8, 8, 1\)"),
        ({"samples": {"a": X}}, "samples to be an array of inputs.*Received: dict"),
        ({"samples": ((X, X), Y)}, "samples to be an array of inputs.*Received: tuple"),
        ({"samples": tf.data.Dataset.from_tensors(X)}, r"Received: _TensorDataset.*next\(iter\(dataset\)\)"),
        ({"samples": (X, Y[:-1])}, r"one hard label for each of the 300 samples. Received: shape \(299,\)"),
        ({"shown": 0}, "shown to be a whole number >= 1. Received: shown=0"),
        ({"every": 1.5}, "every to be a whole number >= 1. Received: every=1.5"),
        ({"floor": 0}, "floor to be a number from 0 to 0.1. Received: floor=0"),
        ({"temperatures": [1.0, -1]}, "a finite temperature > 0. Received: temperature=-1"),
        ({"temperatures": "training"}, "temperatures to be a list of numbers"),
        ({"temperatures": []}, "temperatures to be a list of numbers"),
        ({"hparams": {"a": [1]}}, r"the hyper-parameter 'a' to be a bool, a number or a str. Received: \[1\]"),
        ({"hparams": {"a": float("nan")}}, "the hyper-parameter 'a'.*Received: nan"),
    ],
)
def test_bad_arguments(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=f"Expected .*{message}"):
        kd.callbacks.DarkKnowledge(**{"log_dir": tmp_path, "samples": (X, Y), **arguments})


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"samples": X[:, :7]}, r"samples of the student's input shape .*Received: shape \(300, 7, 8, 1\)"),
        ({"samples": X, "class_names": ["a", "b"]}, "Expected 3 class names. Received: 2"),
    ],
)
def test_bad_samples_when_training_begins(tmp_path, arguments, message):
    with pytest.raises(ValueError, match=message):
        fit(make(), kd.callbacks.DarkKnowledge(tmp_path, **arguments))
    assert not list(tmp_path.iterdir())


def test_the_model_must_be_a_distiller(tmp_path):
    alone = model()
    alone.compile("sgd", HARD, jit_compile=False)
    with pytest.raises(ValueError, match="Expected a Distiller. Received: Sequential"):
        alone.fit(X, Y, callbacks=[kd.callbacks.DarkKnowledge(tmp_path, X)], verbose=0)


def test_a_log_folder_that_cannot_be_written(tmp_path):
    file = tmp_path / "logs"
    file.write_text("mine")
    with pytest.raises(ValueError, match="Expected a writable log folder. Received: .*logs"):
        fit(make(), kd.callbacks.DarkKnowledge(file, X))
    assert file.read_text() == "mine"
    assert_array_equal(list(tmp_path.iterdir()), [file])
