#!/usr/bin/env bash
# Inside keras.RematScope(mode="full"), a loss that a layer adds in its `call` is logged but not minimised (TensorFlow).
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The layer runs without recording and runs again in the backward pass, so what it hands out by the side (`add_loss`, a
# feature kept as an attribute) has no gradient. With `run_eagerly=True` the hint loss is part of the logged loss, but
# the weights are not trained on it. Without it, `fit` refuses this scope for a layer of one's own as for `Dense`:
# "custom_gradient decorator currently supports keywords arguments only when eager execution is enabled".
#
# Output seen:
#     without a scope:          logged loss 2.764 to 1.054, hint loss at the end 0.027
#     RematScope(mode="full"):  logged loss 2.764 to 2.460, hint loss at the end 1.445
#     the same in a graph:      ValueError
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
import contextlib
import sys

import keras
import numpy as np

random = np.random.default_rng(0)
x, y = random.normal(size=(64, 4)).astype("float32"), random.integers(0, 3, 64)
target = random.normal(size=(8,)).astype("float32")


class Hint(keras.layers.Layer):
    """A dense layer whose outputs are pulled towards a target, as by a hint of a teacher."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(8)

    def build(self, shape):
        self.dense.build(shape)

    def call(self, inputs):
        outputs = self.dense(inputs)
        self.add_loss(keras.ops.mean((outputs - target) ** 2))
        return outputs


def trained(scope, eagerly):
    keras.utils.set_random_seed(0)
    with scope:
        hint = Hint()
    model = keras.Sequential([keras.Input((4,)), hint, keras.layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.3), loss, run_eagerly=eagerly)
    logs = model.fit(x, y, batch_size=64, epochs=40, verbose=0).history["loss"]
    return logs, float(keras.ops.mean((hint.dense(x) - target) ** 2))


logs, plain = trained(contextlib.nullcontext(), eagerly=True)
print(f"without a scope:          logged loss {logs[0]:.3f} to {logs[-1]:.3f}, hint loss at the end {plain:.3f}")
logs, remat = trained(keras.RematScope(mode="full"), eagerly=True)
print(f'RematScope(mode="full"):  logged loss {logs[0]:.3f} to {logs[-1]:.3f}, hint loss at the end {remat:.3f}')
try:
    trained(keras.RematScope(mode="full"), eagerly=False)
    refused = False
except ValueError as error:
    refused = "only when eager execution is enabled" in str(error)
print(f"the same in a graph:      {'ValueError' if refused else 'runs'}")
sys.exit(0 if remat > 1.3 * plain and refused else "The behaviour has changed.")
PYTHON
