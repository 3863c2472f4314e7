#!/usr/bin/env bash
# The TFLite converter clamps biases that do not fit into 32 bits, if the ranges come from fake quantization.
#
# Versions: tensorflow 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The step of a bias is that of the input times that of the weights. A depthwise channel with weights near zero, as
# pruning or weight decay leaves them, has steps so small that its bias of 3.0 would be 5e12 of them. The file holds
# 2^31 - 1 instead, which stands for 0.0013, and the channel is lost. Post-training quantization of the same weights
# makes the steps larger and is right. The converter says nothing.
#
# Output seen:
#     fake quantization: biases [2147483647, 6477000, 1619250], that is 0.0013, 2.0000, 1.0000; largest error 2.996
#     post-training quantization: biases [1073741824, 6481101, 1620275], that is 3.0000, 2.0000, 1.0000; largest error 0.006
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
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

SCALES = np.float32([1e-6, 0.5, 1.0])  # The largest weight of each channel.
BIAS = np.float32([3.0, 2.0, 1.0])
x = np.random.default_rng(0).uniform(-0.01, 0.01, size=(50, 1, 4, 4, 3)).astype("float32")


class Student(tf.Module):
    """A depthwise 1x1 convolution, with fake quantization or without."""

    def __init__(self, fake_quantization):
        super().__init__()
        self.fake_quantization = fake_quantization
        self.kernel, self.bias = tf.Variable(SCALES.reshape(1, 1, 3, 1)), tf.Variable(BIAS)

    @tf.function(input_signature=[tf.TensorSpec((1, 4, 4, 3), tf.float32, name="x")])
    def __call__(self, x):
        kernel, ranged = self.kernel, tf.quantization.fake_quant_with_min_max_vars
        if self.fake_quantization:
            x = ranged(x, -0.01, 0.01)
            kernel = tf.quantization.fake_quant_with_min_max_vars_per_channel(
                tf.reshape(kernel, (1, 1, 1, 3)), -SCALES, SCALES, narrow_range=True
            )
            kernel = tf.reshape(kernel, (1, 1, 3, 1))
        y = tf.nn.depthwise_conv2d(x, kernel, (1, 1, 1, 1), "SAME") + self.bias
        return ranged(y, 0.0, 4.0) if self.fake_quantization else y


def converted(student):
    tf.saved_model.save(student, "saved", {"serving_default": student.__call__})
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if not student.fake_quantization:
        converter.representative_dataset = lambda: ([row] for row in x)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def run(file):
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    rows = []
    for row in x:
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"]))
    return np.concatenate(rows)


def stored_bias(file):
    parsed = schema.ModelT.InitFromPackedBuf(file, 0)
    (bias,) = [tensor for tensor in parsed.subgraphs[0].tensors if tensor.type == schema.TensorType.INT32]
    return np.frombuffer(bytes(parsed.buffers[bias.buffer].data), "int32"), bias.quantization.scale


found = {}
for name, student in {"fake quantization": Student(True), "post-training quantization": Student(False)}.items():
    wanted = np.concatenate([student(row) for row in x])
    file = converted(student)
    bias, scale = stored_bias(file)
    errors = np.abs(run(file) - wanted).max((0, 1, 2))
    found[name] = int(bias[0]), errors
    meaning = [f"{value:.4f}" for value in bias * scale]
    print(f"{name}: biases {bias.tolist()}, that is {', '.join(meaning)}; largest error {errors.max():.3f}")
(clamped, wrong), (fitting, right) = found.values()
unchanged = clamped == 2**31 - 1 and fitting < 2**31 - 1 and wrong[0] > 2.9 and max(wrong[1:].max(), right.max()) < 0.05
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
