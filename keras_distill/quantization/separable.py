"""A separable convolution as the two that the file computes, each rounded by itself."""

from keras import layers, ops

_SHARED = ("strides", "padding", "data_format", "depth_multiplier", "kernel_size", "dilation_rate")


def depthwise_and_pointwise(layer):
    """Split a built `keras.layers.SeparableConv2D`.

    Args:
        layer: The layer.

    Returns:
        A `keras.layers.DepthwiseConv2D` without a bias and a `keras.layers.Conv2D` of size 1 with the bias and the
        activation, built, with copies of the weights.
    """
    config = layer.get_config()
    of_depthwise = {name.removeprefix("depthwise_"): config[name] for name in config if name.startswith("depthwise_")}
    of_depthwise = {f"depthwise_{name}": value for name, value in of_depthwise.items()}
    first = layers.DepthwiseConv2D.from_config(
        {
            **{name: config[name] for name in _SHARED},
            **of_depthwise,
            "use_bias": False,
            "name": f"{layer.name}_depthwise",
        }
    )
    of_pointwise = {
        name.replace("pointwise", "kernel"): config[name] for name in config if name.startswith("pointwise_")
    }
    of_bias = {name: config[name] for name in config if "bias" in name}
    second = layers.Conv2D.from_config(
        {"filters": config["filters"], "kernel_size": 1, "activation": config["activation"], "name": layer.name}
        | of_pointwise
        | of_bias
    )
    channels = layer.depthwise_kernel.shape[2]
    first.build((None, None, None, channels))
    second.build((None, None, None, channels * layer.depth_multiplier))
    first.set_weights([ops.convert_to_numpy(layer.depthwise_kernel)])
    rest = [layer.pointwise_kernel, *([layer.bias] if layer.use_bias else [])]
    second.set_weights([ops.convert_to_numpy(weight) for weight in rest])
    return first, second
