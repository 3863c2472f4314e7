"""Layers that repeat or resize, as the one operation that all runtimes have in int8: RESIZE_NEAREST_NEIGHBOR."""

from keras import layers

from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.graph import Step
from keras_distill.quantization.rounding import build_average_pooling, same_range


def build_upsampling(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build an upsampling, by default of nearest neighbours, as a resizing."""
    layer, shape = step.operation, _check_size(step)
    if layer.interpolation == "bilinear":
        return build_average_pooling(builder, step, values)
    if layer.interpolation != "nearest":
        raise_unsupported(step, "nearest or bilinear interpolation", f"interpolation={layer.interpolation!r}")
    height, width = (size * factor for size, factor in zip(shape[1:3], layer.size, strict=True))
    resized = builder.make_once(step, lambda: _make_resizing(builder, step.name, height, width))
    return _keep(values[0], resized(builder.rounded(values[0])), step)


def build_repetition(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build an upsampling of a sequence, or the repetition of a vector, as the resizing of an image of width 1."""
    shape = _check_size(step)
    length, width = (1, shape[1]) if len(shape) == 2 else shape[1:]
    factor = getattr(step.operation, "size", None) or step.operation.n

    def make(kind: type, part: str, **settings) -> layers.Layer:
        return kind(name=builder.unique(f"{step.name}_{part}" if part else step.name), dtype="float32", **settings)

    image = make(layers.Reshape, "image", target_shape=(length, 1, width))(builder.rounded(values[0]))
    repeated = _make_resizing(builder, f"{step.name}_repeated", length * factor, 1)(image)
    outputs = make(layers.Reshape, "", target_shape=(length * factor, width))(repeated)
    return _keep(values[0], outputs, step)


def build_resizing(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep a resizing, which is computed in the range of its inputs."""
    layer = step.operation
    if layer.interpolation not in ("nearest", "bilinear"):
        raise_unsupported(step, "nearest or bilinear interpolation", f"interpolation={layer.interpolation!r}")
    if getattr(layer, "antialias", False) or layer.fill_value:
        raise_unsupported(step, "no antialias and a fill_value of 0", f"antialias, fill_value={layer.fill_value}")
    _check_size(step)
    return (same_range if layer.interpolation == "nearest" else build_average_pooling)(builder, step, values)


def _make_resizing(builder: Builder, name: str, height: int, width: int) -> layers.Layer:
    return layers.Resizing(height, width, interpolation="nearest", name=builder.unique(name), dtype="float32")


def _keep(value: Value, outputs, step: Step) -> Value:
    return Value(outputs, f"{step.name}_range", range=value.range, rounded=outputs)


def _check_size(step: Step) -> tuple:
    shape = step.node.input_tensors[0].shape
    if None in shape[1:]:
        raise_unsupported(step, "a known size", f"inputs of shape {shape}")
    return shape
