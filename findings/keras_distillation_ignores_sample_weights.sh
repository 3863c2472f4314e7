#!/usr/bin/env bash
# keras.distillation.Distiller accepts sample weights and class weights in `fit` and uses neither.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# `fit(x, y, sample_weight=...)` and `class_weight=...` change neither a logged loss nor the trained weights, not even
# if all weights are zero. Whoever masks padding, balances classes or leaves out mislabelled samples by weights trains
# on them all the same.
#
# Output seen:
#     no weights: Distiller, loss 1.0398, a step moves weights by 0.0267;
#         plain model, loss 1.3029, a step moves weights by 0.0257
#     sample weights of zero: Distiller, loss 1.0398, a step moves weights by 0.0267;
#         plain model, loss 0.0000, a step moves weights by 0.0000
#     class weights of zero: Distiller, loss 1.0398, a step moves weights by 0.0267;
#         plain model, loss 0.0000, a step moves weights by 0.0000
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

random = np.random.default_rng(0)
x, y = random.normal(size=(32, 4)).astype("float32"), random.integers(0, 3, 32)


def model(seed):
    keras.utils.set_random_seed(seed)
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])


def trained(make, **settings):
    """Return by how much one step of training moves the weights, and the logged loss."""
    one = make()
    one.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    before = one.get_weights()
    logs = one.fit(x, y, batch_size=32, verbose=0, **settings).history
    moved = max(np.abs(new - old).max() for new, old in zip(one.get_weights(), before, strict=True))
    return float(moved), logs["loss"][0]


def distiller():
    return Distiller(model(1), model(2), [LogitsDistillation(loss=keras.losses.KLDivergence())])


settings = {
    "no weights": {},
    "sample weights of zero": {"sample_weight": np.zeros(32, "float32")},
    "class weights of zero": {"class_weight": {0: 0.0, 1: 0.0, 2: 0.0}},
}
found = {}
for name, given in settings.items():
    found[name] = trained(distiller, **given), trained(lambda: model(2), **given)
    (moved, loss), (plain_moved, plain_loss) = found[name]
    print(f"{name}: Distiller, loss {loss:.4f}, a step moves weights by {moved:.4f};")
    print(f"    plain model, loss {plain_loss:.4f}, a step moves weights by {plain_moved:.4f}")
same = len({ours for ours, _ in found.values()}) == 1 and found["no weights"][0][0] > 0.001
honoured = all(found[name][1] == (0.0, 0.0) for name in list(settings)[1:])
sys.exit(0 if same and honoured else "The behaviour has changed.")
PYTHON
