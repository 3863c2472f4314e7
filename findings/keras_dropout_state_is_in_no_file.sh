#!/usr/bin/env bash
# A model with dropout that is saved and loaded continues with the dropout masks of the beginning.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The state of a layer's `keras.random.SeedGenerator` is a variable of the model, but neither a `.keras` file nor
# `save_weights` holds it (nor, therefore, `keras.callbacks.BackupAndRestore`). After loading it is what it was when the
# layer was made, so a resumed training ends at other weights than an uninterrupted one, even with everything seeded,
# and one that is interrupted every epoch drops the same units in every epoch.
#
# Output seen:
#     state of the seed generator when saved: [1, 2], loaded from .keras: [1, 0], from .weights.h5: [1, 0]
#     weights, resumed and uninterrupted: 0.0236 apart
#     the same, with the state put back by hand: 0.0000 apart
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
from keras import layers

random = np.random.default_rng(0)
x, y = random.normal(size=(32, 4)).astype("float32"), random.integers(0, 3, 32)


def model():
    keras.utils.set_random_seed(0)
    hidden = [layers.Dense(16, activation="relu"), layers.Dropout(0.5, seed=1)]
    one = keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3)])
    one.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return one


def train(one, epochs):
    one.fit(x, y, epochs=epochs, batch_size=32, shuffle=False, verbose=0)


def seed_state(one):
    return next(variable for variable in one.variables if "seed_generator" in variable.path)


def apart(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(one.get_weights(), other.get_weights(), strict=True))


straight = model()
train(straight, 4)
interrupted = model()
train(interrupted, 2)
interrupted.save("model.keras")
interrupted.save_weights("model.weights.h5")
from_weights = model()
from_weights.load_weights("model.weights.h5")

resumed, mended = keras.models.load_model("model.keras"), keras.models.load_model("model.keras")
states = {
    name: seed_state(one).numpy().tolist()
    for name, one in {"saved": interrupted, ".keras": resumed, ".weights.h5": from_weights}.items()
}
train(resumed, 2)
seed_state(mended).assign(seed_state(interrupted))
train(mended, 2)
print(f"state of the seed generator when saved: {states['saved']}, ", end="")
print(f"loaded from .keras: {states['.keras']}, from .weights.h5: {states['.weights.h5']}")
print(f"weights, resumed and uninterrupted: {apart(resumed, straight):.4f} apart")
print(f"the same, with the state put back by hand: {apart(mended, straight):.4f} apart")
lost = states["saved"] not in (states[".keras"], states[".weights.h5"]) and apart(resumed, straight) > 1e-3
sys.exit(0 if lost and apart(mended, straight) < 1e-6 else "The behaviour has changed.")
PYTHON
