"""What a teacher says of the tokens of a large vocabulary: three forms, none of which needs all logits at once."""

from keras import ops

from keras_distill._core.messages import expected
from keras_distill.answers.top_k import only_at
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.losses.vocabulary.slopes import dense_slopes, top_k_slopes

_FLOOR = -1e30


def soft_targets_of(targets, temperature, shape):
    """Return what there is of each token, and what makes values and slopes of it.

    Args:
        targets: A `keras_distill.targets.TopK`, a tuple `(hidden, kernel, bias)`, or logits `[..., classes]`.
        temperature: Float scalar tensor T.
        shape: Static shape `(..., classes)` of the student's logits.

    Returns:
        A dict of tensors `[..., any]`, and a function `(logits, labels, weights, rows)` of a chunk of them, see
        `slopes`.

    Raises:
        ValueError: If the targets are not of that shape.
    """
    if is_top_k(targets):
        _check_shape(targets.shape, shape)
        return _of_top_k(targets, temperature)
    if isinstance(targets, (tuple, list)):
        hidden, *head = targets
        hidden = ops.convert_to_tensor(hidden)
        _check_shape((*hidden.shape[:-1], ops.shape(head[0])[-1]), shape)
        return _of_head(hidden, head, temperature)
    targets = ops.stop_gradient(ops.convert_to_tensor(targets))
    _check_shape(targets.shape, shape)
    return {"teacher": targets}, lambda logits, labels, weights, rows: dense_slopes(
        logits, labels, weights, temperature, ops.cast(rows["teacher"], logits.dtype)
    )


def _of_top_k(top_k, temperature):
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


def _of_head(hidden, head, temperature):
    kernel, bias = (None if each is None else ops.stop_gradient(ops.convert_to_tensor(each)) for each in head)

    def slopes(logits, labels, weights, rows):
        teacher = ops.matmul(ops.cast(rows["teacher"], logits.dtype), ops.cast(kernel, logits.dtype))
        teacher = teacher if bias is None else teacher + ops.cast(bias, logits.dtype)
        return dense_slopes(logits, labels, weights, temperature, teacher)

    return {"teacher": ops.stop_gradient(hidden)}, slopes


def _check_shape(received, wanted):
    pairs = zip(received, wanted, strict=True) if len(received) == len(wanted) else [(0, 1)]
    if not all(None in pair or pair[0] == pair[1] for pair in pairs):
        raise ValueError(expected(f"soft targets of the shape {tuple(wanted)}", f"{tuple(received)}"))
