"""Proper scores of a model's probabilities: the negative log-likelihood and the Brier score."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor
from keras_distill.metrics.base import LabelMetric, labelled_logits
from keras_distill.metrics.rows import keep_nan, mean

_EXCLUDED = -1e30


@keras.saving.register_keras_serializable(package="keras_distill")
class NegativeLogLikelihood(LabelMetric):
    """Compute the mean negative log-likelihood of the labels, in nats.

    With logits it is accurate both for a label that is almost certain and for one that is almost excluded. Under a
    single output, or several outputs of a sigmoid, it is the binary cross-entropy, averaged over the labels.

    Args:
        from_logits: Whether outputs are logits (or come from a softmax or sigmoid head whose logits can be found)
            rather than probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `"negative_log_likelihood"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Example:

    >>> metric = NegativeLogLikelihood()
    >>> metric.update_state([0, 1], [[0.0, 1000.0], [0.0, 1000.0]])
    >>> float(metric.result())
    500.0

    Reference:
        Good, "Rational Decisions", 1952.
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "negative_log_likelihood",
        dtype: str | None = None,
        head: str | None = None,
    ):
        super().__init__(from_logits, name=name, dtype=dtype, head=head)

    def per_row(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Return the negative log-likelihood of each label."""
        return _log_losses(labels, logits)


@keras.saving.register_keras_serializable(package="keras_distill")
class BrierScore(LabelMetric):
    """Compute the mean Brier score: the squared distance of the probabilities from the one-hot label, from 0 to 2.

    A single output, or each of several outputs of a sigmoid, counts as the two classes no and yes.

    Args:
        from_logits: Whether outputs are logits (or come from a softmax or sigmoid head whose logits can be found)
            rather than probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `"brier_score"`.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Example:

    >>> metric = BrierScore(from_logits=False)
    >>> metric.update_state([0, 1], [[0.5, 0.5], [0.0, 1.0]])
    >>> float(metric.result())  # The mean of (0.25 + 0.25) and 0
    0.25

    Reference:
        Brier, "Verification of Forecasts Expressed in Terms of Probability", 1950.
    """

    def __init__(
        self,
        from_logits: bool = True,
        name: str = "brier_score",
        dtype: str | None = None,
        head: str | None = None,
    ):
        super().__init__(from_logits, name=name, dtype=dtype, head=head)

    def per_row(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Return the squared distance of each row."""
        return _squared_distances(labels, logits)


@checked(labels="[*...]", outputs="[..., classes]")
def negative_log_likelihood(labels: Any, outputs: Any, from_logits: bool = True, head: str | None = None) -> float:
    """Return the mean negative log-likelihood of the labels under an array of outputs.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Returns:
        A float in nats.

    Raises:
        ValueError: If no row has a label, a label is not a valid class, or probabilities are passed as logits.

    Example:

    >>> round(negative_log_likelihood([1, 0], [[0.0, 0.0], [0.0, 0.0]]), 4)  # log 2
    0.6931
    """
    return mean(_log_losses(*labelled_logits(labels, outputs, from_logits, head)))


@checked(labels="[*...]", outputs="[..., classes]")
def brier_score(labels: Any, outputs: Any, from_logits: bool = True, head: str | None = None) -> float:
    """Return the mean squared distance of an array of probabilities from the one-hot labels.

    Args:
        labels: Integers `[...]` or `[..., 1]`, -1 for no label, or one-hot rows `[..., classes]`.
        outputs: Logits `[..., classes]`, or probabilities.
        from_logits: Whether outputs are logits rather than probabilities. Defaults to `True`.
        head: `"classes"` or `"labels"`, what the outputs decide, as for `Agreement`. Defaults to `None`.

    Returns:
        A float from 0.0 to 2.0.

    Raises:
        ValueError: If no row has a label, a label is not a valid class, or probabilities are passed as logits.

    Example:

    >>> brier_score([0, 1], [[0.5, 0.5], [0.0, 1.0]], from_logits=False)
    0.25
    """
    return mean(_squared_distances(*labelled_logits(labels, outputs, from_logits, head)))


def _log_losses(labels, logits):
    labelled = ops.one_hot(labels, logits.shape[-1], dtype="bool")
    label_logits = ops.take_along_axis(logits, ops.expand_dims(labels, -1), axis=-1)
    others = ops.where(labelled, ops.full_like(logits, _EXCLUDED), logits)
    # log(1 + sum of the others / the label's) without adding 1, which would absorb a small sum.
    return keep_nan(ops.softplus(ops.logsumexp(others, axis=-1) - label_logits[..., 0]), logits)


def _squared_distances(labels, logits):
    difference = ops.softmax(logits, axis=-1) - ops.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    return keep_nan(ops.sum(ops.square(difference), axis=-1), logits)
