#!/usr/bin/env bash
# In int8 files of the TFLite converter, `where` and `maximum` clip a tensor that they choose from.
#
# Versions: tensorflow 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# SELECT, SELECT_V2 and MAXIMUM want inputs and output of one scale, and the converter takes the output's. That is wrong
# for an input that another operator reads too: in a leaky ReLU, `where(h > 0, h, 0.3 * h)`, the convolution's output
# `h` is stored in the range of the result, so its negative values are cut off before they are multiplied by 0.3. The
# same function as a sum is right. The calibration data has the whole range of `h`; the converter says nothing.
#
# Output seen:
#     smallest value of h: -2.19
#     where(h > 0, h, 0.3 * h): h is stored down to -0.66, largest error 0.462
#     maximum(h, 0.3 * h): h is stored down to -0.66, largest error 0.462
#     0.3 * h + 0.7 * relu(h): h is stored down to -2.20, largest error 0.026
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

random = np.random.default_rng(0)
x = random.uniform(-1, 1, size=(100, 1, 8, 8, 3)).astype("float32")
kernel = tf.constant(random.normal(size=(3, 3, 3, 4)) * 0.2, tf.float32)
SPELLINGS = {
    "where(h > 0, h, 0.3 * h)": lambda h: tf.where(h > 0, h, 0.3 * h),
    "maximum(h, 0.3 * h)": lambda h: tf.maximum(h, 0.3 * h),
    "0.3 * h + 0.7 * relu(h)": lambda h: 0.3 * h + 0.7 * tf.nn.relu(h),
}


def converted(activation):
    student = tf.Module()
    student.f = tf.function(
        lambda x: activation(tf.nn.conv2d(x, kernel, 1, "VALID")),
        input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="x")],
    )
    tf.saved_model.save(student, "saved", {"serving_default": student.f})
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def smallest_number(interpreter):
    """Return the smallest number that the int8 output of the convolution can hold."""
    (place,) = [o["outputs"][0] for o in interpreter._get_ops_details() if o["op_name"] == "CONV_2D"]
    (detail,) = [detail for detail in interpreter.get_tensor_details() if detail["index"] == place]
    scale, zero = detail["quantization"]
    return (-128 - zero) * scale


lowest = min(tf.nn.conv2d(row, kernel, 1, "VALID").numpy().min() for row in x)
print(f"smallest value of h: {lowest:.2f}")
found = []
for name, activation in SPELLINGS.items():
    interpreter = Interpreter(model_content=converted(activation))
    interpreter.allocate_tensors()
    least, error = smallest_number(interpreter), 0.0
    for row in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
        interpreter.invoke()
        answer = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
        wanted = activation(tf.nn.conv2d(row, kernel, 1, "VALID")).numpy()
        error = max(error, float(np.abs(answer - wanted).max()))
    found.append((least, error))
    print(f"{name}: h is stored down to {least:.2f}, largest error {error:.3f}")
clipped, (whole, small) = found[:2], found[2]
unchanged = (
    whole < 0.95 * lowest and small < 0.05 and all(least > 0.4 * lowest and error > 0.3 for least, error in clipped)
)
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
