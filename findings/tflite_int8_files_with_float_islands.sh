#!/usr/bin/env bash
# "Full integer" conversions leave operators in floating point, each tool other ones, and neither says so.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6, litert-quantizer 0.11.0; Python 3.11,
# Linux on x86-64.
#
# TensorFlow's converter, asked for TFLITE_BUILTINS_INT8 alone with int8 inputs and outputs, dequantizes for the NEG of
# `LayerNormalization` and for ELU, and quantizes again. litert-quantizer's recipe static_wi8_ai8 does so for NEG, ELU,
# LEAKY_RELU and EXP. Inputs, outputs and weights are int8 and the operators between need floating-point kernels all the
# same.
#
# Output seen:
#     layer normalization: in float by TensorFlow ['NEG'], by litert-quantizer ['NEG']
#     relu: in float by TensorFlow [], by litert-quantizer []
#     leaky_relu: in float by TensorFlow [], by litert-quantizer ['LEAKY_RELU']
#     elu: in float by TensorFlow ['ELU'], by litert-quantizer ['ELU']
#     exponential: in float by TensorFlow [], by litert-quantizer ['EXP']
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'tensorflow==2.21.0' 'keras==3.15.1' 'ai-edge-litert==2.3.0' 'numpy==2.4.6' 'litert-quantizer==0.11.0'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from litert_quantizer import quantizer, recipe

x = np.random.default_rng(0).normal(size=(64, 6, 8)).astype("float32")
NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
CONVERSIONS = {"QUANTIZE", "DEQUANTIZE"}


def saved(layer):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8), layer, keras.layers.Dense(4)]
    model = keras.Sequential([keras.Input((6, 8), name="x"), *layers])
    model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 6, 8), tf.float32, name="x")])
    return tf.lite.TFLiteConverter.from_saved_model("saved")


def by_tensorflow(layer):
    converter = saved(layer)
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in x[:, None])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def by_quantizer(layer):
    worker = quantizer.Quantizer(bytearray(saved(layer).convert()))
    worker.load_quantization_recipe(recipe.static_wi8_ai8())
    ranges = worker.calibrate({"serving_default": [{"x": row} for row in x[:, None]]})
    return bytes(worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def in_float(file):
    """Return the names of operators that compute floats."""
    model = schema.ModelT.InitFromPackedBuf(file, 0)
    graph, found = model.subgraphs[0], set()
    for operator in graph.operators:
        code = model.operatorCodes[operator.opcodeIndex]
        if any(graph.tensors[index].type == schema.TensorType.FLOAT32 for index in operator.outputs):
            found.add(NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)])
    return sorted(found - CONVERSIONS)


layers = {"layer normalization": keras.layers.LayerNormalization}
for name in ("relu", "leaky_relu", "elu", "exponential"):
    layers[name] = lambda name=name: keras.layers.Activation(name)
found = {}
for name, make in layers.items():
    found[name] = in_float(by_tensorflow(make())), in_float(by_quantizer(make()))
    print(f"{name}: in float by TensorFlow {found[name][0]}, by litert-quantizer {found[name][1]}", flush=True)
expected = {
    "relu": ([], []),
    "leaky_relu": ([], ["LEAKY_RELU"]),
    "elu": (["ELU"], ["ELU"]),
    "exponential": ([], ["EXP"]),
}
unchanged = all(found[name] == islands for name, islands in expected.items())
sys.exit(0 if unchanged and found["layer normalization"][0] == ["NEG"] else "The behaviour has changed.")
PYTHON
