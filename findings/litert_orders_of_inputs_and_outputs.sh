#!/usr/bin/env bash
# LiteRT lists the inputs of a Keras model in two orders, neither of them Keras's, and its outputs in reverse.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# `Interpreter.get_input_details()` and `CompiledModel` have one order of the inputs, `Interpreter.get_signature_list()`
# another (by the alphabet), and Keras a third. `get_output_details()` lists the outputs of a model of two outputs as
# the second and the first. Where shapes and dtypes are equal, as for tokens, segments and mask, or for two heads, code
# that goes by position runs and is wrong. Names of the signature are right.
#
# Output seen:
#     inputs by Keras: token_ids, segment_ids, padding_mask
#     inputs by get_input_details(): segment_ids, token_ids, padding_mask
#     inputs by get_signature_list(): padding_mask, segment_ids, token_ids
#     inputs by CompiledModel: segment_ids, token_ids, padding_mask
#     get_output_details() of [logits, hint]: hint, logits
#     by the names of the signature, output_0 is the logits and output_1 the hint: True
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
from ai_edge_litert.compiled_model import CompiledModel
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

keras.utils.set_random_seed(0)
inputs = [keras.Input((6,), dtype="int32", name=name) for name in ("token_ids", "segment_ids", "padding_mask")]
token_ids, segment_ids, padding_mask = inputs
embedded = layers.Embedding(7, 4)(token_ids) + layers.Embedding(7, 4)(segment_ids)
pooled = layers.GlobalAveragePooling1D()(embedded * ops.expand_dims(ops.cast(padding_mask, "float32"), -1))
model = keras.Model(inputs, [layers.Dense(3, name="logits")(pooled), layers.Dense(3, name="hint")(pooled)])

names = [tensor.name for tensor in model.inputs]
model.export("saved", verbose=False, input_signature=[[tf.TensorSpec((1, 6), tf.int32, name=name) for name in names]])
file = tf.lite.TFLiteConverter.from_saved_model("saved").convert()
interpreter = Interpreter(model_content=file)
interpreter.allocate_tensors()
orders = {
    "Keras": names,
    "get_input_details()": [
        detail["name"].removeprefix("serving_default_").removesuffix(":0") for detail in interpreter.get_input_details()
    ],
    "get_signature_list()": interpreter.get_signature_list()["serving_default"]["inputs"],
    "CompiledModel": CompiledModel.from_buffer(file).get_signature_list()["serving_default"]["inputs"],
}
for name, order in orders.items():
    print(f"inputs by {name}: {', '.join(order)}")

x = {name: np.int32([[1, 2, 1, 0, 1, 1]]) * factor for name, factor in zip(names, (3, 1, 1), strict=True)}
logits, hint = (each.numpy() for each in model(list(x.values())))
for detail in interpreter.get_input_details():
    interpreter.set_tensor(detail["index"], x[detail["name"].removeprefix("serving_default_").removesuffix(":0")])
interpreter.invoke()
first, second = (interpreter.get_tensor(detail["index"]) for detail in interpreter.get_output_details())
by_name = interpreter.get_signature_runner()(**x)
swapped = np.allclose(first, hint, atol=1e-5) and np.allclose(second, logits, atol=1e-5)
named = np.allclose(by_name["output_0"], logits, atol=1e-5) and np.allclose(by_name["output_1"], hint, atol=1e-5)
print(f"get_output_details() of [logits, hint]: {'hint, logits' if swapped else 'logits, hint, or others'}")
print(f"by the names of the signature, output_0 is the logits and output_1 the hint: {named}")
different = orders["get_input_details()"] != names and orders["get_signature_list()"] != orders["get_input_details()"]
sys.exit(0 if different and swapped and named else "The behaviour has changed.")
PYTHON
