#!/usr/bin/env bash
# Under tf.distribute, keras.distillation.Distiller trains with other weights of its terms if a loss is given by name.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# Objects of class `keras.losses.Loss` divide their value by the number of replicas, because the replicas' gradients are
# summed. Functions do not, and `Distiller` turns names into functions. On two replicas a step by `"mse"` is therefore
# twice the step on one device, and a step by `MeanSquaredError()` is not. With one of each, the balance of hard labels
# and soft targets depends on the number of devices. In the logs, one tracker or the other is off by the same factor.
#
# Output seen:
#     loss=MeanSquaredError(): the step on two replicas is 1.000 times that on one;
#         logged on one: loss 0.3273, distillation_loss 0.3273; on two: loss 0.3273, distillation_loss 0.1637
#     loss='mse': the step on two replicas is 2.000 times that on one;
#         logged on one: loss 0.3273, distillation_loss 0.3273; on two: loss 0.6546, distillation_loss 0.3273
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
import tensorflow as tf
from keras.distillation import Distiller, LogitsDistillation

tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0], [tf.config.LogicalDeviceConfiguration()] * 2
)
two_replicas = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
random = np.random.default_rng(0)
x, y = random.normal(size=(32, 4)).astype("float32"), random.integers(0, 3, 32)


def model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def step(loss, strategy=None):
    """Return what one step of plain gradient descent adds to the student's kernel, and the logged loss."""
    with strategy.scope() if strategy else contextlib.nullcontext():
        distiller = Distiller(model(1), model(2), [LogitsDistillation(loss=loss)], student_loss_weight=0.0)
        distiller.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = distiller.student.get_weights()[0]
    logs = distiller.fit(x, y, batch_size=32, shuffle=False, verbose=0).history
    return distiller.student.get_weights()[0] - before, logs["loss"][0], logs["distillation_loss"][0]


ratios = {}
for name, loss in {"MeanSquaredError()": keras.losses.MeanSquaredError(), "'mse'": "mse"}.items():
    one, two = step(loss), step(loss, two_replicas)
    ratios[name] = float(np.linalg.norm(two[0]) / np.linalg.norm(one[0]))
    print(f"loss={name}: the step on two replicas is {ratios[name]:.3f} times that on one;")
    print(f"    logged on one: loss {one[1]:.4f}, distillation_loss {one[2]:.4f}; ", end="")
    print(f"on two: loss {two[1]:.4f}, distillation_loss {two[2]:.4f}")
expected = {"MeanSquaredError()": 1, "'mse'": 2}
unchanged = all(abs(ratios[name] - ratio) < 1e-3 for name, ratio in expected.items())
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
