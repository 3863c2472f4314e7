"""A teacher's answers for the tokens of a large vocabulary, in three forms that need no logits of a whole batch."""

from collections.abc import Callable
from typing import Any

from keras import ops

from keras_distill._core.arrays import Axes, check_axes
from keras_distill._core.messages import expected
from keras_distill.answers.top_k import only_at
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.losses.vocabulary.slopes import dense_slopes, top_k_slopes

_FLOOR = -1e30


def prepare_targets(targets: Any, temperature: Any, shape: tuple) -> tuple[dict[str, Any], Callable]:
    """Return the teacher's data for each token, and the function that computes losses and slopes from them.

    Args:
        targets: A `keras_distill.targets.TopK`, a tuple `(hidden, kernel, bias)`, or logits `[..., classes]`.
        temperature: Float scalar tensor T.
        shape: Static shape `(..., classes)` of the student's logits.

    Returns:
        A dict of tensors `[..., any]`, and a function `(logits, labels, weights, rows)` of a chunk of tokens, see
        `slopes`.

    Raises:
        ValueError: If the targets do not have that shape.
    """
    if is_top_k(targets):
        _check_shape(targets.shape, shape)
        return _prepare_top_k(targets, temperature)
    if isinstance(targets, (tuple, list)):
        hidden, *head = targets
        hidden = ops.convert_to_tensor(hidden)
        _check_shape((*hidden.shape[:-1], ops.shape(head[0])[-1]), shape)
        return _prepare_head(hidden, head, temperature)
    check_axes({"targets": targets}, {"targets": Axes("[..., classes]")})
    targets = ops.stop_gradient(ops.convert_to_tensor(targets))
    _check_shape(targets.shape, shape)
    return {"teacher": targets}, lambda logits, labels, weights, rows: dense_slopes(
        logits, labels, weights, temperature, ops.cast(rows["teacher"], logits.dtype)
    )


def _prepare_top_k(top_k, temperature):
    values, wide = ops.cast(top_k.values, "float64"), ops.cast(temperature, "float64")
    if not top_k.interpolate:
        values = only_at(top_k.temperatures, temperature, values)
    if top_k.k < top_k.classes:
        rest = ops.maximum(ops.cast(top_k.rest_at(temperature), "float64") * wide, _FLOOR)
        values = ops.concatenate([values, rest[..., None]], axis=-1)
    rows = {"indices": ops.cast(top_k.indices, "int32"), "teacher": ops.stop_gradient(values)}
    return rows, lambda logits, labels, weights, rows: top_k_slopes(
        logits, labels, weights, temperature, rows["indices"], rows["teacher"]
    )


def _prepare_head(hidden, head, temperature):
    kernel, bias = (None if each is None else ops.stop_gradient(ops.convert_to_tensor(each)) for each in head)

    def slopes(logits: Any, labels: Any, weights: Any, rows: Any) -> Any:
        teacher = ops.matmul(ops.cast(rows["teacher"], logits.dtype), ops.cast(kernel, logits.dtype))
        teacher = teacher if bias is None else teacher + ops.cast(bias, logits.dtype)
        return dense_slopes(logits, labels, weights, temperature, teacher)

    return {"teacher": ops.stop_gradient(hidden)}, slopes


def _check_shape(received, wanted):
    pairs = zip(received, wanted, strict=True) if len(received) == len(wanted) else [(0, 1)]
    if not all(None in pair or pair[0] == pair[1] for pair in pairs):
        raise ValueError(expected(f"soft targets of shape {tuple(wanted)}", f"{tuple(received)}"))
