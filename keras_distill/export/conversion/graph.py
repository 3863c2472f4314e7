"""Writing a student as a SavedModel, and replacing operators that have no integer kernel."""

import itertools
import os
import pathlib
from typing import Any

from keras_distill.export.signature import Signature


def save_graph(student: Any, signature: Signature, shapes: dict[str, tuple], path: str | os.PathLike) -> None:
    """Write a SavedModel with the single signature `serving_default` and named inputs and outputs.

    Args:
        student: `keras.Model`.
        signature: `Signature` of the student.
        shapes: Dict of input name to shape; `None` where the size is free.
        path: Folder to write.
    """
    import keras
    import tensorflow as tf

    specs = {
        tensor.name: tf.TensorSpec(shapes[tensor.name], tensor.dtype, name=tensor.name) for tensor in signature.inputs
    }
    archive: Any = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serving_default", lambda inputs: signature.call(student, inputs), [specs])
    archive.write_out(str(path), verbose=False)


def replace_negations(path: str | os.PathLike) -> None:
    """Replace every float negation in a SavedModel by a product with -1, which gives the same numbers.

    Layer normalization contains a negation. TFLite has no int8 kernel for it, so its converter would write float
    operators into a file that looks like int8 and runs slower than a float one.

    Args:
        path: Folder of the SavedModel, which is changed in place.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = pathlib.Path(path) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            _replace_in(function)
    file.write_bytes(model.SerializeToString())


def _replace_in(function: Any) -> None:
    import tensorflow as tf

    # The converter recognises exact GELU only in the form erfc(-x * constant).
    untouched = _find_nodes_before(function, "Erfc", steps=2)
    negations = [
        node
        for node in function.node_def
        if node.op == "Neg" and node.attr["T"].type == tf.float32.as_datatype_enum and node.name not in untouched
    ]
    if not negations:
        return
    taken = {node.name for node in function.node_def}
    minus_one = next(name for number in itertools.count() if (name := f"minus_one_{number}") not in taken)
    renamed = {}
    for node in negations:
        node.op = "Mul"
        node.input.insert(1, f"{minus_one}:output:0")
        # Consumers refer to the name of the output argument: `y` of a negation, `z` of a product.
        renamed[f"{node.name}:y:0"] = f"{node.name}:z:0"
    for node in function.node_def:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for key, name in function.ret.items():
        function.ret[key] = renamed.get(name, name)
    constant = function.node_def.add(name=minus_one, op="Const")
    constant.attr["dtype"].type = tf.float32.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(-1.0, tf.float32))


def _find_nodes_before(function: Any, operator: str, steps: int) -> set[str]:
    """Return the names of nodes at most `steps` edges before an operator of that kind."""
    found = {node.name for node in function.node_def if node.op == operator}
    for _ in range(steps):
        found |= {name.split(":")[0] for node in function.node_def if node.name in found for name in node.input}
    return found
