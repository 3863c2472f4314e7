#!/usr/bin/env bash
# Converting one SavedModel with one set of calibration data to int8 gives two different TFLite files, by chance.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# An unrolled LSTM has an operator with outputs that nothing uses (the first step, whose state is zero). The quantizer
# in TensorFlow's converter leaves it in floating point in some conversions and not in others, in one process with the
# same inputs: 1 of 8, 1 of 4 and 1 of 2 in three trials. Such a file is 7 % larger, and is not fully int8 though
# TFLITE_BUILTINS_INT8 alone was allowed. A test that converts once passes most of the time. This script converts until
# it has seen both files, at most 100 times.
#
# Output seen:
#     1 of 2 conversions: 13552 bytes, 2 operators in floating point
#     1 of 2 conversions: 12672 bytes, 0 operators in floating point
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
import collections
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema

x = np.random.default_rng(0).normal(size=(20, 3, 4)).astype("float32")
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((3, 4), name="x"), keras.layers.LSTM(3, unroll=True), keras.layers.Dense(2)])
model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 3, 4), tf.float32, name="x")])


def converted():
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in x[:, None])
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def floats(file):
    """Return how many operators compute floats."""
    graph = schema.ModelT.InitFromPackedBuf(file, 0).subgraphs[0]
    types = [{graph.tensors[index].type for index in operator.outputs} for operator in graph.operators]
    return sum(schema.TensorType.FLOAT32 in each for each in types)


files = collections.Counter()
while len(files) < 2 and files.total() < 100:
    files[converted()] += 1
for file, count in files.items():
    print(f"{count} of {files.total()} conversions: {len(file)} bytes, {floats(file)} operators in floating point")
unchanged = len(files) == 2 and sorted(map(floats, files))[0] == 0 < sorted(map(floats, files))[1]
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
