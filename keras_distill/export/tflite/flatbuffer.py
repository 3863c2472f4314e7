"""Looking into a TFLite file: its operators, the types that they compute in, its weights and its ends."""

import collections
import dataclasses
import math
import pathlib

from keras_distill.export.tflite.c_array import read_back
from keras_distill.export.tflite.tensors import ends, opened

_ALIGNMENT = 16
# Types that weights come in; biases and shapes are other integers.
_WEIGHTS = frozenset({"FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "INT4", "INT2"})


def model_of(path):
    """Return the model in a TFLite file, or in the folder of a C array of one.

    Args:
        path: str or path.

    Returns:
        `ModelT` of LiteRT's schema.

    Raises:
        ValueError: if it is none, or damaged.
    """
    return opened(content_of(path))


def content_of(path):
    """Return the bytes of a TFLite file, or of the one that the folder of a C array holds."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return path.read_bytes()
    (source,) = path.glob("*.cc")
    return read_back(source)


def describe(path):
    """Describe a TFLite file, or a C array of one.

    Args:
        path: str or path.

    Returns:
        dict of JSON types: `operators`, how many there are of each name; `computing`, how many give results of each
        type, or are `"hybrid"`, floats times integer weights; `weights`, bytes of constants of each type; `inputs` and
        `outputs`, lists of dicts of `name`, `shape` (-1 where it is free), `dtype`, `scale` and `zero_point`.

    Raises:
        ValueError: if it is no whole TFLite file.
    """
    model = model_of(path)
    found = operators_of(model)
    inputs, outputs = ends(model)
    return {
        "operators": dict(collections.Counter(name for name, _ in found).most_common()),
        "computing": dict(collections.Counter(_computing(name, types) for name, types in found).most_common()),
        "weights": _bytes_of_constants(model),
        "inputs": [_end(tensor) for tensor in inputs],
        "outputs": [_end(tensor) for tensor in outputs],
    }


def operators(path):
    """Return the operators of a TFLite file.

    Args:
        path: file, or folder of a C array.

    Returns:
        list of (str, tuple of str): each operator's name and the types of its inputs and outputs.
    """
    return operators_of(model_of(path))


def operators_of(model):
    """Return the operators of a model, as `operators` does."""
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            tensors = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            types = tuple(type_name(graph.tensors[index].type) for index in tensors)
            found.append((_operator_name(model.operatorCodes[operator.opcodeIndex]), types))
    return found


def weights_of(model):
    """Return how many numbers of each type the weights are, a dict; biases in integers and shapes do not count."""
    counts = collections.Counter()
    for tensor, _ in _constants(model):
        if type_name(tensor.type) in _WEIGHTS:
            counts[type_name(tensor.type)] += math.prod(_shape(tensor))
    return dict(counts)


def is_constant(model, tensor):
    """Say whether a tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def set_range(tensor, low, high):
    """Note the range of a tensor's values, where TensorFlow's quantizer reads it."""
    from ai_edge_litert import schema_py_generated as schema

    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.min, tensor.quantization.max = [float(low)], [float(high)]


def packed(model):
    """Return the bytes of a model.

    Args:
        model: `ModelT` of LiteRT's schema.
    """
    import flatbuffers

    class Aligned(flatbuffers.Builder):
        """Puts bytes where the schema wants them, which its Python writer forgets: kernels read weights in place."""

        def StartVector(self, elemSize, numElems, alignment):
            return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)

    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def type_name(value):
    """Return the name of a tensor's type, as `"INT8"`."""
    from ai_edge_litert import schema_py_generated as schema

    return _constant_name(schema.TensorType, value)


def _computing(name, types):
    """Return the type of an operator's result, or "hybrid"."""
    if name != "DEQUANTIZE" and types[-1] == "FLOAT32" and {"INT8", "INT4", "INT2"}.intersection(types):
        return "hybrid"
    return types[-1] if types else "none"


def _bytes_of_constants(model):
    counts = collections.Counter()
    for tensor, data in _constants(model):
        counts[type_name(tensor.type)] += len(data)
    return dict(counts.most_common())


def _constants(model):
    """Yield pairs of a constant tensor and its bytes, each buffer once, since tensors share them."""
    seen = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if is_constant(model, tensor) and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor, model.buffers[tensor.buffer].data


def _shape(tensor):
    return () if tensor.shape is None else tensor.shape.tolist()


def _end(tensor):
    content = dataclasses.asdict(tensor)
    del content["place"]
    return content | {"shape": list(tensor.shape)}


def _operator_name(code):
    from ai_edge_litert import schema_py_generated as schema

    if code.customCode:
        return code.customCode.decode()
    # Codes that do not fit a byte stand in the newer field only.
    return _constant_name(schema.BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))


def _constant_name(enumeration, value):
    return next(name for name, number in vars(enumeration).items() if number == value)
