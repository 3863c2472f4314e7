"""Multi-head attention as the operations of its file, with each result rounded."""

import functools
from typing import Any

import keras
import numpy as np
from keras import layers, ops

from keras_distill.quantization.activations import UNIT
from keras_distill.quantization.builder import Builder, Value, raise_unsupported
from keras_distill.quantization.graph import Step
from keras_distill.quantization.kernels import QuantizedDense
from keras_distill.quantization.masks import MARGIN, MaskedScores, combine_masks
from keras_distill.quantization.parts import Part

_ARGUMENTS = ("query", "value", "key", "query_mask", "value_mask", "key_mask", "attention_mask")
_WITHOUT = ("use_gate", "sliding_window", "kernel_constraint", "bias_constraint")


@keras.saving.register_keras_serializable(package="keras_distill")
class Projection(Part, QuantizedDense):
    """The dense layer that computes the queries, keys or values of all heads, with rounded weights.

    Args:
        *args: Passed to `QuantizedDense`.
        factor: Factor of the weights and the bias, by which the scores are scaled. Defaults to 1.0.
        **kwargs: Passed to `QuantizedDense`.
    """

    def __init__(self, *args: Any, factor: float = 1.0, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.factor = float(factor)

    def folded(self) -> tuple[Any, Any]:
        """Return kernel and bias (or `None`), multiplied by the factor."""
        return self.kernel * self.factor, None if self.bias is None else self.bias * self.factor

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "factor": self.factor}


@keras.saving.register_keras_serializable(package="keras_distill")
class Product(Part, layers.Layer):
    """Multiply the matrices of two tensors."""

    def call(self, inputs: Any) -> Any:
        """Compute a batch of pairs."""
        return ops.matmul(*inputs)


@keras.saving.register_keras_serializable(package="keras_distill")
class Output(Part, QuantizedDense):
    """The dense layer that joins the heads, with rounded weights.

    Args:
        *args: Passed to `QuantizedDense`.
        attention: Config of the float `keras.layers.MultiHeadAttention`. Defaults to `None`.
        **kwargs: Passed to `QuantizedDense`.
    """

    ends = True

    def __init__(self, *args: Any, attention: dict[str, Any] | None = None, **kwargs: Any):
        super().__init__(*args, **kwargs)
        self.attention = attention

    def whole(self, name: str, parts: list[Part], tensors: list[Any]) -> keras.layers.Layer:
        """Return the float attention layer."""
        layer: Any = layers.MultiHeadAttention.from_config({**(self.attention or {}), "name": name})
        query, key, *_, value = tensors
        self._causal = any(getattr(part, "causal", False) for part in parts)
        layer.build(query.shape, value.shape, key.shape)
        first = [part for part in parts if isinstance(part, Projection)]
        for part, dense in zip((*first, self), _list_dense_layers(layer), strict=True):
            weights = [part.kernel] if part.bias is None else [part.kernel, part.bias]
            own = [np.asarray(ops.convert_to_numpy(each)) for each in weights]
            dense.set_weights([each.reshape(there.shape) for each, there in zip(own, dense.weights, strict=True)])
        return layer

    def call_float(self, layer: Any, tensors: list[Any]) -> Any:
        """Return the output of the float layer."""
        query, key, *masks, value = tensors
        mask = masks[0] if masks else None
        return layer(query, value=value, key=key, attention_mask=mask, use_causal_mask=self._causal)

    def get_config(self) -> dict[str, Any]:
        """Return the arguments of the constructor."""
        return {**super().get_config(), "attention": self.attention}


def build_attention(builder: Builder, step: Step, values: list[Value]) -> Value:
    """Build the projections to heads, the scores, weights and sums of values, and the projection back."""
    query, key, value, masks = _check_inputs(builder, step, values)
    layer = step.operation
    config = layer.get_config()
    heads, factor = config["num_heads"], config["key_dim"] ** -0.5
    make = functools.partial(_make_layer, builder, step)
    q = _build_heads(builder, step, "query", query, heads, (2, 1, 3), factor)
    k = _build_heads(builder, step, "key", key, heads, (2, 3, 1))
    v = _build_heads(builder, step, "value", value, heads, (2, 1, 3))
    scores = Value(make(Product, "scores")([q, k]), f"{step.name}_scores_range")
    if masks:
        scores = _hide(builder, scores, make(MaskedScores, "masked", causal=masks["causal"]), masks["mask"])
    weights = Value(make(layers.Softmax, "weights")(builder.rounded(scores)), f"{step.name}_weights_range", limits=UNIT)
    kept = make(layers.Dropout, "dropout", rate=config["dropout"])(builder.rounded(weights))
    sums = Value(make(Product, "sums")([kept, v]), f"{step.name}_sums_range")
    rows = make(layers.Permute, "rows", dims=(2, 1, 3))(builder.rounded(sums))
    joined = make(layers.Reshape, "joined", target_shape=(q.shape[2], v.shape[1] * v.shape[3]))(rows)
    name, range_name = builder.names(step)
    output = builder.kernel(Output, step, _make_dense(layer, "output", 2), name, is_last=False, attention=config)
    return Value(output(joined), range_name, fusable=len(step.following) == 1)


