"""Writing an int8 file without calibration data, and running it, apart from the package's own exporter."""

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from ai_edge_litert.interpreter import Interpreter

from keras_distill._core.litert import dequantized, quantized


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
    return {f"output_{index:02}": each for index, each in enumerate(keras.tree.flatten(answer))}


def run(path, *inputs):
    """Run samples one by one; return the outputs as floats, a list, and the size of one step of each."""
    interpreter = Interpreter(model_path=str(path))
    runner = interpreter.get_signature_runner("serving_default")
    of_inputs, of_outputs = runner.get_input_details(), runner.get_output_details()
    rows = []
    for sample in zip(*inputs, strict=True):
        pairs = zip(sorted(of_inputs), sample, strict=True)
        answer = runner(**{name: quantized(array[None], of_inputs[name]) for name, array in pairs})
        rows.append([dequantized(answer[name], of_outputs[name]) for name in sorted(answer)])
    steps = [of_outputs[name]["quantization"][0] for name in sorted(of_outputs)]
    return [np.concatenate(each) for each in zip(*rows, strict=True)], steps


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


def agreement(path, model, *inputs):
    """Return the share of samples where a file and its model have the same largest output."""
    return np.mean(run(path, *inputs)[0][0].argmax(-1) == _own(model, inputs)[0].argmax(-1))


def _own(model, inputs):
    whole = keras.tree.pack_sequence_as(model.input, list(inputs))
    return [np.asarray(each) for each in keras.tree.flatten(model(whole, training=False))]
