#!/usr/bin/env bash
# Sparse labels outside the classes cost nothing on Keras's JAX backend, and raise an error on TensorFlow's (CPU).
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6, jax 0.10.2, jaxlib 0.10.2; Python 3.11, Linux on x86-64.
#
# On JAX `sparse_categorical_crossentropy` makes one-hot rows of the labels. For a label of -1 (a common mark of
# unlabelled data), or of `classes` (labels counted from 1), the row is all zeros: its loss is 0, it has no gradient,
# and it still counts in the mean. The same script stops at the first such batch on TensorFlow and trains on JAX on
# whatever labels happen to be in range.
#
# Output seen:
#     tensorflow: losses of labels [2, 0] of 3 classes: [0.4076, 2.4076]
#     tensorflow: losses of labels [-1, 0] of 3 classes: InvalidArgumentError
#     tensorflow: losses of labels [3, 0] of 3 classes: InvalidArgumentError
#     jax: losses of labels [2, 0] of 3 classes: [0.4076, 2.4076]
#     jax: losses of labels [-1, 0] of 3 classes: [0.0, 2.4076]
#     jax: losses of labels [3, 0] of 3 classes: [0.0, 2.4076]
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

backend = keras.backend.backend()
logits = np.float32([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
found = {}
for label in (2, -1, 3):
    try:
        losses = keras.ops.sparse_categorical_crossentropy(np.array([label, 0]), logits, from_logits=True)
        found[label] = [abs(round(float(loss), 4)) for loss in losses]
    except Exception as error:
        found[label] = type(error).__name__
    print(f"{backend}: losses of labels [{label}, 0] of 3 classes: {found[label]}")
expected = {"jax": [0.0, 2.4076], "tensorflow": "InvalidArgumentError"}[backend]
unchanged = found[2] == [0.4076, 2.4076] and found[-1] == found[3] == expected
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
for backend in tensorflow jax; do
    KERAS_BACKEND=$backend "$work/venv/bin/python" finding.py
done
