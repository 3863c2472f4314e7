#!/usr/bin/env bash
# The TFLite converter writes a wrong bias for a convolution trained with fake quantization if all its biases are equal.
#
# Versions: tensorflow 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The kernel has a scale per channel (`fake_quant_with_min_max_vars_per_channel`), so the integer bias of each channel
# must have one too. If all channels have the same float bias, 0.5 here, the file's bias is right in one channel and
# several times too large in the others, where it saturates the output. Biases that differ by one part in a million are
# written correctly. Conv2D and depthwise convolution behave alike; the converter says nothing.
#
# Output seen:
#     convolution, biases [0.5, 0.5, 0.5]: largest error per channel, in steps of int8: [0.0, 138.0, 201.0]
#     convolution, biases [0.5, 0.500001, 0.500002]: largest error per channel, in steps of int8: [0.0, 0.0, 0.0]
#     depthwise, biases [0.5, 0.5, 0.5]: largest error per channel, in steps of int8: [0.0, 138.0, 201.0]
#     depthwise, biases [0.5, 0.500001, 0.500002]: largest error per channel, in steps of int8: [0.0, 0.0, 0.0]
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

SCALES = np.float32([0.05, 1.0, 4.0])  # The largest weight of each channel.
x = np.random.default_rng(0).uniform(-1, 1, size=(20, 4, 4, 3)).astype("float32")


class Student(tf.Module):
    """A 1x1 convolution in the form that quantization-aware training gives it."""

    def __init__(self, kind, bias):
        super().__init__()
        self.kind, self.bias = kind, tf.Variable(np.float32(bias))
        kernel = SCALES.reshape(1, 1, 3) if kind == "depthwise" else np.diag(SCALES).reshape(1, 1, 3, 3)
        self.kernel = tf.Variable(kernel)

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 3), tf.float32, name="x")])
    def __call__(self, x):
        x = tf.quantization.fake_quant_with_min_max_vars(x, -1.0, 1.0)
        fake_quant = tf.quantization.fake_quant_with_min_max_vars_per_channel
        kernel = fake_quant(self.kernel, -SCALES, SCALES, narrow_range=True)
        if self.kind == "depthwise":
            y = tf.nn.depthwise_conv2d(x, tf.reshape(kernel, (1, 1, 3, 1)), (1, 1, 1, 1), "SAME")
        else:
            y = tf.nn.conv2d(x, kernel, 1, "SAME")
        return tf.quantization.fake_quant_with_min_max_vars(y + self.bias, -6.0, 6.0)


def converted(student):
    tf.saved_model.save(student, "saved", {"serving_default": student.__call__})
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def run(file, x):
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]
    rows = []
    for row in x[:, None]:
        interpreter.set_tensor(source["index"], np.clip(np.round(row / scale_in) + zero_in, -128, 127).astype("int8"))
        interpreter.invoke()
        rows.append((interpreter.get_tensor(target["index"]).astype("float32") - zero_out) * scale_out)
    return np.concatenate(rows), scale_out


unchanged = True
for kind in ("convolution", "depthwise"):
    for bias in ([0.5, 0.5, 0.5], [0.5, 0.500001, 0.500002]):
        student = Student(kind, bias)
        wanted = np.concatenate([student(row) for row in x[:, None]])
        answer, step = run(converted(student), x)
        errors = np.abs(answer - wanted).max((0, 1, 2)) / step
        print(f"{kind}, biases {bias}: largest error per channel, in steps of int8: {errors.round().tolist()}")
        unchanged &= bool(errors[0] <= 1 and (errors[1:].min() > 50 if bias[0] == bias[1] else errors.max() <= 1))
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
