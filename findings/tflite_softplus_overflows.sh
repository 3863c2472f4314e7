#!/usr/bin/env bash
# A float TFLite file computes softplus and log_sigmoid of large inputs as infinity.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The converter writes them as log(exp(x) + 1), which overflows float32 from about 89 on, where TensorFlow's own kernel
# returns x. A student with such an output (a scale, a variance, a temperature) is exact on most inputs and infinite on
# rare ones.
#
# Output seen:
#     x: [-100.0, -1.0, 0.0, 50.0, 88.0, 100.0]
#     softplus, Keras:  [0.0, 0.3133, 0.6931, 50.0, 88.0, 100.0]
#     softplus, LiteRT: [0.0, 0.3133, 0.6931, 50.0, 88.0, inf]
#     log_sigmoid, Keras:  [-100.0, -1.3133, -0.6931, -0.0, -0.0, -0.0]
#     log_sigmoid, LiteRT: [-inf, -1.3133, -0.6931, 0.0, 0.0, 0.0]
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'tensorflow==2.21.0' 'keras==3.15.1' 'ai-edge-litert==2.3.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

x = np.float32([[-100.0, -1.0, 0.0, 50.0, 88.0, 100.0]])


def run(activation):
    model = keras.Sequential([keras.Input((6,), name="x"), keras.layers.Activation(activation)])
    model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 6), tf.float32, name="x")])
    interpreter = Interpreter(model_content=tf.lite.TFLiteConverter.from_saved_model("saved").convert())
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], x)
    interpreter.invoke()
    return model(x).numpy()[0], interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0]


found = {}
print(f"x: {x[0].tolist()}")
for activation in ("softplus", "log_sigmoid"):
    wanted, found[activation] = run(activation)
    print(f"{activation}, Keras:  {[round(float(each), 4) for each in wanted]}")
    print(f"{activation}, LiteRT: {[round(float(each), 4) for each in found[activation]]}")
infinite = {name: np.isinf(values).nonzero()[0].tolist() for name, values in found.items()}
sys.exit(0 if infinite == {"softplus": [5], "log_sigmoid": [0]} else "The behaviour has changed.")
PYTHON
