#!/usr/bin/env bash
# Under tf.distribute.MirroredStrategy, a Keras dropout layer drops the same units on every replica.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The state of its `keras.random.SeedGenerator` is a mirrored variable, so all replicas draw from equal seeds.
# `tf.nn.dropout` draws masks of its own on each replica. With two samples on each of two replicas there are two masks
# in a step and not four.
#
# Output seen:
#     keras.layers.Dropout: 100% of the units are treated alike on both replicas
#     tf.nn.dropout: 55% of the units are treated alike on both replicas
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

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
keras.utils.set_random_seed(0)
with strategy.scope():
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dropout(0.5)])


@tf.function
def on_each_replica():
    ones = tf.ones((2, 64))
    return strategy.run(lambda: (model(ones, training=True), tf.nn.dropout(ones, 0.5)))


by_keras, by_tensorflow = (
    [replica.numpy() for replica in strategy.experimental_local_results(masks)] for masks in on_each_replica()
)
same = {
    "keras.layers.Dropout": float(np.mean(by_keras[0] == by_keras[1])),
    "tf.nn.dropout": float(np.mean(by_tensorflow[0] == by_tensorflow[1])),
}
for name, share in same.items():
    print(f"{name}: {share:.0%} of the units are treated alike on both replicas")
unchanged = same["keras.layers.Dropout"] == 1.0 and same["tf.nn.dropout"] < 0.8
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
