#!/usr/bin/env bash
# On TensorFlow, `optimizer.iterations` counts one step too many in every epoch of a data set of unknown length.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# It is as if the step that finds the data set at its end were counted too. After a filter, 3 epochs of 11 batches are
# counted as 36 steps, so a schedule of the learning rate, or of anything else that follows `optimizer.iterations`, runs
# ahead by one step per epoch. `tf.data.experimental.assert_cardinality` avoids it.
#
# Output seen:
#     known length: 33 batches trained on, optimizer.iterations = 33
#     filtered: 33 batches trained on, optimizer.iterations = 36
#     filtered, assert_cardinality: 33 batches trained on, optimizer.iterations = 33
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
import sys

import keras
import numpy as np
import tensorflow as tf

x, y = np.zeros((33, 4), "float32"), np.zeros((33,), "int64")
batches = tf.data.Dataset.from_tensor_slices((x, y)).batch(3)
unknown = batches.filter(lambda x, y: True)
data = {
    "known length": batches,
    "filtered": unknown,
    "filtered, assert_cardinality": unknown.apply(tf.data.experimental.assert_cardinality(11)),
}


class Count(keras.callbacks.Callback):
    batches = 0

    def on_train_batch_end(self, batch, logs=None):
        self.batches += 1


counts = {}
for name, examples in data.items():
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    count = Count()
    model.fit(examples, epochs=3, verbose=0, callbacks=[count])
    counts[name] = count.batches, int(model.optimizer.iterations)
    print(f"{name}: {counts[name][0]} batches trained on, optimizer.iterations = {counts[name][1]}")
unchanged = list(counts.values()) == [(33, 33), (33, 36), (33, 33)]
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
