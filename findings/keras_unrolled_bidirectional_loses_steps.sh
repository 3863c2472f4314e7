#!/usr/bin/env bash
# A masked keras.layers.Bidirectional(return_sequences=True) answers otherwise if its layer is unrolled (TensorFlow).
#
# Versions: keras 3.15.1, tensorflow 2.21.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# From equal weights, `unroll=True` gives zeros for the backward half of as many leading real steps as there is padding,
# for LSTM, GRU and SimpleRNN alike. The rolled layer equals a backward layer that is run over the real steps alone.
# Unrolling is what converters to int8 TFLite need, so a student that was trained rolled and is rebuilt unrolled for
# export is silently another model.
#
# Output seen:
#     LSTM, backward half of 4 real steps: largest error rolled 0.0e+00, unrolled 0.075; zeros at steps [0, 1]
#     GRU, backward half of 4 real steps: largest error rolled 0.0e+00, unrolled 0.325; zeros at steps [0, 1]
#     SimpleRNN, backward half of 4 real steps: largest error rolled 0.0e+00, unrolled 0.720; zeros at steps [0, 1]
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

x = np.random.default_rng(0).normal(size=(1, 6, 3)).astype("float32")
x[:, 4:] = 0.0  # Two steps of padding, which `Masking` finds.


def model(kind, unroll):
    layer = layers.Bidirectional(kind(2, return_sequences=True, unroll=unroll))
    return keras.Sequential([keras.Input((6, 3)), layers.Masking(), layer])


unchanged = True
for kind in (layers.LSTM, layers.GRU, layers.SimpleRNN):
    keras.utils.set_random_seed(0)
    rolled, unrolled = model(kind, False), model(kind, True)
    unrolled.set_weights(rolled.get_weights())
    alone = kind(2, return_sequences=True, go_backwards=True)
    alone.build((1, 4, 3))
    alone.set_weights(rolled.layers[-1].backward_layer.get_weights())
    truth = alone(x[:, :4]).numpy()[0, ::-1]
    halves = {name: one(x).numpy()[0, :4, 2:] for name, one in {"rolled": rolled, "unrolled": unrolled}.items()}
    apart = {name: float(np.abs(half - truth).max()) for name, half in halves.items()}
    zeros = [step for step in range(4) if not halves["unrolled"][step].any()]
    print(f"{kind.__name__}, backward half of 4 real steps: largest error rolled {apart['rolled']:.1e}, ", end="")
    print(f"unrolled {apart['unrolled']:.3f}; zeros at steps {zeros}")
    unchanged &= apart["rolled"] < 1e-5 and apart["unrolled"] > 0.01 and zeros == [0, 1]
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
