"""What a TFLite file must be made of to be of its format; each function returns complaints about a file, a list of str.

Each takes a path, of a file or of the folder of a C array, and the student's `Signature`.
"""

from keras_distill.export.tflite.flatbuffer import model_of, operators_of, type_name, weights_of
from keras_distill.export.tflite.tensors import ends

_INTEGERS = frozenset({"INT4", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "BOOL"})
_CONVERSIONS = frozenset({"CAST", "QUANTIZE"})
_RESOURCES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE")
_UNROLL = "recurrent layers keep their loop in floating point unless they are built with unroll=True"


def every(*inspections):
    """Return an inspection that makes all of these."""
    return lambda path, signature: [complaint for each in inspections for complaint in each(path, signature)]


def portable(path, signature):
    """Complain about operators that small runtimes do not have: TensorFlow's own, and those that keep a state."""
    names = {name for name, _ in operators_of(model_of(path))}
    flex = [f"it needs TensorFlow's operator {name}" for name in sorted(names) if name.startswith("Flex")]
    states = [f"it keeps a state, by {name}" for name in sorted(names) if name.startswith(_RESOURCES)]
    return flex + states


def static(path, signature):
    """Complain about inputs and outputs with a free size."""
    return [f"{kind} {name!r} has the shape {shape}" for kind, name, shape in _ends(path) if -1 in shape]


def free_batch(path, signature):
    """Complain about inputs and outputs of which the batch is fixed, or another size is free."""
    wrong = [end for end in _ends(path) if end[2][:1] != (-1,) or -1 in end[2][1:]]
    return [f"{kind} {name!r} has the shape {shape}, where only the batch is to be free" for kind, name, shape in wrong]


def weights_in(wanted, hint=""):
    """Return an inspection that wants at least half of the weights in a type, as `"INT8"`."""

    def inspect(path, signature):
        counts = weights_of(model_of(path))
        share = counts.get(wanted, 0) / max(sum(counts.values()), 1)
        return [] if share >= 0.5 else [f"{share:.0%} of its weights are {wanted}{hint}"]

    return inspect


def fully_int8(path, signature):
    """Complain about what is not int8: operators in floating point, float inputs and outputs.

    Integer inputs, as tokens are, and integer outputs stay what they are.
    """
    return _integers(path, signature, "INT8", _entrance(signature))


def int8_within(path, signature):
    """Complain about what is not int8 between the inputs and outputs, which are as the student's."""
    return _integers(path, signature, "FLOAT32", _CONVERSIONS | {"DEQUANTIZE"})


def int16_by_int8(path, signature):
    """Complain about operators that do not compute in int16, and weights that are not int8."""
    complaints = _integers(path, signature, "INT16", _entrance(signature))
    return complaints + weights_in("INT8")(path, signature)


def _entrance(signature):
    # Bytes of a camera are cast and quantized on their way in; neither computes anything.
    return _CONVERSIONS if any("int" in tensor.dtype for tensor in signature.inputs) else frozenset()


def _integers(path, signature, wanted, allowed):
    """Complain about operators in floating point, and about inputs and outputs of floats that are not `wanted`."""
    model = model_of(path)
    found = operators_of(model)
    floating = sorted({name for name, types in found if not _INTEGERS.issuperset(types)} - allowed)
    complaints = [f"{name} does not compute in integers" for name in floating]
    if "WHILE" in floating:
        complaints.append(_UNROLL)
    graph = model.subgraphs[0]
    sides = (("input", graph.inputs, signature.inputs), ("output", graph.outputs, signature.outputs))
    for kind, indices, tensors in sides:
        types = {type_name(graph.tensors[index].type) for index in indices}
        right = {wanted} if all("float" in tensor.dtype for tensor in tensors) else _INTEGERS | {wanted}
        complaints += [f"an {kind} is {name}" for name in sorted(types - right)]
    return complaints


def _ends(path):
    """Return (kind, name, shape) of every input and output."""
    inputs, outputs = ends(model_of(path))
    pairs = [("input", end) for end in inputs] + [("output", end) for end in outputs]
    return [(kind, end.name, end.shape) for kind, end in pairs]
