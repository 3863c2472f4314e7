"""Writing an int8 file without calibration data, and running it, apart from the package's own exporter."""

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from keras_distill._core.litert import dequantized, quantized
from keras_distill.quantization.ranges import FakeQuantization

# What LiteRT runs on a phone or a computer, and the plain kernels that the microcontrollers' are compared with.
FAST, REFERENCE = OpResolverType.AUTO, OpResolverType.BUILTIN_REF
# How far from its exact result, in steps, one operation of a file may be: half a step by rounding it to the nearest
# integer, and what the kernel's multiplication adds. That multiplies the sum of integer products by m * 2**-n, where
# 0.5 <= m < 1 is an integer of 31 bits. A reference kernel first rounds the product with m to whole multiples of
# 2**-n and then rounds those to integers; the first rounding moves the second by half of 2**-n, so by 2**-5 where
# m * 2**-n, the product of the scales of the inputs by the scale of the output, is below 2**-4. Kernels that multiply
# in float32 are nearer.
ROUNDED = 0.5 + 2**-5


def convert(model, folder):
    """Write an int8 file of batch 1 into a folder; return its path."""
    specs = [tf.TensorSpec((1, *each.shape[1:]), each.dtype, name=each.name) for each in model.inputs]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint("serving_default", lambda *inputs: _outputs(model, inputs), specs)
    archive.write_out(str(folder / "saved_model"), verbose=False)
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "saved_model"), ["serving_default"])
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.inference_input_type = converter.inference_output_type = tf.int8
    path = folder / "model.tflite"
    path.write_bytes(converter.convert())
    return path


def _outputs(model, inputs):
    answer = model(keras.tree.pack_sequence_as(model.input, list(inputs)), training=False)
    return {f"output_{index:03}": each for index, each in enumerate(keras.tree.flatten(answer))}


def run(path, *inputs, kernels=FAST):
    """Run samples one by one; return the outputs as floats, a list, and the size of one step of each."""
    rows, details = _run(path, inputs, kernels)
    return rows, [each["quantization"][0] for each in details]


def _run(path, inputs, kernels):
    """Run samples one by one; return the outputs as floats, and the interpreter's details of each."""
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=kernels)
    runner = interpreter.get_signature_runner("serving_default")
    of_inputs, of_outputs = runner.get_input_details(), runner.get_output_details()
    rows = []
    for sample in zip(*inputs, strict=True):
        pairs = zip(sorted(of_inputs), sample, strict=True)
        answer = runner(**{name: quantized(array[None], of_inputs[name]) for name, array in pairs})
        rows.append([dequantized(answer[name], of_outputs[name]) for name in sorted(answer)])
    return [np.concatenate(each) for each in zip(*rows, strict=True)], [of_outputs[name] for name in sorted(of_outputs)]


def types(path):
    """Return the names of the types of all tensors that operators of a file take and give."""
    names = {value: name for name, value in vars(schema.TensorType).items() if isinstance(value, int)}
    found = set()
    for graph in schema.ModelT.InitFromPackedBuf(path.read_bytes(), 0).subgraphs:
        indices = [index for each in graph.operators for index in (*each.inputs, *each.outputs) if index >= 0]
        found |= {names[graph.tensors[index].type] for index in (*indices, *graph.inputs, *graph.outputs)}
    return found


def gaps_in_steps(path, model, *inputs):
    """Return how far a file is from its model, for each output an array, in steps of the output."""
    outputs, steps = run(path, *inputs)
    return [np.abs(there - here) / step for there, here, step in zip(outputs, _own(model, inputs), steps, strict=True)]


def with_every_rounded_value(model):
    """Return a model whose outputs are all values that a quantization-aware one rounds, so all that its file holds."""
    nodes = [node for depth in sorted(model._nodes_by_depth, reverse=True) for node in model._nodes_by_depth[depth]]
    tensors = [tensor for node in nodes if isinstance(node.operation, FakeQuantization) for tensor in node.outputs]
    tensors += [each for each in model.outputs if not _among(each, tensors)]
    return keras.Model(model.inputs, tensors)


def misses(path, exposed, *inputs, kernels=FAST):
    """Return how far each operation of a file is from its exact result, given what the file has computed before it.

    A value that lies between two integers may be rounded to either one: kernels compute it in different ways, and so
    does TensorFlow on each processor. Behind such a value all others differ, and a normalization of a row of small
    variance multiplies the difference. Compared from one operation to the next, nothing adds up.

    Args:
        path: Path of the file that `convert` wrote of `exposed`.
        exposed: What `with_every_rounded_value` returned.
        *inputs: Arrays, one for each input of the model.
        kernels: Which kernels run the file. Defaults to the fast ones.

    Returns:
        Dict of layer name, `:`, and number of its call, to the largest distance in steps, a float.
    """
    values, details = _run(path, inputs, kernels)
    known = {id(tensor): value for tensor, value in zip(exposed.inputs + exposed.outputs, (*inputs, *values))}
    found = {}
    for tensor, value, detail in zip(exposed.outputs, values, details, strict=True):
        operation, node = _origin(tensor)
        exact = node.input_tensors[0] if isinstance(operation, FakeQuantization) else tensor
        sources = _sources(exact, tensor, known)
        wanted = keras.Model(sources, exact)([known[id(each)] for each in sources], training=False)
        step, zero = detail["quantization"]
        wanted = np.clip(wanted, (-128 - zero) * step, (127 - zero) * step)
        found[f"{operation.name}:{tensor._keras_history.node_index}"] = np.abs(wanted - value).max() / step
    return found


def _sources(tensor, result, known):
    """Return the nearest tensors before `result` of which the values are known, from `tensor` on."""
    if id(tensor) in known and tensor is not result:
        return [tensor]
    found = []
    for each in _origin(tensor)[1].input_tensors:
        found += [source for source in _sources(each, result, known) if not _among(source, found)]
    return found


def _origin(tensor):
    """Return the operation that gives a symbolic tensor, and the node of that call."""
    history = tensor._keras_history
    return history.operation, history.operation._inbound_nodes[history.node_index]


def _among(tensor, tensors):
    return any(tensor is each for each in tensors)


def agreement(path, model, *inputs):
    """Return the share of samples where a file and its model have the same largest output."""
    return np.mean(run(path, *inputs)[0][0].argmax(-1) == _own(model, inputs)[0].argmax(-1))


def _own(model, inputs):
    whole = keras.tree.pack_sequence_as(model.input, list(inputs))
    return [np.asarray(each) for each in keras.tree.flatten(model(whole, training=False))]
