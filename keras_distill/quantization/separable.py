"""Splitting a separable convolution into the two convolutions that the file computes, each rounded by itself."""

from typing import Any

from keras import layers, ops

_SHARED = ("strides", "padding", "data_format", "depth_multiplier", "kernel_size", "dilation_rate")


def split_separable(layer: Any) -> tuple[Any, Any]:
    """Split a built `keras.layers.SeparableConv2D`.

    Args:
        layer: The layer.

    Returns:
        A `keras.layers.DepthwiseConv2D` without a bias and a `keras.layers.Conv2D` of size 1 with the bias and the
        activation, built, with copies of the weights.
    """
    config = layer.get_config()
    depthwise = {name: value for name, value in config.items() if name in _SHARED or name.startswith("depthwise_")}
    first = layers.DepthwiseConv2D.from_config({**depthwise, "use_bias": False, "name": f"{layer.name}_depthwise"})
    pointwise = {
        name.replace("pointwise", "kernel"): value for name, value in config.items() if name.startswith("pointwise_")
    }
    biases = {name: value for name, value in config.items() if "bias" in name}
    settings = {"filters": config["filters"], "kernel_size": 1, "activation": config["activation"], "name": layer.name}
    second = layers.Conv2D.from_config(settings | pointwise | biases)
    channels = layer.depthwise_kernel.shape[2]
    first.build((None, None, None, channels))
    second.build((None, None, None, channels * layer.depth_multiplier))
    first.set_weights([ops.convert_to_numpy(layer.depthwise_kernel)])
    rest = [layer.pointwise_kernel, *([layer.bias] if layer.use_bias else [])]
    second.set_weights([ops.convert_to_numpy(weight) for weight in rest])
    return first, second
