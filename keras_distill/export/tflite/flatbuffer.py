"""Reading a TFLite file of any origin: its operators and their types, its weights, its inputs and outputs."""

import collections
import dataclasses
import math
import os
import pathlib
from collections.abc import Iterator
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.export.tflite.c_array import read_back

_ALIGNMENT = 16
# Types that weights have; biases and shapes have other integer types.
_WEIGHTS = frozenset({"FLOAT32", "FLOAT16", "BFLOAT16", "INT8", "INT4", "INT2"})


@dataclasses.dataclass(frozen=True)
class End:
    """One input or output of a file.

    Attributes:
        name: Its name in the signature, or the tensor's own name if there is no signature.
        place: Its position among the graph's inputs or outputs.
        shape: Its shape, -1 where the size is free.
        dtype: Its dtype.
        scale: Number that one step of an integer stands for; 0 if the integers are not quantized numbers.
        zero_point: Integer that stands for 0.
    """

    name: str
    place: int
    shape: tuple[int, ...]
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self) -> bool:
        """Whether its integers stand for real numbers."""
        return self.scale != 0.0

    def __str__(self):
        shape = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        return f"{self.name} ({shape}) {self.dtype}"


def parse(data: bytes) -> Any:
    """Return the model in the bytes of a TFLite file, a `ModelT` of LiteRT's schema.

    Raises:
        ValueError: If the bytes are not a complete TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    if data[4:8] != b"TFL3":
        received = f"{len(data)} bytes without the TFLite identifier"
        raise ValueError(expected("a whole TFLite file", received))
    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0)
    except Exception as error:  # The reader trusts the offsets in the file; wrong ones may raise anything.
        received = f"{len(data)} bytes that cannot be read ({type(error).__name__}: {error})"
        raise ValueError(expected("a whole TFLite file", received)) from error
    if not model.subgraphs:
        raise ValueError(expected("a whole TFLite file", f"{len(data)} bytes without a graph"))
    return model


def serialize(model: Any) -> bytes:
    """Return the bytes of a model, a `ModelT` of LiteRT's schema."""
    import flatbuffers

    class Aligned(flatbuffers.Builder):
        """Aligns bytes as the schema requires, which its Python writer omits: kernels read weights in place."""

        def StartVector(self, elemSize: Any, numElems: Any, alignment: Any) -> Any:
            return super().StartVector(elemSize, numElems, _ALIGNMENT if elemSize == 1 else alignment)

    builder = Aligned(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def read_content(path: str | os.PathLike) -> bytes:
    """Return the bytes of a TFLite file, or of the one in the folder of a C array."""
    path = pathlib.Path(path)
    if not path.is_dir():
        return path.read_bytes()
    (source,) = path.glob("*.cc")
    return read_back(source)


def load_model(path: str | os.PathLike) -> Any:
    """Return the model in a TFLite file or in the folder of a C array; raise a `ValueError` if it is damaged."""
    return parse(read_content(path))


def describe(path: str | os.PathLike) -> dict[str, Any]:
    """Describe a TFLite file or a C array of one.

    Args:
        path: The file or folder.

    Returns:
        Dict of JSON types: `operators`, the number of operators by name; `computing`, the number of operators by the
        type of their result, or `"hybrid"` for floats times integer weights; `weights`, the bytes of constants by type;
        `inputs` and `outputs`, lists of dicts of `name`, `shape` (-1 where it is free), `dtype`, `scale` and
        `zero_point`.

    Raises:
        ValueError: If it is not a complete TFLite file.
    """
    model = load_model(path)
    found = list_operators(model)
    weights: collections.Counter = collections.Counter()
    for tensor, data in _iterate_constants(model):
        weights[name_type(tensor.type)] += len(data)
    inputs, outputs = read_ends(model)
    return {
        "operators": dict(collections.Counter(name for name, _ in found).most_common()),
        "computing": dict(collections.Counter(_name_result(name, types) for name, types in found).most_common()),
        "weights": dict(weights.most_common()),
        "inputs": [_describe_end(end) for end in inputs],
        "outputs": [_describe_end(end) for end in outputs],
    }


def list_operators(model: Any) -> list[tuple[str, tuple[str, ...]]]:
    """Return the name of each operator of a model, and the types of its inputs and outputs."""
    found = []
    for graph in model.subgraphs:
        for operator in graph.operators:
            tensors = [index for index in (*operator.inputs, *operator.outputs) if index >= 0]
            types = tuple(name_type(graph.tensors[index].type) for index in tensors)
            found.append((name_operator(model.operatorCodes[operator.opcodeIndex]), types))
    return found


def count_weights(model: Any, least: int = 1) -> dict[str, int]:
    """Return the number of weights by type, without shapes, integer biases, and constants of fewer than `least`."""
    counts: collections.Counter = collections.Counter()
    for tensor, _ in _iterate_constants(model):
        size = math.prod(() if tensor.shape is None else tensor.shape.tolist())
        if name_type(tensor.type) in _WEIGHTS and size >= least:
            counts[name_type(tensor.type)] += size
    return dict(counts)


def is_constant(model: Any, tensor: Any) -> bool:
    """Return whether a tensor's values are in the file."""
    data = model.buffers[tensor.buffer].data
    return data is not None and len(data) > 0


def set_range(tensor: Any, low: float, high: float) -> None:
    """Record the range of a tensor's values where TensorFlow's quantizer reads it."""
    from ai_edge_litert import schema_py_generated as schema

    tensor.quantization = schema.QuantizationParametersT()
    tensor.quantization.min, tensor.quantization.max = [float(low)], [float(high)]


def name_type(value: int) -> str:
    """Return the name of a tensor's type, such as `"INT8"`."""
    from ai_edge_litert import schema_py_generated as schema

    return _name_constant(schema.TensorType, value)


def name_operator(code: Any) -> str:
    """Return the name of an operator code of a model, such as `"CONV_2D"`."""
    from ai_edge_litert import schema_py_generated as schema

    if code.customCode:
        return code.customCode.decode()
    # Codes that do not fit into a byte are in the newer field only.
    return _name_constant(schema.BuiltinOperator, max(code.builtinCode, code.deprecatedBuiltinCode))


def read_ends(model: Any) -> tuple[list[End], list[End]]:
    """Return the inputs and the outputs of the first graph, each in the graph's order.

    Their names are those of the signature that describes the graph, if there is one.
    """
    graph = model.subgraphs[0]
    signatures = [entry for entry in model.signatureDefs or () if entry.subgraphIndex == 0]
    signatures.sort(key=lambda entry: entry.signatureKey != b"serving_default")
    sides = []
    for kind in ("inputs", "outputs"):
        named = (getattr(signatures[0], kind) if signatures else None) or ()
        names = {tensor.tensorIndex: tensor.name.decode() for tensor in named}
        indices = enumerate(getattr(graph, kind))
        sides.append([_read_end(graph.tensors[index], names.get(index), place) for place, index in indices])
    return sides[0], sides[1]


def _read_end(tensor: Any, name: str | None, place: int) -> End:
    scales = _list_numbers(tensor.quantization, "scale")
    zero_points = _list_numbers(tensor.quantization, "zeroPoint")
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return End(
        name=name or (tensor.name or b"").decode(errors="replace") or f"tensor_{place}",
        place=place,
        shape=tuple(int(size) for size in (() if shape is None else shape)),
        dtype=name_type(tensor.type).lower(),
        scale=float(scales[0]) if scales else 0.0,
        zero_point=int(zero_points[0]) if scales and zero_points else 0,
    )


def _list_numbers(quantization: Any, field: str) -> list:
    numbers = None if quantization is None else getattr(quantization, field)
    return [] if numbers is None else list(numbers)


def _describe_end(end: End) -> dict[str, Any]:
    content = dataclasses.asdict(end)
    del content["place"]
    return content | {"shape": list(end.shape)}


def _name_result(name: str, types: tuple[str, ...]) -> str:
    """Return the type of an operator's result, or `"hybrid"`."""
    if name != "DEQUANTIZE" and types[-1:] == ("FLOAT32",) and {"INT8", "INT4", "INT2"}.intersection(types):
        return "hybrid"
    return types[-1] if types else "none"


def _iterate_constants(model: Any) -> Iterator[tuple[Any, Any]]:
    """Yield pairs of a constant tensor and its bytes, each buffer once, since tensors share them."""
    seen = set()
    for graph in model.subgraphs:
        for tensor in graph.tensors:
            if is_constant(model, tensor) and tensor.buffer not in seen:
                seen.add(tensor.buffer)
                yield tensor, model.buffers[tensor.buffer].data


def _name_constant(enumeration: type, value: int) -> str:
    return next(name for name, number in vars(enumeration).items() if number == value)
