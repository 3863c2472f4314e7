#!/usr/bin/env bash
# A property that returns the teacher puts the teacher's weights into every file of the student.
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6, h5py 3.14.0; Python 3.11, Linux on x86-64.
#
# `save_weights` and `save` walk over all names in `dir(model)` and read each, properties included. A teacher that is
# held in an object Keras does not track is neither in `model.weights` nor in a file; add `@property def teacher(self)`
# for convenience, and every checkpoint holds all of it. `model.weights` and `model.summary()` show no difference.
#
# Output seen:
#     Hidden: 2 weights; in the file:
#         layers/sequential/layers/dense/vars/0 (4, 3)
#         layers/sequential/layers/dense/vars/1 (3,)
#     WithProperty: 2 weights; in the file:
#         layers/sequential/layers/dense/vars/0 (4, 3)
#         layers/sequential/layers/dense/vars/1 (3,)
#         teacher/layers/dense/vars/0 (4, 300)
#         teacher/layers/dense/vars/1 (300,)
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'keras==3.15.1' 'tensorflow==2.21.0' 'numpy==2.4.6' 'h5py==3.14.0'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import h5py
import keras
import numpy as np


def network(units):
    return keras.Sequential([keras.Input((4,)), keras.layers.Dense(units)])


class Box:
    """Holds a model where Keras does not look."""

    def __init__(self, model):
        self.model = model


class Hidden(keras.Model):
    def __init__(self, student, teacher):
        super().__init__()
        self.student, self._box = student, Box(teacher)

    def call(self, inputs):
        return self.student(inputs)


class WithProperty(Hidden):
    @property
    def teacher(self):
        return self._box.model


def saved(model):
    """Return the path of every array in the model's file of weights, with its shape."""
    model(np.ones((1, 4)))
    path, found = f"{type(model).__name__}.weights.h5", {}
    model.save_weights(path)
    with h5py.File(path) as file:
        file.visititems(lambda name, item: found.update({name: item.shape} if isinstance(item, h5py.Dataset) else {}))
    return found


found = {}
for kind in (Hidden, WithProperty):
    model = kind(network(3), network(300))
    found[kind] = saved(model)
    print(f"{kind.__name__}: {len(model.weights)} weights; in the file:")
    for path, shape in found[kind].items():
        print(f"    {path} {shape}")
unchanged = len(found[Hidden]) == 2 and len(found[WithProperty]) == 4
sys.exit(0 if unchanged and any(path.startswith("teacher/") for path in found[WithProperty]) else "Changed.")
PYTHON
