#!/usr/bin/env bash
# LiteRT's reference kernels compute SUM in int8 wrongly.
#
# Versions: tensorflow 2.21.0, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# `OpResolverType.BUILTIN_REF` selects the simple kernels that others are compared with. For the sum of 16 numbers in
# int8 their answers are up to 180 steps of 255 away from the float model, and no error is raised. The default kernels
# are right on the same file, and MEAN is right in both. Reported to LiteRT as issue 4079 in October 2025.
#
# Output seen:
#     SUM, BUILTIN_WITHOUT_DEFAULT_DELEGATES: answers of -10.98 to 12.75 where the float model has -10.96 to 12.76; largest error 1.2 steps
#     SUM, BUILTIN_REF: answers of -9.58 to 11.54 where the float model has -10.96 to 12.76; largest error 180.3 steps
#     MEAN, BUILTIN_WITHOUT_DEFAULT_DELEGATES: answers of -0.69 to 0.80 where the float model has -0.69 to 0.80; largest error 1.2 steps
#     MEAN, BUILTIN_REF: answers of -0.69 to 0.80 where the float model has -0.69 to 0.80; largest error 1.2 steps
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
from ai_edge_litert.interpreter import Interpreter, OpResolverType

x = np.random.default_rng(0).normal(size=(200, 1, 16)).astype("float32")


def converted(reduce):
    module = tf.Module()
    module.f = tf.function(lambda x: reduce(x, -1), input_signature=[tf.TensorSpec((1, 16), tf.float32, name="x")])
    tf.saved_model.save(module, "saved", {"serving_default": module.f})
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in x)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def run(file, kernels):
    interpreter = Interpreter(model_content=file, experimental_op_resolver_type=kernels)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]
    rows = []
    for row in x:
        interpreter.set_tensor(source["index"], np.clip(np.round(row / scale_in) + zero_in, -128, 127).astype("int8"))
        interpreter.invoke()
        rows.append((interpreter.get_tensor(target["index"]).astype("float32") - zero_out) * scale_out)
    return np.concatenate(rows), scale_out


errors = {}
for name, reduce in {"SUM": tf.reduce_sum, "MEAN": tf.reduce_mean}.items():
    wanted, file = reduce(x[:, 0], -1).numpy(), converted(reduce)
    for kernels in (OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES, OpResolverType.BUILTIN_REF):
        answers, step = run(file, kernels)
        errors[name, kernels.name] = float(np.abs(answers - wanted).max() / step)
        print(
            f"{name}, {kernels.name}: answers of {answers.min():.2f} to {answers.max():.2f} where the float model has "
            f"{wanted.min():.2f} to {wanted.max():.2f}; largest error {errors[name, kernels.name]:.1f} steps"
        )
wrong = errors.pop(("SUM", "BUILTIN_REF"))
sys.exit(0 if wrong > 50 and max(errors.values()) < 3 else "The behaviour has changed.")
PYTHON
