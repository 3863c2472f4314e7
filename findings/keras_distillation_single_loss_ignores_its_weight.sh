#!/usr/bin/env bash
# keras.distillation.Distiller ignores `distillation_loss_weights` if the loss is not in a list.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# With `distillation_losses=loss` (one object, as in its own examples) the constructor sets the weight to 1.0, whatever
# was given, and says nothing; with `distillation_losses=[loss]` the same weight counts. A search over the weight that
# uses the first spelling compares equal trainings.
#
# Output seen:
#     weight 1.0: loss alone 1.0218, in a list 1.0218
#     weight 5.0: loss alone 1.0218, in a list 5.1089
#     weight 0.0: loss alone 1.0218, in a list 0.0000
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
from keras.distillation import Distiller, LogitsDistillation

x = np.random.default_rng(0).normal(size=(32, 4)).astype("float32")
y = np.zeros(32, "int32")


def model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(5)])


def loss_with(losses, weights):
    distiller = Distiller(
        model(1), model(2), losses, distillation_loss_weights=weights, student_loss_weight=0.0
    )
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return float(distiller.compute_loss(keras.ops.array(x), y))


def soft_targets():
    return LogitsDistillation(loss=keras.losses.KLDivergence())


found = {}
for weight in (1.0, 5.0, 0.0):
    found[weight] = loss_with(soft_targets(), weight), loss_with([soft_targets()], [weight])
    print(f"weight {weight}: loss alone {found[weight][0]:.4f}, in a list {found[weight][1]:.4f}")
ignored = found[1.0][0] == found[5.0][0] == found[0.0][0] > 0
counted = abs(found[5.0][1] / found[1.0][1] - 5) < 1e-4 and found[0.0][1] == 0
sys.exit(0 if ignored and counted else "The behaviour has changed.")
PYTHON
