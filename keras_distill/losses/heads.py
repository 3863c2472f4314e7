"""Find the logits of a model's output: those under its softmax, which is never inverted."""

from typing import Any

from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import activation_of, is_eager, mask_of, set_mask
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import within_mask

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
    kind, logits = head_of(output)
    if kind == "sigmoid":
        raise ValueError(expected(f"a linear or a softmax head on the {owner}", "a sigmoid head", _FIX))
    # In a graph there are no values yet. The Distiller checks its first batch instead.
    if kind == "linear" and is_eager(output) and output.shape[0] > 1 and bool(rows_are_probabilities(output)):
        raise ValueError(refusal(owner))
    return within_mask(logits)


def head_of(output: Tensor) -> tuple[str, Tensor]:
    """Return the kind of head that a model ends in, and its logits.

    Args:
        output: Float tensor `[..., classes]`, straight from the model.

    Returns:
        `("softmax", logits)` or `("sigmoid", logits)` with the logits under that activation, `("linear", output)` if
        the output is used as it is, or `("unknown", output)` for a placeholder that no model has computed.
    """
    operation, source = _last_operation(output)
    # Keras attaches the logits to the result of its activations. A bare `tf.nn.softmax` is known to the graph only.
    logits, head = activation_of(output)
    operation = operation or head and head.capitalize()
    if logits is None and operation in ("Softmax", "Sigmoid"):
        logits = ops.cast(source.op.inputs[0], output.dtype)
    if logits is None:
        return ("unknown" if operation == "Placeholder" else "linear"), output
    if mask_of(output) is not None:
        set_mask(logits, mask_of(output))
    if operation is None:
        return ("sigmoid" if bool(_is_sigmoid(output, logits)) else "softmax"), logits
    return operation.lower(), logits


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


def _last_operation(tensor):
    """Return the type and the output of the last graph operation behind a tensor that changes its values."""
    while getattr(getattr(tensor, "op", None), "type", None) in ("Cast", "Identity", "StopGradient"):
        tensor = tensor.op.inputs[0]
    return getattr(getattr(tensor, "op", None), "type", None), tensor
