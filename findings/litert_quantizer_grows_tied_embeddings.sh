#!/usr/bin/env bash
# litert-quantizer's 8-bit recipes make the file of a model with a tied embedding larger than the float file.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, litert-quantizer 0.11.0, numpy 2.4.6; Python 3.11,
# Linux on x86-64.
#
# GATHER stays in float32, so a table that is embedding and output head at once is stored twice: in float32 for the one
# and in int8 for the other. Both dynamic_wi8_afp32 and weight_only_wi8_afp32 end 40 % above the float file, where most
# of the weights are in that table, as in small language models. TensorFlow's dynamic range quantization stores it twice
# in int8, which is still smaller.
#
# Output seen:
#     float32: 65800 bytes, tensors of the table's shape: FLOAT32
#     TensorFlow, dynamic range: 46112 bytes, tensors of the table's shape: INT8, INT8
#     litert-quantizer, dynamic_wi8_afp32: 93880 bytes, tensors of the table's shape: FLOAT32, INT8
#     litert-quantizer, weight_only_wi8_afp32: 94008 bytes, tensors of the table's shape: FLOAT32, FLOAT32, INT8
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'tensorflow==2.21.0' 'keras==3.15.1' 'ai-edge-litert==2.3.0' 'litert-quantizer==0.11.0' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from keras import ops
from litert_quantizer import quantizer, recipe

TYPES = {code: name for name, code in vars(schema.TensorType).items() if isinstance(code, int)}


class Tied(keras.layers.Layer):
    """An embedding whose table is the output head as well."""

    def build(self, shape):
        self.table = self.add_weight(shape=(1000, 16), name="table")

    def call(self, tokens):
        return ops.matmul(ops.take(self.table, tokens, axis=0), ops.transpose(self.table))


model = keras.Sequential([keras.Input((4,), dtype="int32", name="tokens"), Tied()])
model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 4), tf.int32, name="tokens")])


def by_tensorflow(*optimizations):
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = list(optimizations)
    return converter.convert()


def by_quantizer(name):
    worker = quantizer.Quantizer(bytearray(by_tensorflow()))
    worker.load_quantization_recipe(getattr(recipe, name)())
    return bytes(worker.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)


def tables(file):
    graph = schema.ModelT.InitFromPackedBuf(file, 0).subgraphs[0]
    return sorted(TYPES[tensor.type] for tensor in graph.tensors if np.array_equal(tensor.shape, [1000, 16]))


files = {
    "float32": by_tensorflow(),
    "TensorFlow, dynamic range": by_tensorflow(tf.lite.Optimize.DEFAULT),
    "litert-quantizer, dynamic_wi8_afp32": by_quantizer("dynamic_wi8_afp32"),
    "litert-quantizer, weight_only_wi8_afp32": by_quantizer("weight_only_wi8_afp32"),
}
for name, file in files.items():
    print(f"{name}: {len(file)} bytes, tensors of the table's shape: {', '.join(tables(file))}")
plain, dynamic, *grown = map(len, files.values())
sys.exit(0 if dynamic < plain and min(grown) > 1.3 * plain else "The behaviour has changed.")
PYTHON
