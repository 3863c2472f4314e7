"""SavedModels: writing a student's graph, and rewriting operators that have no integer kernel."""

import itertools
import pathlib


def save_graph(student, signature, shapes, path):
    """Write a SavedModel with the one signature `serving_default`, its inputs and outputs named.

    Args:
        student: `keras.Model`.
        signature: `Signature` of the student.
        shapes: dict of input name to shape; None where the size is free.
        path: folder to write.
    """
    import keras
    import tensorflow as tf

    specs = {
        tensor.name: tf.TensorSpec(shapes[tensor.name], tensor.dtype, name=tensor.name) for tensor in signature.inputs
    }
    archive = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serving_default", lambda inputs: signature.call(student, inputs), [specs])
    archive.write_out(str(path), verbose=False)


def without_negation(path):
    """Replace every float negation in a SavedModel by a product with -1, which gives the same numbers.

    Layer normalization negates. TFLite has no int8 kernel for that, and its converter then writes float islands into
    files that pass for int8 and run slower than float ones.

    Args:
        path: folder of the SavedModel; it is changed in place.
    """
    from tensorflow.core.protobuf import saved_model_pb2

    file = pathlib.Path(path) / "saved_model.pb"
    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            _rewrite(function)
    file.write_bytes(model.SerializeToString())


def _rewrite(function):
    import tensorflow as tf

    # Exact GELU is recognised, and converted, as erfc(-x * constant) only.
    untouched = _leading_to(function, "Erfc", steps=2)
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
        # Consumers name the producer's output argument: `y` of a negation, `z` of a product.
        renamed[f"{node.name}:y:0"] = f"{node.name}:z:0"
    for node in function.node_def:
        node.input[:] = [renamed.get(name, name) for name in node.input]
    for key, name in function.ret.items():
        function.ret[key] = renamed.get(name, name)
    constant = function.node_def.add(name=minus_one, op="Const")
    constant.attr["dtype"].type = tf.float32.as_datatype_enum
    constant.attr["value"].tensor.CopyFrom(tf.make_tensor_proto(-1.0, tf.float32))


def _leading_to(function, operator, steps):
    """Return the names of nodes from which an operator of that kind is at most so many steps away."""
    found = {node.name for node in function.node_def if node.op == operator}
    for _ in range(steps):
        found |= {name.split(":")[0] for node in function.node_def if node.name in found for name in node.input}
    return found
