#!/usr/bin/env bash
# `binary_crossentropy` of a softmax head is another number on TensorFlow than on JAX.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, jax 0.10.2, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# On TensorFlow, the loss uses the logits that Keras attaches to the output of an activation, whichever it was. Behind a
# softmax it then computes a sigmoid of them, and the probabilities that the model returns do not occur in its loss.
# Adding 2 to all logits leaves these as they are and changes the loss. On JAX the loss is that of the probabilities. No
# warning is given.
#
# Output seen:
#     tensorflow: loss 1.5838; by hand: softmax 0.8231, sigmoid of its logits 1.5838
#     jax: loss 0.8231; by hand: softmax 0.8231, sigmoid of its logits 1.5838
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'keras==3.15.1' 'tensorflow==2.21.0' 'jax==0.10.2' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import os
import subprocess
import sys

PROGRAM = """
import keras
import numpy as np

keras.utils.set_random_seed(0)
random = np.random.default_rng(0)
x, y = random.normal(size=(6, 4)).astype("float32"), np.eye(3, dtype="float32")[[0, 1, 2, 0, 1, 2]]
kernel, bias = random.normal(size=(4, 3)).astype("float32"), np.full(3, 2.0, "float32")
model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation="softmax")])
model.set_weights([kernel, bias])
model.compile("sgd", loss="binary_crossentropy")
loss = model.evaluate(x, y, verbose=0)
p = model.predict(x, verbose=0)
s = 1 / (1 + np.exp(-(x @ kernel + bias)))
by_hand = [-np.mean(y * np.log(q) + (1 - y) * np.log(1 - q)) for q in (p, s)]
print(*(f"{number:.4f}" for number in (loss, *by_hand)))
"""

found = {}
for backend in ("tensorflow", "jax"):
    environment = os.environ | {"KERAS_BACKEND": backend}
    answer = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environment, capture_output=True, text=True, check=True
    )
    found[backend], softmax, sigmoid = (float(number) for number in answer.stdout.split())
    print(f"{backend}: loss {found[backend]:.4f}; by hand: softmax {softmax:.4f}, sigmoid of its logits {sigmoid:.4f}")
unchanged = abs(found["tensorflow"] - sigmoid) < 1e-3 < abs(sigmoid - softmax) and abs(found["jax"] - softmax) < 1e-3
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
