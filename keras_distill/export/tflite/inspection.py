"""The operators, types and shapes that a TFLite file must have to be of its format.

Each inspection takes a path, of a file or of the folder of a C array, and the student's `Signature`. It returns
complaints about the file, a list of str.
"""

import os
from collections.abc import Callable, Set
from typing import Any

from keras_distill.export.signature import Signature
from keras_distill.export.tflite.flatbuffer import count_weights, list_operators, load_model, name_type, read_ends

Path = str | os.PathLike
Inspection = Callable[[Any, Any], list[str]]

_INTEGERS = frozenset({"INT4", "INT8", "INT16", "INT32", "INT64", "UINT8", "UINT32", "BOOL"})
_CONVERSIONS = frozenset({"CAST", "QUANTIZE"})
_RESOURCES = ("VAR_HANDLE", "READ_VARIABLE", "ASSIGN_VARIABLE", "CALL_ONCE", "HASHTABLE")
_UNROLL = "recurrent layers keep their loop in floating point unless they are built with unroll=True"


def every(*inspections: Inspection) -> Inspection:
    """Return an inspection that joins the complaints of several."""
    return lambda path, signature: [complaint for each in inspections for complaint in each(path, signature)]


def portable(path: Path, signature: Signature | None) -> list[str]:
    """Complain about operators that small runtimes lack: TensorFlow's own, and those that keep a state."""
    names = {name for name, _ in list_operators(load_model(path))}
    flex = [f"it needs TensorFlow's operator {name}" for name in sorted(names) if name.startswith("Flex")]
    states = [f"it keeps a state, by {name}" for name in sorted(names) if name.startswith(_RESOURCES)]
    return flex + states


def static(path: Path, signature: Signature | None) -> list[str]:
    """Complain about inputs and outputs with a free size."""
    return [f"{kind} {name!r} has the shape {shape}" for kind, name, shape in _list_ends(path) if -1 in shape]


def free_batch(path: Path, signature: Signature | None) -> list[str]:
    """Complain about inputs and outputs with a fixed batch, or with another free size."""
    wrong = [end for end in _list_ends(path) if end[2][:1] != (-1,) or -1 in end[2][1:]]
    return [
        f"{kind} {name!r} has the shape {shape}, where only the batch should be free" for kind, name, shape in wrong
    ]


def weights_in(wanted: str, hint: str = "", least: int = 1) -> Inspection:
    """Return an inspection that requires at least half of the weights to be of a type, such as `"INT8"`.

    Args:
        wanted: Name of the type.
        hint: What to add to the complaint. Defaults to `""`.
        least: Size from which on a constant counts, for writers that leave small ones as they are. Defaults to 1.
    """

    def inspect(path: str, signature: Any) -> Any:
        counts = count_weights(load_model(path), least)
        share = counts.get(wanted, 0) / max(sum(counts.values()), 1)
        return [] if share >= 0.5 else [f"{share:.0%} of its weights are {wanted}{hint}"]

    return inspect


def fully_int8(path: Path, signature: Signature) -> list[str]:
    """Complain about operators in floating point, and about float inputs and outputs.

    Integer inputs, such as tokens, and integer outputs keep their types.
    """
    return _check_integers(path, signature, "INT8", _allow_at_entrance(signature))


def int8_within(path: Path, signature: Signature) -> list[str]:
    """Complain about operators in floating point between the inputs and outputs, which have the student's types."""
    return _check_integers(path, signature, "FLOAT32", _CONVERSIONS | {"DEQUANTIZE"})


def uint8_at_the_ends(path: Path, signature: Signature) -> list[str]:
    """Complain about operators in floating point, and about float inputs and outputs that are not uint8."""
    return _check_integers(path, signature, "UINT8", _CONVERSIONS)


def int16_by_int8(path: Path, signature: Signature) -> list[str]:
    """Complain about operators that do not compute in int16, and weights that are not int8."""
    complaints = _check_integers(path, signature, "INT16", _allow_at_entrance(signature))
    return complaints + weights_in("INT8")(path, signature)


def _allow_at_entrance(signature: Signature) -> Set[str]:
    # A camera's bytes are cast and quantized at the input; neither operator computes anything.
    return _CONVERSIONS if any("int" in tensor.dtype for tensor in signature.inputs) else frozenset()


def _check_integers(path: Path, signature: Signature, wanted: str, allowed: Set[str]) -> list[str]:
    """Complain about operators in floating point, and about float inputs and outputs that are not `wanted`."""
    model = load_model(path)
    found = list_operators(model)
    floating = sorted({name for name, types in found if not _INTEGERS.issuperset(types)} - allowed)
    complaints = [f"{name} does not compute in integers" for name in floating]
    if "WHILE" in floating:
        complaints.append(_UNROLL)
    graph = model.subgraphs[0]
    sides = (("input", graph.inputs, signature.inputs), ("output", graph.outputs, signature.outputs))
    for kind, indices, tensors in sides:
        types = {name_type(graph.tensors[index].type) for index in indices}
        right = {wanted} if all("float" in tensor.dtype for tensor in tensors) else _INTEGERS | {wanted}
        complaints += [f"an {kind} is {name}" for name in sorted(types - right)]
    return complaints


def _list_ends(path: Path) -> list[tuple[str, str, tuple[int, ...]]]:
    """Return the kind, name and shape of every input and output."""
    inputs, outputs = read_ends(load_model(path))
    pairs = [("input", end) for end in inputs] + [("output", end) for end in outputs]
    return [(kind, end.name, end.shape) for kind, end in pairs]
