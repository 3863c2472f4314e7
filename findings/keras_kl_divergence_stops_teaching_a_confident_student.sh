#!/usr/bin/env bash
# keras.losses.KLDivergence gives no gradient where a student is sure of the wrong class.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# It clips probabilities at 1e-7. Once the student's probability of the teacher's class is below that, at a gap of about
# 16 logits, the gradient with respect to the student's logits falls from 1 to 1e-14, while the exact gradient (of the
# cross-entropy with soft targets on logits, which differs from the KL divergence by a constant) stays 1. The loss
# itself stays at 16.1. `keras.distillation.LogitsDistillation` computes its KL divergence in this way.
#
# Output seen:
#     gap of  5 logits: loss  4.900, gradient 9.8e-01, exact gradient 0.980
#     gap of 16 logits: loss 16.000, gradient 1.0e+00, exact gradient 1.000
#     gap of 17 logits: loss 16.118, gradient 1.4e-14, exact gradient 1.000
#     gap of 30 logits: loss 16.118, gradient 9.4e-21, exact gradient 1.000
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

found = {}
for gap in (5.0, 16.0, 17.0, 30.0):
    teacher = tf.nn.softmax([[gap, 0.0, 0.0]])
    student = tf.Variable([[0.0, gap, 0.0]])
    with tf.GradientTape(persistent=True) as tape:
        clipped = keras.losses.KLDivergence()(teacher, tf.nn.softmax(student))
        exact = tf.nn.softmax_cross_entropy_with_logits(teacher, student)
    found[gap] = [float(np.abs(tape.gradient(loss, student)).max()) for loss in (clipped, exact)]
    print(f"gap of {gap:2.0f} logits: loss {float(clipped):6.3f}, ", end="")
    print(f"gradient {found[gap][0]:.1e}, exact gradient {found[gap][1]:.3f}")
fine = all(abs(found[gap][0] - found[gap][1]) < 1e-5 for gap in (5.0, 16.0))
gone = all(found[gap][0] < 1e-9 and found[gap][1] > 0.99 for gap in (17.0, 30.0))
sys.exit(0 if fine and gone else "The behaviour has changed.")
PYTHON
