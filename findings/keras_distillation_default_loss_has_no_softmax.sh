#!/usr/bin/env bash
# keras.distillation.LogitsDistillation() applies the KL divergence to raw logits, without a softmax.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# Its default loss is the name "kl_divergence". The class applies the softmax, and the factor of the squared
# temperature, only to an object of class `keras.losses.KLDivergence`; the name resolves to a function, which then gets
# the logits divided by the temperature. Negative logits are clipped to 1e-7, so most entries of the gradient are
# exactly zero. The "divergence" of a student whose probabilities equal the teacher's is negative. Training runs without
# a warning.
#
# Output seen:
#     temperature² · KL(teacher, student), in float64: 6.756
#     LogitsDistillation(loss=KLDivergence()):         6.756
#     LogitsDistillation():                            25.938
#     share of its gradient that is exactly zero:      0.67
#     LogitsDistillation() where student = teacher + 7, the same probabilities: -0.840
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
from keras.distillation import LogitsDistillation

random = np.random.default_rng(0)
teacher, student = (3 * random.normal(size=(64, 10)).astype("float32") for _ in range(2))
temperature = 3.0


def log_softmax(logits):
    logits = logits.astype("float64") / temperature
    return logits - np.log(np.exp(logits).sum(-1, keepdims=True))


p, q = log_softmax(teacher), log_softmax(student)
exact = temperature**2 * (np.exp(p) * (p - q)).sum(-1).mean()
by_default = LogitsDistillation(temperature=temperature)
by_object = LogitsDistillation(temperature=temperature, loss=keras.losses.KLDivergence())


def value(loss, logits):
    return float(loss.compute_loss(keras.ops.array(teacher), keras.ops.array(logits)))


variable = tf.Variable(student)
with tf.GradientTape() as tape:
    loss = by_default.compute_loss(keras.ops.array(teacher), variable)
zeros = float(np.mean(tape.gradient(loss, variable).numpy() == 0.0))

print(f"temperature² · KL(teacher, student), in float64: {exact:.3f}")
print(f"LogitsDistillation(loss=KLDivergence()):         {value(by_object, student):.3f}")
print(f"LogitsDistillation():                            {value(by_default, student):.3f}")
print(f"share of its gradient that is exactly zero:      {zeros:.2f}")
print(f"LogitsDistillation() where student = teacher + 7, the same probabilities: {value(by_default, teacher + 7):.3f}")
right = abs(value(by_object, student) / exact - 1) < 1e-3
wrong = abs(value(by_default, student) / exact - 1) > 1 and zeros > 0.5 and value(by_default, teacher + 7) < -0.1
sys.exit(0 if right and wrong else "The behaviour has changed.")
PYTHON
