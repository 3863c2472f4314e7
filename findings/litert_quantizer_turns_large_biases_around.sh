#!/usr/bin/env bash
# litert-quantizer's int16x8 files hold a large negative bias where the bias is large and the weights are small.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, litert-quantizer 0.11.0, numpy 2.4.6; Python 3.11,
# Linux on x86-64.
#
# The recipe static_wi8_ai16 stores biases as int64 but computes them in int32. A bias above 2**31 times the scales of
# input and weights becomes the most negative integer, whatever its sign: beside weights of 1e-3, biases of 0.6 and -0.6
# both come back as -0.513 on x86-64; a RuntimeWarning of NumPy about a cast is all that is said. TensorFlow's own
# quantizer gives the channel a larger scale and is right. Ranges are taken from one batch here, so calibration plays no
# part.
#
# Output seen:
#     weights 1.0, biases [0.6, -0.6]: TensorFlow reads [0.6, -0.6]
#     weights 1.0, biases [0.6, -0.6]: litert-quantizer reads [0.6, -0.6]
#     weights 0.001, biases [0.6, -0.6]: TensorFlow reads [0.6, -0.6]
#     weights 0.001, biases [0.6, -0.6]: litert-quantizer reads [-0.513, -0.513]
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
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe

x = np.random.default_rng(0).uniform(-1, 1, size=(64, 4)).astype("float32")
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(2, name="dense")])
BIAS = np.float32([0.6, -0.6])


def saved(weight):
    model.get_layer("dense").set_weights([np.full((4, 2), weight, "float32"), BIAS])
    model.export("saved", verbose=False, input_signature=[tf.TensorSpec((None, 4), tf.float32, name="x")])
    return tf.lite.TFLiteConverter.from_saved_model("saved")


def by_quantizer(converter):
    worker = quantizer.Quantizer(bytearray(converter.convert()))
    worker.load_quantization_recipe(recipe.static_wi8_ai16())
    ranges = worker.calibrate({"serving_default": [{"x": x}]})
    return bytes(worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False).quantized_model)


def by_tensorflow(converter):
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([row] for row in x[:, None])
    ops = tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8
    converter.target_spec.supported_ops = [ops]
    converter.inference_input_type = converter.inference_output_type = tf.int16
    return converter.convert()


def answer_to_zeros(file):
    """Return what a dense layer answers to zeros: its bias."""
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    interpreter.set_tensor(source["index"], np.zeros((1, 4), "int16"))
    interpreter.invoke()
    return interpreter.get_tensor(target["index"])[0] * target["quantization"][0]


found = {}
for weight in (1.0, 1e-3):
    for name, convert in {"TensorFlow": by_tensorflow, "litert-quantizer": by_quantizer}.items():
        found[weight, name] = answer_to_zeros(convert(saved(weight)))
        print(f"weights {weight}, biases [0.6, -0.6]: {name} reads ", end="")
        print(f"{found[weight, name].round(3).tolist()}", flush=True)
wrong = found.pop((1e-3, "litert-quantizer"))
right = all(np.abs(bias - BIAS).max() < 0.01 for bias in found.values())
sys.exit(0 if right and wrong.max() < 0 else "The behaviour has changed.")
PYTHON
