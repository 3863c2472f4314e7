"""The rules that most layers share: which range rounds the outputs of a layer that is kept as it is."""

from keras_distill.quantization.builder import Builder, Value
from keras_distill.quantization.graph import Step


def own_range(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep the layer, and round its outputs to a range of their own."""
    name, range_name = builder.names(step)
    return Value(builder.call_copy(step, values, name), range_name)


def same_range(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep the layer, which only moves or drops values, so that they stay rounded."""
    outputs = builder.call_copy(step, values[:1])
    return Value(outputs, f"{step.name}_range", range=values[0].range, rounded=outputs)


def build_average_pooling(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Keep the layer, whose means the file rounds to the range of the inputs."""
    value = same_range(builder, step, values)
    if value.range is not None:
        value.rounded = value.range(value.tensor, observe=False)
    return value
