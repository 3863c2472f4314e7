"""Multi-head attention as the operations of its file, each result rounded."""

import functools

import keras
import numpy as np
from keras import layers, ops

from keras_distill.quantization.activations import UNIT
from keras_distill.quantization.builder import Value, refuse
from keras_distill.quantization.kernels import QuantizedDense
from keras_distill.quantization.parts import Part

_ARGUMENTS = ("query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask")
_WITHOUT = ("use_gate", "sliding_window", "kernel_constraint", "bias_constraint")


@keras.saving.register_keras_serializable(package="keras_distill")
class Projection(Part, QuantizedDense):
    """The dense layer that makes the queries, keys or values of all heads, with rounded weights.

    Args:
        *args: Passed to `QuantizedDense`.
        factor: Float, the weights and the bias are multiplied with it, as scores are scaled. Defaults to 1.0.
        **kwargs: Passed to `QuantizedDense`.
    """

    def __init__(self, *args, factor=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.factor = float(factor)

    def folded(self):
        """Return kernel and bias (or `None`) with the factor in them."""
        return self.kernel * self.factor, None if self.bias is None else self.bias * self.factor

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="keras_distill")
class Product(Part, layers.Layer):
    """Multiply the matrices of two tensors."""

    def call(self, inputs):
        """Compute a batch of pairs."""
        return ops.matmul(*inputs)


@keras.saving.register_keras_serializable(package="keras_distill")
class Output(Part, QuantizedDense):
    """The dense layer that joins the heads, with rounded weights.

    Args:
        *args: Passed to `QuantizedDense`.
        attention: Dict, the config of the float `keras.layers.MultiHeadAttention`. Defaults to `None`.
        **kwargs: Passed to `QuantizedDense`.
    """

    ends = True

    def __init__(self, *args, attention=None, **kwargs):
        super().__init__(*args, **kwargs)
        self.attention = attention

    def whole(self, name, parts, tensors):
        """Return the float attention layer."""
        layer = layers.MultiHeadAttention.from_config({**self.attention, "name": name})
        query, key, value = tensors
        layer.build(query.shape, value.shape, key.shape)
        first = [part for part in parts if isinstance(part, Projection)]
        for part, dense in zip((*first, self), _dense_layers(layer), strict=True):
            weights = [part.kernel] if part.bias is None else [part.kernel, part.bias]
            own = [ops.convert_to_numpy(each) for each in weights]
            dense.set_weights([each.reshape(there.shape) for each, there in zip(own, dense.weights, strict=True)])
        return layer

    def called(self, layer, tensors):
        """Return what the float layer gives."""
        query, key, value = tensors
        return layer(query, value=value, key=key)

    def get_config(self):
        """Return the arguments of the constructor."""
        return {**super().get_config(), "attention": self.attention}


def attention(builder, step, values):
    """Build the projections to heads, scores, weights, sums of values and the projection back."""
    query, key, value = _inputs(step, values)
    layer = step.operation
    config = layer.get_config()
    heads, factor = config["num_heads"], config["key_dim"] ** -0.5
    plain = functools.partial(_plain, builder, step)
    q = _heads(builder, step, "query", query, heads, (2, 1, 3), factor)
    k = _heads(builder, step, "key", key, heads, (2, 3, 1))
    v = _heads(builder, step, "value", value, heads, (2, 1, 3))
    scores = Value(plain(Product, "scores")([q, k]), f"{step.name}_scores_range")
    weights = Value(
        plain(layers.Softmax, "weights")(builder.rounded(scores)), f"{step.name}_weights_range", limits=UNIT
    )
    kept = plain(layers.Dropout, "dropout", rate=config["dropout"])(builder.rounded(weights))
    sums = Value(plain(Product, "sums")([kept, v]), f"{step.name}_sums_range")
    in_rows = plain(layers.Permute, "rows", dims=(2, 1, 3))(builder.rounded(sums))
    joined = plain(layers.Reshape, "joined", target_shape=(q.shape[2], v.shape[1] * v.shape[3]))(in_rows)
    name, range_name = builder.names(step)
    output = builder.kernel(Output, step, _dense(layer, "output", 2), name, is_last=False, attention=config)
    return Value(output(joined), range_name, fusable=len(step.following) == 1)


def _heads(builder, step, role, value, heads, order, factor=1.0):
    """Return the rounded queries, keys or values, heads before rows; axes of one head's as in `order`."""
    name = f"{step.name}_{role}"
    dense = _dense(step.operation, role, 1)
    projected = builder.kernel(Projection, step, dense, name, is_last=False, factor=factor)
    rounded = builder.rounded(Value(projected(builder.rounded(value)), f"{name}_range"))
    plain = functools.partial(_plain, builder, step)
    split = plain(layers.Reshape, f"{role}_split", target_shape=(rounded.shape[1], heads, dense.units // heads))
    return plain(layers.Permute, f"{role}_heads", dims=order)(split(rounded))


def _plain(builder, step, kind, part, **settings):
    return kind(name=builder.unique(f"{step.name}_{part}"), dtype="float32", **settings)


def _dense_layers(layer):
    """Return the layers of weights within an attention layer, in the order of the graph here."""
    return layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense


def _dense(layer, role, inputs):
    """Return a layer within an attention layer as a `keras.layers.Dense`; its kernel has so many axes of inputs."""
    within = getattr(layer, f"{role}_dense")
    kernel = ops.convert_to_numpy(within.kernel)
    kernel = kernel.reshape((int(np.prod(kernel.shape[:inputs])), -1))
    config, names = within.get_config(), ("kernel_regularizer", "bias_regularizer", "trainable")
    settings = {name: config[name] for name in names}
    dense = layers.Dense(kernel.shape[1], use_bias=within.bias is not None, name=role, **settings)
    dense.build((None, kernel.shape[0]))
    biases = [] if within.bias is None else [ops.convert_to_numpy(within.bias).reshape(-1)]
    dense.set_weights([kernel, *biases])
    return dense


def _inputs(step, values):
    """Return queries, keys and values that go into an attention layer, after a check of everything else."""
    config = step.operation.get_config()
    arguments, keywords = step.arguments(values)
    given = dict(zip(_ARGUMENTS, arguments, strict=False)) | keywords
    for name in _ARGUMENTS[3:]:
        if given.get(name) is not None:
            refuse(step, "attention without a mask", name, "Give it inputs of one length.")
    for name in ("use_causal_mask", "return_attention_scores"):
        if given.get(name):
            refuse(step, f"attention without {name}", f"{name}=True")
    for name in _WITHOUT:
        if config.get(name):
            refuse(step, f"attention without {name}", f"{name}={config[name]!r}")
    shapes = [each.shape for each in step.node.input_tensors]
    if any(len(shape) != 3 or None in shape[1:] for shape in shapes) or len(config["output_shape"] or (0,)) != 1:
        refuse(step, "inputs and outputs of [batch, length, width], length and width known", f"{shapes}")
    return given["query"], given.get("key") or given["value"], given["value"]
