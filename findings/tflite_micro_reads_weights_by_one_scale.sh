#!/usr/bin/env bash
# tflite-micro opens files with weights alone in int8, runs them, and answers wrongly.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, litert-quantizer 0.11.0, tflite-micro
# 0.dev20261023182759, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# Such a file (litert-quantizer, recipe weight_only_wi8_afp32) has one scale per output channel and a DEQUANTIZE in
# front of each layer. LiteRT is right on it. tflite-micro multiplies all channels by the first channel's scale: its
# answers are those of a float model whose weights were read in that way. No error is raised.
#
# Output seen:
#     scales of the 10 channels: 0.0056 to 0.0154, the first 0.0056
#     LiteRT: largest error 0.036, same top-1 as the model on 100% of the samples
#     tflite-micro: largest error 4.927, same top-1 as the model on 66% of the samples
#     tflite-micro and a product by the first scale alone: 0.000000 apart
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet \
    'tensorflow==2.21.0' 'keras==3.15.1' 'ai-edge-litert==2.3.0' 'litert-quantizer==0.11.0' \
    'tflite-micro==0.dev20261023182759' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter
from litert_quantizer import quantizer, recipe
from tflite_micro import runtime

random = np.random.default_rng(0)
x = random.normal(size=(200, 8)).astype("float32")
model = keras.Sequential([keras.Input((8,), name="x"), keras.layers.Dense(10, use_bias=False)])
model.set_weights([(random.normal(size=(8, 10)) * np.geomspace(0.3, 1.0, 10)).astype("float32")])
model.export("saved", verbose=False, input_signature=[tf.TensorSpec((1, 8), tf.float32, name="x")])
worker = quantizer.Quantizer(bytearray(tf.lite.TFLiteConverter.from_saved_model("saved").convert()))
worker.load_quantization_recipe(recipe.weight_only_wi8_afp32())
file = bytes(worker.quantize(enable_progress_bar=False, enable_progress_report=False).quantized_model)

interpreter = Interpreter(model_content=file)
interpreter.allocate_tensors()
micro = runtime.Interpreter.from_bytes(file)
by_litert, by_micro = [], []
for row in x[:, None]:
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], row)
    interpreter.invoke()
    by_litert.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    micro.set_input(row, 0)
    micro.invoke()
    by_micro.append(micro.get_output(0)[0])

parsed = schema.ModelT.InitFromPackedBuf(file, 0)
(kernel,) = [tensor for tensor in parsed.subgraphs[0].tensors if tensor.type == schema.TensorType.INT8]
integers = np.frombuffer(bytes(parsed.buffers[kernel.buffer].data), "int8").reshape(10, 8)
by_one_scale = x @ integers.T.astype("float32") * kernel.quantization.scale[0]

wanted = model(x).numpy()
scales = kernel.quantization.scale
print(f"scales of the 10 channels: {scales.min():.4f} to {scales.max():.4f}, the first {scales[0]:.4f}")
errors = {}
for name, answers in {"LiteRT": by_litert, "tflite-micro": by_micro}.items():
    errors[name] = float(np.abs(answers - wanted).max())
    same = np.mean(np.argmax(answers, -1) == wanted.argmax(-1))
    print(f"{name}: largest error {errors[name]:.3f}, same top-1 as the model on {same:.0%} of the samples")
one_scale = float(np.abs(by_micro - by_one_scale).max())
print(f"tflite-micro and a product by the first scale alone: {one_scale:.6f} apart")
unchanged = errors["LiteRT"] < 0.1 and errors["tflite-micro"] > 1.0 and one_scale < 1e-4
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
