#!/usr/bin/env bash
# After a resumed training is interrupted again, `BackupAndRestore(save_freq=N)` begins at epoch 0.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The callback restores the epoch of the model and not its own, which it writes into the next backup. A backup within
# the first epoch after a restart holds the trained weights and the epoch 0, so the next restart trains all epochs
# again, with the first rates of a schedule by epochs. With `save_freq="epoch"` the epoch is right.
#
# Output seen:
#     save_freq=epoch, run 1: epochs [0, 1, 2, 3], interrupted; the backup says epoch 3
#     save_freq=epoch, run 2: epochs [3], interrupted; the backup says epoch 3
#     save_freq=epoch, run 3: epochs [3, 4, 5], finished
#     save_freq=3, run 1: epochs [0, 1, 2, 3], interrupted; the backup says epoch 3
#     save_freq=3, run 2: epochs [3], interrupted; the backup says epoch 0
#     save_freq=3, run 3: epochs [0, 1, 2, 3, 4, 5], finished
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'keras==3.15.1' 'tensorflow==2.21.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import json
import sys

import keras
import numpy as np

x, y = np.ones((40, 3), "float32"), np.ones((40, 1), "float32")


class Interrupt(keras.callbacks.Callback):
    """Stops training after the eighth batch of an epoch."""

    def __init__(self, epoch):
        super().__init__()
        self.epoch, self.seen = epoch, []

    def on_epoch_begin(self, epoch, logs=None):
        self.seen.append(epoch)

    def on_train_batch_end(self, batch, logs=None):
        if self.seen[-1] == self.epoch and batch == 7:
            raise KeyboardInterrupt


def train(save_freq, epoch):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    interrupt = Interrupt(epoch)
    backup = keras.callbacks.BackupAndRestore(f"backup_{save_freq}", save_freq=save_freq)
    try:
        model.fit(x, y, batch_size=4, epochs=6, verbose=0, callbacks=[backup, interrupt])
        return interrupt.seen, None
    except KeyboardInterrupt:
        with open(f"backup_{save_freq}/training_metadata.json") as file:
            return interrupt.seen, json.load(file)["epoch"]


found = {}
for save_freq in ("epoch", 3):
    found[save_freq] = [train(save_freq, epoch) for epoch in (3, 3, None)]
    for number, (seen, saved) in enumerate(found[save_freq], 1):
        end = "finished" if saved is None else f"interrupted; the backup says epoch {saved}"
        print(f"save_freq={save_freq}, run {number}: epochs {seen}, {end}")
unchanged = found == {
    "epoch": [([0, 1, 2, 3], 3), ([3], 3), ([3, 4, 5], None)],
    3: [([0, 1, 2, 3], 3), ([3], 0), ([0, 1, 2, 3, 4, 5], None)],
}
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
