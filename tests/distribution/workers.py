"""Train as one of two workers, and write what came out. Run by `test_multiworker.py`.

    python workers.py FOLDER [KILLED]

KILLED is the number of a worker that kills itself in the middle of the third epoch of the second training.
"""

import json
import os
import pathlib
import signal
import sys
import time

import keras
import tensorflow as tf
from problem import data, differences, distiller, fit_arrays, model, weights_of

import keras_distill as kd

folder, killed = pathlib.Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None
several = kd.distribution.strategy("multiworker", join_seconds=100)
number, one = several.cluster_resolver.task_id, tf.distribute.get_strategy()


class Kill(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if number == killed and self.model.epochs_trained.numpy() == 2 and batch == 4:
            os.kill(os.getpid(), signal.SIGKILL)


def fit_stored(strategy, callbacks=()):
    """Train on stored targets, of which each worker reads its own."""
    x, y, _ = data()
    store = kd.targets.open(folder / "store")
    made = distiller(strategy, kd.losses.LogitsDistillation(temperature=3.0), store)
    read = []

    def own(examples):
        read.append(int(examples.cardinality()))
        return store.join(examples, order="any")

    with strategy.scope():
        batches = kd.distribution.distribute(tf.data.Dataset.from_tensor_slices((x, y)), 12, own)
    history = made.fit(batches, epochs=4, verbose=0, callbacks=list(callbacks))
    return weights_of(made), history.history, read


def writers():
    """Callbacks that write, each worker to a place of its own."""
    own = folder / f"worker{number}"
    return [
        keras.callbacks.BackupAndRestore(own / "backup"),
        keras.callbacks.ModelCheckpoint(own / "{epoch}.weights.h5", save_weights_only=True),
    ]


def store():
    x, _, _ = data()
    if kd.distribution.is_chief(several):
        kd.targets.write(model(16, "teacher"), x, folder / "store", progress=False)
    while not (folder / "store" / "manifest.json").exists():
        time.sleep(0.1)


def compare_fits_on_arrays():
    difference = differences(*(fit_arrays(each, 90, 9, steps_per_execution=32) for each in (one, several)))
    (folder / f"arrays{number}.json").write_text(json.dumps(difference))


if killed is not None:
    keras.utils.set_random_seed(1)
    store()
    compare_fits_on_arrays()
try:
    weights, history, read = fit_stored(several, [Kill(), *writers()])
except ConnectionError as error:
    (folder / f"stopped{number}.json").write_text(json.dumps({"said": str(error)}))
    raise SystemExit(3) from None
weights_alone, history_alone, _ = fit_stored(one)
outcome = {
    "weights": float(abs(weights - weights_alone).max()),
    "loss": history["loss"],
    "loss_alone": history_alone["loss"],
    "read": read,
}
(folder / f"stored{number}.json").write_text(json.dumps(outcome))
