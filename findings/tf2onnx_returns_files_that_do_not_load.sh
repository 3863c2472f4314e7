#!/usr/bin/env bash
# Keras's export to ONNX by tf2onnx returns normally for students that ONNX Runtime refuses.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, tf2onnx 1.17.0, onnx 1.23.2, onnxruntime 1.32.0, numpy 2.4.6; Python 3.11,
# Linux on x86-64.
#
# Exact GELU becomes Erfc, which ONNX does not have. A grouped convolution becomes a StatefulPartitionedCall. The mean
# and variance of a Normalization layer become two further inputs of the model, without values: it passes the checker of
# ONNX, loads, and then wants arrays that its user does not have. For the first two a line of the log says that the
# operator is not supported; the file is written all the same.
#
# Output seen:
#     ReLU: 1 inputs; Relu; runs, largest difference 0e+00
#     exact GELU: 1 inputs; Mul, Neg, Mul, Erfc, Mul; ONNX Runtime raises InvalidGraph
#     grouped convolution: 1 inputs; StatefulPartitionedCall, Add; ONNX Runtime raises InvalidGraph
#     Normalization: 3 inputs; Sub, Mul; ONNX Runtime raises ValueError
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'tensorflow==2.21.0' 'keras==3.15.1' 'tf2onnx==1.17.0' 'onnx==1.23.2' 'onnxruntime==1.32.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import onnx
import onnxruntime
from keras import layers

x = np.random.default_rng(0).normal(size=(2, 6, 6, 4)).astype("float32")
students = {
    "ReLU": layers.Activation("relu"),
    "exact GELU": layers.Activation("gelu"),
    "grouped convolution": layers.Conv2D(4, 3, groups=2),
    "Normalization": layers.Normalization(mean=[1.0, 2.0, 3.0, 4.0], variance=[1.0, 1.0, 1.0, 1.0]),
}
found = {}
for name, layer in students.items():
    model = keras.Sequential([keras.Input((6, 6, 4), name="x"), layer])
    wanted = model(x).numpy()
    model.export("student.onnx", format="onnx", verbose=False)
    parsed = onnx.load("student.onnx")
    try:
        session = onnxruntime.InferenceSession("student.onnx")
        (answer,) = session.run(None, {"x": x})
        found[name] = f"runs, largest difference {np.abs(answer - wanted).max():.0e}"
    except Exception as error:
        found[name] = f"ONNX Runtime raises {type(error).__name__}"
    operators = ", ".join(node.op_type for node in parsed.graph.node)
    print(f"{name}: {len(parsed.graph.input)} inputs; {operators}; {found[name]}")
expected = {
    "ReLU": "runs, largest difference 0e+00",
    "exact GELU": "ONNX Runtime raises InvalidGraph",
    "grouped convolution": "ONNX Runtime raises InvalidGraph",
    "Normalization": "ONNX Runtime raises ValueError",
}
sys.exit(0 if found == expected else "The behaviour has changed.")
PYTHON
