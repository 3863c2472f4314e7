"""The inputs and outputs of a TFLite file, of whatever origin: names, places, shapes, dtypes, quantization."""

import dataclasses

from keras_distill._core.messages import expected


@dataclasses.dataclass(frozen=True)
class End:
    """One input or output of a file.

    Attributes:
        name: str, as the signature has it, or the tensor's own name where there is no signature.
        place: int, which of the graph's inputs or outputs it is.
        shape: tuple of int, -1 where the size is free.
        dtype: str.
        scale: float, what one step of an integer stands for; 0 where integers are not quantized numbers.
        zero_point: int, the integer that stands for 0.
    """

    name: str
    place: int
    shape: tuple
    dtype: str
    scale: float = 0.0
    zero_point: int = 0

    @property
    def quantized(self):
        """Whether its integers stand for real numbers."""
        return self.scale != 0.0

    def __str__(self):
        shape = ", ".join("any" if size < 0 else str(size) for size in self.shape)
        return f"{self.name} ({shape}) {self.dtype}"


def opened(data):
    """Return the model that the bytes of a TFLite file describe.

    Args:
        data: bytes.

    Returns:
        `ModelT` of LiteRT's schema.

    Raises:
        ValueError: if the bytes are no whole TFLite file.
    """
    from ai_edge_litert import schema_py_generated as schema

    try:
        model = schema.ModelT.InitFromPackedBuf(data, 0) if data[4:8] == b"TFL3" else None
        damaged = not model or not model.subgraphs
    except Exception as error:  # The reader trusts offsets; damaged ones end in anything.
        received = f"{len(data)} bytes that are none ({type(error).__name__})"
        raise ValueError(expected("a whole TFLite file", received)) from error
    if damaged:
        raise ValueError(expected("a whole TFLite file", f"{len(data)} bytes that are none"))
    return model


def ends(model):
    """Return the inputs and the outputs of the first graph, by the signature that describes it, if one does.

    Args:
        model: `ModelT`, as `opened` returns it.

    Returns:
        tuple of two lists of `End`, each in the graph's order.
    """
    graph = model.subgraphs[0]
    signatures = [entry for entry in model.signatureDefs or () if entry.subgraphIndex == 0]
    signatures.sort(key=lambda entry: entry.signatureKey != b"serving_default")
    names = ({}, {})
    for side, kind in zip(names, ("inputs", "outputs"), strict=True):
        for tensor in getattr(signatures[0], kind) or () if signatures else ():
            side[tensor.tensorIndex] = tensor.name.decode()
    return tuple(
        [_end(graph.tensors[index], side.get(index), place) for place, index in enumerate(indices)]
        for indices, side in zip((graph.inputs, graph.outputs), names, strict=True)
    )


def _end(tensor, name, place):
    quantization = tensor.quantization
    scales = [] if quantization is None or quantization.scale is None else list(quantization.scale)
    zero_points = [] if not scales or quantization.zeroPoint is None else list(quantization.zeroPoint)
    shape = tensor.shapeSignature if tensor.shapeSignature is not None else tensor.shape
    return End(
        name=name or (tensor.name or b"").decode(errors="replace") or f"tensor_{place}",
        place=place,
        shape=tuple(int(size) for size in (() if shape is None else shape)),
        dtype=_dtype(tensor.type),
        scale=float(scales[0]) if scales else 0.0,
        zero_point=int(zero_points[0]) if zero_points else 0,
    )


def _dtype(number):
    from ai_edge_litert import schema_py_generated as schema

    return next(name for name, value in vars(schema.TensorType).items() if value == number).lower()
