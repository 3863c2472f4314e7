#!/usr/bin/env bash
# TFLiteConverter.from_concrete_functions([f], model) writes a file without the weights of a Keras 3 model.
#
# Versions: tensorflow 2.21.0, keras 3.15.1, ai-edge-litert 2.3.0, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The second argument is meant to hold the variables. A Keras 3 model passes for that, but its variables do not reach
# the converter: it reports success, and the file reads its weights from variables that nothing initialises (VAR_HANDLE
# and READ_VARIABLE, no ASSIGN_VARIABLE). Without the second argument, with a module there that keeps `[v.value for v in
# model.variables]`, or from `model.export`, the weights are in the file. The file without weights is not run here,
# because its answers would be memory that nothing has written.
#
# Output seen:
#     from_concrete_functions([f], model): kernel in the file: False
#         VAR_HANDLE, VAR_HANDLE, READ_VARIABLE, READ_VARIABLE, BATCH_MATMUL, ADD
#     from_concrete_functions([f]): kernel in the file: True
#         FULLY_CONNECTED
#     from_concrete_functions([f], module with the values): kernel in the file: True
#         FULLY_CONNECTED
#     from_saved_model(model.export(...)): kernel in the file: True
#         FULLY_CONNECTED
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
from ai_edge_litert import schema_py_generated as schema

NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}
keras.utils.set_random_seed(0)
model = keras.Sequential([keras.Input((4,), name="x"), keras.layers.Dense(3)])
signature = [tf.TensorSpec((1, 4), tf.float32, name="x")]
concrete = tf.function(lambda x: model(x), input_signature=signature).get_concrete_function()


class Holder(tf.Module):
    def __init__(self):
        super().__init__()
        self.variables_of_model = [variable.value for variable in model.variables]


def content(converter):
    """Return the operators of the file, and whether the kernel's numbers are in it."""
    file = converter.convert()
    parsed = schema.ModelT.InitFromPackedBuf(file, 0)
    codes = [parsed.operatorCodes[operator.opcodeIndex] for operator in parsed.subgraphs[0].operators]
    kernel = model.get_weights()[0].T.tobytes()
    held = any(buffer.data is not None and kernel in bytes(buffer.data) for buffer in parsed.buffers)
    return [NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)] for code in codes], held


model.export("saved", verbose=False, input_signature=signature)
from_functions = tf.lite.TFLiteConverter.from_concrete_functions
found = {
    "from_concrete_functions([f], model)": content(from_functions([concrete], model)),
    "from_concrete_functions([f])": content(from_functions([concrete])),
    "from_concrete_functions([f], module with the values)": content(from_functions([concrete], Holder())),
    "from_saved_model(model.export(...))": content(tf.lite.TFLiteConverter.from_saved_model("saved")),
}
for name, (operators, held) in found.items():
    print(f"{name}: kernel in the file: {held}")
    print(f"    {', '.join(operators)}")
(operators, held), *others = found.values()
lost = not held and "READ_VARIABLE" in operators and "ASSIGN_VARIABLE" not in operators
sys.exit(0 if lost and all(held for _, held in others) else "The behaviour has changed.")
PYTHON
