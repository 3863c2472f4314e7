#!/usr/bin/env bash
# Where a difference or a feature is exactly zero, Keras's JAX and TensorFlow backends give other gradients.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6, jax 0.10.2, jaxlib 0.10.2; Python 3.11, Linux on x86-64.
#
# `abs` has the slope 1 at zero on JAX and 0 on TensorFlow, so that an L1 loss pushes a student away that starts as a
# copy of its teacher: its loss is 0 and its gradient is not. `normalize` of a row of zeros (a dead feature map) has a
# gradient of NaN on JAX and of 1e7 on TensorFlow: one such sample is enough to spoil a step.
#
# Output seen:
#     tensorflow: mean absolute error where student = teacher, size of the gradient: [0. 0. 0.]
#     tensorflow: normalize, gradient of a row of zeros: [1.e+07 1.e+07], of the row [3, 4]: [ 0.032 -0.024]
#     jax: mean absolute error where student = teacher, size of the gradient: [0.3333 0.3333 0.3333]
#     jax: normalize, gradient of a row of zeros: [nan nan], of the row [3, 4]: [ 0.032 -0.024]
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'keras==3.15.1' 'tensorflow==2.21.0' 'numpy==2.4.6' 'jax==0.10.2' 'jaxlib==0.10.2'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
cat >finding.py <<'PYTHON'
import sys

import keras
import numpy as np
from keras import ops

backend = keras.backend.backend()


def gradient(function, values):
    values = ops.convert_to_tensor(np.float32(values))
    if backend == "jax":
        import jax

        return np.asarray(jax.grad(function)(values))
    import tensorflow as tf

    with tf.GradientTape() as tape:
        tape.watch(values)
        loss = function(values)
    return tape.gradient(loss, values).numpy()


teacher = np.float32([[0.5, -2.0, 0.0]])
copy = np.abs(gradient(lambda student: keras.losses.MeanAbsoluteError()(teacher, student), teacher))
dead = gradient(lambda features: ops.sum(ops.normalize(features)), [[0.0, 0.0], [3.0, 4.0]])

print(f"{backend}: mean absolute error where student = teacher, size of the gradient: {copy.ravel().round(4)}")
print(f"{backend}: normalize, gradient of a row of zeros: {dead[0]}, of the row [3, 4]: {dead[1].round(4)}")
if backend == "jax":
    unchanged = np.allclose(copy, 1 / 3) and np.isnan(dead[0]).all()
else:
    unchanged = (copy == 0).all() and (dead[0] > 1e6).all()
sys.exit(0 if unchanged and np.isfinite(dead[1]).all() else "The behaviour has changed.")
PYTHON
for backend in tensorflow jax; do
    KERAS_BACKEND=$backend "$work/venv/bin/python" finding.py
done
