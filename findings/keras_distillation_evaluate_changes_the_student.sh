#!/usr/bin/env bash
# With a loss on features, keras.distillation.Distiller.evaluate() changes the student.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# Features of named layers come from a second forward pass of the student that always runs with `training=True`, in
# `evaluate()` and for `validation_data` too: batch normalization moves its statistics towards the validation data and
# dropout is active. The model that is measured, or chosen by its validation loss, is no longer the one that was
# trained.
#
# Output seen:
#     LogitsDistillation: evaluate() moves the moving mean by 0.00000 and the predictions by 0.00000
#     FeatureDistillation: evaluate() moves the moving mean by 0.00219 and the predictions by 0.00473
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
from keras.distillation import Distiller, FeatureDistillation, LogitsDistillation

random = np.random.default_rng(0)
x, y = random.normal(size=(32, 4)).astype("float32"), random.integers(0, 3, 32)


def model(seed):
    keras.utils.set_random_seed(seed)
    hidden = [layers.Dense(8), layers.BatchNormalization(name="normalization"), layers.ReLU(name="feature")]
    return keras.Sequential([keras.Input((4,)), *hidden, layers.Dense(3)])


def moved_by_evaluate(loss):
    distiller = Distiller(model(1), model(2), [loss])
    distiller.compile("sgd", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    student = distiller.student
    mean, answer = student.get_layer("normalization").moving_mean.numpy(), student.predict(x, verbose=0)
    distiller.evaluate(x, y, verbose=0)
    mean_after = student.get_layer("normalization").moving_mean.numpy()
    return np.abs(mean_after - mean).max(), np.abs(student.predict(x, verbose=0) - answer).max()


on_outputs = moved_by_evaluate(LogitsDistillation(loss=keras.losses.KLDivergence()))
on_features = moved_by_evaluate(
    FeatureDistillation(loss="mse", teacher_layer_name="feature", student_layer_name="feature")
)
for name, (mean, answer) in {"LogitsDistillation": on_outputs, "FeatureDistillation": on_features}.items():
    print(f"{name}: evaluate() moves the moving mean by {mean:.5f} and the predictions by {answer:.5f}")
sys.exit(0 if on_outputs == (0, 0) and min(on_features) > 1e-4 else "The behaviour has changed.")
PYTHON
