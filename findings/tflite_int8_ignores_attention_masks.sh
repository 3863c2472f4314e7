#!/usr/bin/env bash
# Full-integer TFLite quantization of a Keras attention layer with a mask gives a file that no longer attends.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# Keras adds -2.4e38 to masked scores. Calibration takes that for the range of the scores, their int8 step becomes 9e35,
# all real scores round to the same integer, and the layer averages. The float file is right, and so is the int8 file of
# the same layer without a mask. The converter says nothing.
#
# Output seen:
#     with a mask, float32: largest error 0.0% of the outputs' range; largest scale 0.0e+00
#     with a mask, int8: largest error 48.6% of the outputs' range; largest scale 9.3e+35
#     without a mask, float32: largest error 0.0% of the outputs' range; largest scale 0.0e+00
#     without a mask, int8: largest error 1.3% of the outputs' range; largest scale 8.5e-02
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

x = np.random.default_rng(0).normal(size=(100, 6, 8)).astype("float32")
padded = x.copy()
padded[:, 4:] = 0.0


def model(masked):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((6, 8), name="x")
    hidden = keras.layers.Masking()(inputs) if masked else inputs
    return keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4, name="attention")(hidden, hidden))


def converted(model, data=None):
    model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 6, 8), tf.float32, name="x")])
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    if data is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([row] for row in data[:, None])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    return converter.convert()


def run(file, x):
    """Run a file whose inputs and outputs are floats; return its answers and its largest scale."""
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for row in x[:, None]:
        interpreter.set_tensor(source["index"], row)
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target["index"]))
    scales = [detail["quantization"][0] for detail in interpreter.get_tensor_details()]
    return np.concatenate(rows), max(scales)


found = {}
for name, masked, data in (("with a mask", True, padded), ("without a mask", False, x)):
    one = model(masked)
    wanted = one(data).numpy()[:, :4]
    for kind, calibration in (("float32", None), ("int8", data)):
        answer, scale = run(converted(one, calibration), data)
        error = np.abs(answer[:, :4] - wanted).max() / np.ptp(wanted)
        found[name, kind] = error
        print(f"{name}, {kind}: largest error {error:.1%} of the outputs' range; largest scale {scale:.1e}")
wrong = found.pop(("with a mask", "int8"))
sys.exit(0 if wrong > 0.2 and max(found.values()) < 0.05 else "The behaviour has changed.")
PYTHON
