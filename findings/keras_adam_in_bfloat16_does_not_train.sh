#!/usr/bin/env bash
# A model with the dtype policy "bfloat16" does not learn at all with keras.optimizers.Adam's default settings.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The optimizer computes in the dtype of the weights. In bfloat16 `beta_2=0.999` rounds to 1, so the bias correction
# sqrt(1 - beta_2**step) is 0 and every update is 0. Nothing warns and the loss stays where it was. With `beta_2=0.99`,
# or under "mixed_bfloat16", which keeps weights in float32, it trains.
#
# Output seen:
#     float32        beta_2=0.999: weights move by 0.673, loss 1.863 to 0.170
#     float32        beta_2= 0.99: weights move by 0.683, loss 1.863 to 0.159
#     mixed_bfloat16 beta_2=0.999: weights move by 0.673, loss 1.863 to 0.170
#     mixed_bfloat16 beta_2= 0.99: weights move by 0.682, loss 1.863 to 0.159
#     bfloat16       beta_2=0.999: weights move by 0.000, loss 2.208 to 2.208
#     bfloat16       beta_2= 0.99: weights move by 0.727, loss 2.114 to 0.122
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

x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
y = np.ones((64, 3), "float32")


def trained(policy, beta_2):
    """Return the largest change of a weight, and the loss of the first and last epoch."""
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(policy)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile(keras.optimizers.Adam(0.01, beta_2=beta_2), keras.losses.MeanSquaredError())
    before = [np.array(weight, "float32") for weight in model.get_weights()]
    logs = model.fit(x, y, batch_size=16, epochs=20, verbose=0).history["loss"]
    after = [np.array(weight, "float32") for weight in model.get_weights()]
    return max(float(np.abs(a - b).max()) for a, b in zip(after, before, strict=True)), logs[0], logs[-1]


moved = {}
for policy in ("float32", "mixed_bfloat16", "bfloat16"):
    for beta_2 in (0.999, 0.99):
        moved[policy, beta_2], first, last = trained(policy, beta_2)
        print(f"{policy:14} beta_2={beta_2:5}: weights move by {moved[policy, beta_2]:.3f}, ", end="")
        print(f"loss {first:.3f} to {last:.3f}")
still = moved.pop(("bfloat16", 0.999))
sys.exit(0 if still == 0.0 and min(moved.values()) > 0.1 else "The behaviour has changed.")
PYTHON
