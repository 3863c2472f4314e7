#!/usr/bin/env bash
# The TFLite converter clips sums in int16 at the largest summand.
#
# Versions: tensorflow 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# With 16-bit activations and 8-bit weights, the output of SUM gets the scale of its input, whatever the calibration
# data says. Here the summands end at 4.07, so no sum is larger in the file. The same conversion to int8 gives the
# output a scale of its own and is right. The converter says nothing.
#
# Output seen:
#     float: sums of 5.04 to 28.76, largest error 0.000
#     int8: sums of 5.08 to 28.76, largest error 0.126
#     int16x8: sums of 4.07 to 4.07, largest error 24.697
#     exact: sums of 5.04 to 28.76; the summands are -2.90 to 4.07
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'tensorflow==2.21.0' 'ai-edge-litert==2.3.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import numpy as np
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

x = np.random.default_rng(0).normal(size=(200, 1, 16)).astype("float32") + 1.0
KINDS = {
    "float": None,
    "int8": [tf.lite.OpsSet.TFLITE_BUILTINS_INT8],
    "int16x8": [tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8],
}
student = tf.Module()
student.f = tf.function(lambda x: tf.reduce_sum(x, -1), input_signature=[tf.TensorSpec((1, 16), tf.float32, name="x")])
tf.saved_model.save(student, "saved", {"serving_default": student.f})


def converted(operators):
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    if operators is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row] for row in x)
        converter.target_spec.supported_ops = operators
    return converter.convert()  # Inputs and outputs stay floats.


wanted, errors = x[:, 0].sum(-1), {}
for kind, operators in KINDS.items():
    interpreter = Interpreter(model_content=converted(operators))
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    answers = []
    for row in x:
        interpreter.set_tensor(source["index"], row)
        interpreter.invoke()
        answers.append(interpreter.get_tensor(target["index"]).item())
    errors[kind] = float(np.abs(answers - wanted).max())
    print(f"{kind}: sums of {min(answers):.2f} to {max(answers):.2f}, largest error {errors[kind]:.3f}")
print(f"exact: sums of {wanted.min():.2f} to {wanted.max():.2f}; the summands are {x.min():.2f} to {x.max():.2f}")
unchanged = errors["float"] < 1e-4 and errors["int8"] < 0.5 and errors["int16x8"] > 10
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
