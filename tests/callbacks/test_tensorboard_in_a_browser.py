"""A distillation of handwritten digits in a real TensorBoard, opened in a real browser: every tab shows it."""

import contextlib
import re
import subprocess
import sys
import threading

import keras
import pytest

import keras_distill as kd
from tests.browsing import page
from tests.callbacks.events import Events
from tests.conftest import SHARED

_SECONDS = 60
CONFUSION = "teacher_student_confusion"
TABS = {
    "Time Series": ["soft_targets", CONFUSION, "epoch_distillation_loss", "logit_scale"],
    "Scalars": ["epoch_loss", "epoch_student_loss", "epoch_temperature", "agreement"],
    "Images": ["soft_targets", CONFUSION],
    "Histograms": ["logit_scale", "logit_scale/teacher", "logit_scale/student"],
    "Custom Scalars": ["Distillation", "Hard labels and soft targets", "Temperature", "Metrics of the student"],
    "HParams": ["temperature", "student_loss_weight", "batch_size", "teacher_parameters", "metrics/val_accuracy"],
}


def data():
    """Load 600 digits for training and 200 for validation, from MNIST if it is prepared, else from scikit-learn."""
    folder = SHARED / "data" / "tfds"
    if not (folder / "mnist").is_dir():
        digits = kd.data.digits()
        return digits.first(600).train, digits.validation
    import tensorflow_datasets as tfds

    pairs = tfds.load("mnist", split=["train[:600]", "train[600:800]"], data_dir=folder, batch_size=-1)
    return [(pair["image"].numpy().astype("float32") / 255.0, pair["label"].numpy()) for pair in pairs]


def model(width, shape):
    layers = [keras.layers.Flatten(), keras.layers.Dense(width, activation="relu"), keras.layers.Dense(10)]
    return keras.Sequential([keras.Input(shape), *layers])


@pytest.fixture(scope="module")
def logs(tmp_path_factory):
    """The logs of two distillations of one teacher."""
    keras.utils.set_random_seed(0)
    folder, (train, validation) = tmp_path_factory.mktemp("logs"), data()
    shape, hard = train[0].shape[1:], keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    teacher = model(64, shape)
    # Eagerly: tracing would take longer than these few steps.
    teacher.compile(keras.optimizers.Adam(1e-2), hard, run_eagerly=True)
    teacher.fit(*train, batch_size=100, epochs=5, verbose=0)
    for weight in (0.1, 0.5):
        distiller = kd.Distiller(teacher, model(8, shape), "kd", student_loss_weight=weight)
        options = {"metrics": ["accuracy"], "fidelity": True, "run_eagerly": True}
        distiller.compile(keras.optimizers.Adam(1e-2), "sparse_categorical_crossentropy", **options)
        run = folder / f"weight_{weight}"
        callbacks = [
            kd.callbacks.TemperatureScheduler(kd.schedules.linear(6.0, 2.0, steps=3)),
            keras.callbacks.TensorBoard(run, write_graph=False),
            kd.callbacks.DarkKnowledge(run, validation),
        ]
        options = {"batch_size": 100, "epochs": 3, "verbose": 0}
        distiller.fit(*train, validation_data=validation, callbacks=callbacks, **options)
    return folder


@contextlib.contextmanager
def tensorboard(logs):
    """Serve a folder of logs; yield the address."""
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(logs), "--host", "127.0.0.1", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    # The server always ends, and with it the wait for the next line.
    limit = threading.Timer(2 * _SECONDS, server.kill)
    limit.start()
    try:
        lines = []
        for line in server.stdout:
            lines.append(line)
            if address := re.search(r"http://127\.0\.0\.1:\d+/", line):
                yield address[0]
                return
        pytest.fail(f"TensorBoard did not start: {''.join(lines)}")
    finally:
        limit.cancel()
        server.kill()
        server.communicate()


def shown(tab, text):
    """Wait until a text is visible; TensorBoard keeps the hidden pages of other tabs."""
    found = tab.get_by_text(text, exact=True).locator("visible=true").first
    found.wait_for(timeout=1000 * _SECONDS)
    return found


def check_images(tab, logs):
    written = [Events(run / "dark_knowledge") for run in sorted(logs.iterdir())]
    sizes = [run.tensors(tag)[2][:2].astype(int) for tag in ("soft_targets", CONFUSION) for run in written]
    seen = tab.locator("img:visible")
    seen.nth(len(sizes) - 1).wait_for(timeout=1000 * _SECONDS)
    size = "each => each.decode().then(() => [each.naturalWidth, each.naturalHeight])"
    assert [each.evaluate(size) for each in seen.all()] == [list(each) for each in sizes]


def check_custom_scalars(tab, logs):
    charts = ["Loss", "Hard labels and soft targets", "Temperature", "Agreement with the teacher", "Learning rate"]
    for title in [*charts, "accuracy"]:
        shown(tab, title)
    # Two trainings have a train run and a validation run each; the learning rate is only in the train run, and the
    # agreement has a third run.
    for curves, charts in ((2, 1), (4, 3), (6, 1), (8, 1)):
        found = tab.get_by_text(f"Matches ({curves})").locator("visible=true")
        found.nth(charts - 1).wait_for(timeout=1000 * _SECONDS)


def check_hparams(tab, logs):
    for value in ("0.10000", "0.50000"):
        shown(tab, value)
    for run in sorted(logs.iterdir()):
        shown(tab, f"{run.name} in {logs.name}")


CHECKS = {"Images": check_images, "Custom Scalars": check_custom_scalars, "HParams": check_hparams}


@pytest.mark.slow
def test_every_tab_shows_the_distillation(logs):
    with tensorboard(logs) as address, page(1600, 1200) as watched:
        watched.page.goto(address)
        for name, texts in TABS.items():
            watched.page.get_by_role("tab", name=re.compile(f"^{name}$", re.IGNORECASE)).click(timeout=1000 * _SECONDS)
            for text in texts:
                shown(watched.page, text)
            CHECKS.get(name, lambda *_: None)(watched.page, logs)
        assert watched.errors == []
        assert all(each.startswith(address) for each in watched.requests)
