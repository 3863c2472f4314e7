"""What labels a Keras loss takes: class indices, one-hot rows, or numbers of the shape of the outputs."""

import functools
from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import Tensor

_TO_INDICES = "Use `sparse_categorical_crossentropy`, or convert the labels: `keras.ops.one_hot(y, classes)`."
_TO_ROWS = "Use `categorical_crossentropy`, or convert the labels: `keras.ops.argmax(y, axis=-1)`."
_TO_NUMBERS = "Number the classes: `classes, y = numpy.unique(y, return_inverse=True)`, or `keras.layers.StringLookup`."
_STRICT = (keras.losses.binary_crossentropy, keras.losses.binary_focal_crossentropy)
_ELEMENTWISE = (
    *_STRICT,
    *(keras.losses.mean_squared_error, keras.losses.mean_absolute_error, keras.losses.mean_absolute_percentage_error),
    *(keras.losses.mean_squared_logarithmic_error, keras.losses.huber, keras.losses.log_cosh, keras.losses.poisson),
    *(keras.losses.kl_divergence, keras.losses.cosine_similarity, keras.losses.categorical_hinge),
    *(keras.losses.hinge, keras.losses.squared_hinge),
)
"""Functions that compare each output with a label; all but the strict ones let one label stand for several outputs."""


def check_numeric(labels: Any) -> None:
    """Raise a `ValueError` for labels that are text, arrays or tensors or a nest of them."""
    for each in keras.tree.flatten(labels):
        dtype = getattr(each, "dtype", type(each))
        name = str(getattr(dtype, "name", getattr(dtype, "__name__", dtype)))
        objects = name == "object" and len(each) and isinstance(each[0], (str, bytes))
        if objects or name.startswith(("str", "bytes")):
            raise ValueError(expected("labels that are numbers", f"labels of dtype {name}", _TO_NUMBERS))


def check_label_shape(loss: Any, labels: Tensor, outputs: Tensor) -> None:
    """Raise a `ValueError` if a cross-entropy of Keras's gets one-hot labels for sparse ones, or the reverse.

    Args:
        loss: A Keras loss, function or object.
        labels: Hard labels.
        outputs: Float tensor `[batch, ..., classes]`.
    """
    if getattr(labels.shape, "rank", 0) is None:
        return
    function, given, wanted = _function_of(loss), tuple(labels.shape), tuple(outputs.shape)
    if function is keras.losses.sparse_categorical_crossentropy:
        if not same_shape(given, wanted[:-1]) and not same_shape(given, (*wanted[:-1], 1)):
            fix = _TO_ROWS if same_shape(given, wanted) else None
            raise ValueError(expected(f"one class index for each row of outputs of shape {wanted}", _text(given), fix))
    elif function in (keras.losses.categorical_crossentropy, keras.losses.categorical_focal_crossentropy):
        if not same_shape(given, wanted):
            fix = _TO_INDICES if are_sparse(labels, outputs) else None
            raise ValueError(expected(f"one-hot labels of the outputs' shape {wanted}", _text(given), fix))
    elif function in _ELEMENTWISE:
        broadcasts = len(given) == len(wanted) and function not in _STRICT
        squeezed = wanted[:-1] if wanted and wanted[-1] == 1 else given[:-1] if given and given[-1] == 1 else None
        if not broadcasts and not same_shape(given, wanted) and squeezed not in (given, wanted):
            raise ValueError(expected(f"labels of the outputs' shape {wanted}", _text(given)))


def _text(shape):
    return f"labels of shape {shape}"


def are_sparse(labels: Tensor, outputs: Tensor) -> bool:
    """Return whether labels have one number for each row of two or more outputs."""
    given, rows = tuple(labels.shape), tuple(outputs.shape)
    return rows[-1] != 1 and (same_shape(given, rows[:-1]) or same_shape(given, (*rows[:-1], 1)))


def is_sparse_crossentropy(loss: Any) -> bool:
    """Return whether a loss is Keras's sparse cross-entropy, whatever its settings; one of your own never is."""
    return _function_of(loss) is keras.losses.sparse_categorical_crossentropy


def ignored_class(loss: Any) -> int | None:
    """Return the class that Keras's sparse cross-entropy leaves out, or `None`."""
    if isinstance(loss, keras.losses.Loss):
        return getattr(loss, "ignore_class", None)
    return loss.keywords.get("ignore_class") if isinstance(loss, functools.partial) else None


def overrides_call(loss: Any) -> bool:
    """Return whether a loss is an object that computes its values itself, rather than by a function that it wraps."""
    return (
        isinstance(loss, keras.losses.Loss) and type(loss).call is not keras.losses.SparseCategoricalCrossentropy.call
    )


def _function_of(loss):
    """Return the function of Keras's that a loss calls, if it is one."""
    if isinstance(loss, keras.losses.Loss):
        return None if overrides_call(loss) else getattr(loss, "fn", None)
    while isinstance(loss, functools.partial):
        loss = loss.func
    return loss
