"""Find the logits of a model's output: those under its softmax, wherever in the model the softmax is."""

import dataclasses
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import activation_of, is_eager, mask_of, origin_of, set_mask
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import within_mask
from keras_distill.losses.head_probe import probe
from keras_distill.losses.head_rules import LINEAR, UNKNOWN, Head, read_head
from keras_distill.losses.head_tensorflow import TensorFlowGraph

_SMALLEST = 1.1754944e-38  # The smallest normal float32.
_FIX = (
    "End the model with a linear layer, or with `keras.activations.softmax` as its last operation, "
    "whose logits can be found."
)


def logits_of(output: Tensor, owner: str = "model") -> Tensor:
    """Return the logits of a model's output: those under its softmax, or the output itself if the head is linear.

    Args:
        output: Float tensor `[..., classes]`, straight from the model.
        owner: The owner of the output, for the messages. Defaults to `"model"`.

    Returns:
        Float tensor `[..., classes]` with the mask of `output`, and without a gradient where that is `False`.

    Raises:
        ValueError: If the output is a probability whose logits cannot be found.

    Example:

    >>> import keras
    >>> logits_of(keras.activations.softmax(keras.ops.convert_to_tensor([[1.0, 2.0]]))).numpy().tolist()
    [[1.0, 2.0]]
    """
    if is_eager(output) and activation_of(output)[0] is None and not _within_unit_interval(output):
        return within_mask(output)  # No probabilities, which spares finding out where they come from.
    kind, logits = head_of(output)
    if kind == "sigmoid":
        raise ValueError(expected(f"a linear or a softmax head on the {owner}", "a sigmoid head", _FIX))
    # In a graph there are no values yet. The Distiller checks its first batch instead.
    if kind != "softmax" and is_eager(output) and output.shape[0] > 1 and bool(rows_are_probabilities(output)):
        raise ValueError(refusal(owner))
    return within_mask(logits)


def head_of(output: Tensor) -> tuple[str, Tensor]:
    """Return the kind of head that a model ends in, and its logits.

    Args:
        output: Float tensor `[..., classes]`, straight from the model.

    Returns:
        `("softmax", logits)` or `("sigmoid", logits)` with the logits under that activation, `("linear", output)` for a
        linear head, and `("unknown", output)` if nothing shows that the output is any of these.
    """
    head = find_head(output)
    if head.kind not in ("softmax", "sigmoid"):
        return head.kind, output
    logits = _within_reach(head, output)
    if mask_of(output) is not None and logits is not output:
        set_mask(logits, mask_of(output))
    return head.kind, logits


def find_head(output: Tensor) -> Head:
    """Return the head that an output comes from, as far as it is established.

    Operations that only move or join numbers, such as a `Reshape`, are followed back to those that made them.

    Args:
        output: Float tensor `[..., classes]`, straight from the model.
    """
    logits, name = activation_of(output)
    if hasattr(output, "graph") and not is_eager(output):
        head = read_head(output, TensorFlowGraph())
        if head.kind == "unknown" and name is not None:
            return Head(name, lambda: logits)  # A teacher that is not a Keras model says so.
        # Keras attaches the logits to the result of its activations.
        return head if logits is None or head.logits is None else dataclasses.replace(head, logits=lambda: logits)
    if logits is not None:
        return Head(name or ("sigmoid" if bool(_is_sigmoid(output, logits)) else "softmax"), lambda: logits)
    origin = origin_of(output)
    head = UNKNOWN if origin is None else probe(origin)
    # No probability is below 0 or above 1.
    known = origin is None and (is_eager(output) or isinstance(output, np.ndarray))
    return LINEAR if known and not _within_unit_interval(output) else head


def _within_reach(head, output):
    """Return the logits, or what equals them up to a constant in each row unless the probabilities underflow."""
    if head.logits is not None:
        return ops.cast(head.logits(), output.dtype)
    wide = ops.cast(output, "float64" if keras.backend.standardize_dtype(output.dtype) == "float64" else "float32")
    logits = ops.log(ops.maximum(wide, _SMALLEST))
    return logits if head.kind == "softmax" else logits - ops.log(ops.maximum(1.0 - wide, _SMALLEST))


def _within_unit_interval(output):
    values = ops.convert_to_numpy(output)  # Also for a constant in a function that is being traced.
    return bool(np.all((values >= 0) & (values <= 1)))


def rows_are_probabilities(output: Tensor) -> Tensor:
    """Return, as a bool tensor, whether all rows are non-negative and sum to one, which logits do not do by chance."""
    output = ops.cast(output, "float32")
    sums = ops.sum(output, axis=-1)
    return ops.logical_and(ops.min(output) >= 0.0, ops.max(ops.abs(sums - 1.0)) < 1e-2)


def _is_sigmoid(output, logits):
    def distance(activation: Any) -> Any:
        return ops.sum(ops.abs(ops.cast(output, "float32") - activation(ops.cast(logits, "float32"))))

    return output.shape[-1] == 1 or distance(ops.sigmoid) < distance(ops.softmax)


def refusal(owner: str) -> str:
    """Compose the error message for an output that is a probability."""
    return expected(f"logits from the {owner}", "rows of probabilities whose logits cannot be found", _FIX)