def _build_heads(
    builder: Builder, step: Step, role: str, value: Value, heads: int, order: tuple[int, ...], factor: float = 1.0
) -> Any:
    """Return the rounded queries, keys or values, with the axes of rows, heads and width in the given order."""
    name = f"{step.name}_{role}"
    dense = _make_dense(step.operation, role, 1)
    projected = builder.kernel(Projection, step, dense, name, is_last=False, factor=factor)
    rounded = builder.rounded(Value(projected(builder.rounded(value)), f"{name}_range"))
    make = functools.partial(_make_layer, builder, step)
    split = make(layers.Reshape, f"{role}_split", target_shape=(rounded.shape[1], heads, dense.units // heads))
    return make(layers.Permute, f"{role}_heads", dims=order)(split(rounded))


def _find_masks(builder: Builder, step: Step, values: list[Value], given: dict[str, Any]) -> dict[str, Any]:
    """Return the masks that a call passes, and those that its inputs carry."""
    tensors = dict(zip(map(id, values), step.node.input_tensors, strict=True))
    masks: dict[str, Any] = {}
    for name in _ARGUMENTS[3:]:
        if isinstance(given.get(name), Value):
            masks[name] = given[name].tensor
        elif given.get(name) is not None:
            fix = "Use use_causal_mask=True, or compute the mask from an input."
            raise_unsupported(step, "a mask that is computed by the model", f"a constant {name}", fix)
    for role in ("query", "value", "key"):
        if f"{role}_mask" not in masks and given.get(role) is not None:
            masks[f"{role}_mask"] = builder.find_mask(tensors[id(given[role])])
    return masks


def _make_layer(builder: Builder, step: Step, kind: Any, part: str, **settings: Any) -> Any:
    return kind(name=builder.unique(f"{step.name}_{part}"), dtype="float32", **settings)


def _list_dense_layers(layer: Any) -> tuple[Any, ...]:
    """Return the dense layers within an attention layer, in the order of the graph built here."""
    return layer.query_dense, layer.key_dense, layer.value_dense, layer.output_dense


def _make_dense(layer: Any, role: str, inputs: int) -> Any:
    """Return a layer within an attention layer as a `keras.layers.Dense`.

    Args:
        layer: `keras.layers.MultiHeadAttention`.
        role: `"query"`, `"key"`, `"value"` or `"output"`.
        inputs: Number of input axes of its kernel.
    """
    within = getattr(layer, f"{role}_dense")
    kernel: Any = np.asarray(ops.convert_to_numpy(within.kernel))
    kernel = kernel.reshape((int(np.prod(kernel.shape[:inputs])), -1))
    inner, outer = kernel.shape
    config, names = within.get_config(), ("kernel_regularizer", "bias_regularizer", "trainable")
    settings = {name: config[name] for name in names}
    dense = layers.Dense(outer, use_bias=within.bias is not None, name=role, **settings)
    dense.build((None, inner))
    biases = [] if within.bias is None else [np.asarray(ops.convert_to_numpy(within.bias)).reshape(-1)]
    dense.set_weights([kernel, *biases])
    return dense


def _hide(builder: Builder, scores: Value, layer: Any, mask: Any) -> Value:
    """Return scores of which the masked ones are the smallest number of their range."""
    scores.margin = MARGIN
    rounded = builder.rounded(scores)
    hidden = layer(rounded if mask is None else [rounded, mask])
    assert scores.range is not None
    again = scores.range(hidden, observe=False)
    return Value(hidden, scores.range_name, range=scores.range, rounded=again)


def _check_inputs(builder: Builder, step: Step, values: list[Value]) -> tuple[Value, Value, Value, dict[str, Any]]:
    """Return query, key and value of an attention layer, and its masks; raise a `ValueError` for unsupported options.

    The masks are `"causal"`, a bool, and `"mask"`, a tensor or `None`; the dict is empty if there is neither.
    """
    config = step.operation.get_config()
    arguments, keywords = step.arguments(values)
    given = dict(zip(_ARGUMENTS, arguments, strict=False)) | keywords
    if given.get("return_attention_scores"):
        raise_unsupported(step, "attention without return_attention_scores", "return_attention_scores=True")
    for name in _WITHOUT:
        if config.get(name):
            raise_unsupported(step, f"attention without {name}", f"{name}={config[name]!r}")
    shapes = [each.tensor.shape for each in (given["query"], given["value"])]
    if any(len(shape) != 3 or None in shape[1:] for shape in shapes) or len(config["output_shape"] or (0,)) != 1:
        raise_unsupported(step, "inputs and outputs of [batch, length, width], length and width known", f"{shapes}")
    query, value = given["query"], given["value"]
    key = given.get("key") or value
    masks = {
        "causal": bool(given.get("use_causal_mask")),
        "mask": combine_masks(_find_masks(builder, step, values, given)),
    }
    return query, key, value, masks if masks["causal"] or masks["mask"] is not None else {}
