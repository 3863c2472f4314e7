"""The base class of metrics that compare a model's probabilities with the labels."""

from typing import Any

from keras import ops

from keras_distill.answers.answer import Tensor
from keras_distill.metrics.rows import labelled_rows, logits_from, row_weights, split_labels
from keras_distill.metrics.streaming import StreamedMean


class LabelMetric(StreamedMean):
    """Compare a model's probabilities with the labels, averaged over the rows that have one. Override `per_row`.

    Args:
        from_logits: Whether outputs are logits (or come from a softmax head whose logits can be found) rather than
            probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `None`, derived from the name of the class.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        shape: Shape of the sums. Defaults to `(2,)`.
    """

    _direction = "down"

    def __init__(
        self, from_logits: bool = True, name: str | None = None, dtype: str | None = None, shape: tuple[int, ...] = (2,)
    ):
        super().__init__(name=name, dtype=dtype, shape=shape)
        self.from_logits = bool(from_logits)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> None:
        """Add a batch.

        Args:
            y_true: Labels: sparse `[batch, ...]` or `[batch, ..., 1]` with -1 for no label, or one-hot
                `[batch, ..., classes]`.
            y_pred: Outputs `[batch, ..., classes]`; their Keras mask applies.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        labels, known = split_labels(y_true, y_pred)
        logits = logits_from(y_pred, self.from_logits)
        weights = row_weights(logits[..., 0], y_pred, sample_weight, known)
        self._add_labelled(labels, logits, weights)

    def _add_labelled(self, labels, logits, weights):
        self._add_rows(self.per_row(labels, logits), weights)

    def per_row(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Return one value for each row of logits and its label, float `[batch, ...]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `per_row(labels, logits)`.")

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, **super().get_config()}


def labelled_logits(labels: Any, outputs: Any, from_logits: bool) -> list[Tensor]:
    """Return the class indices and the logits of those rows of arrays that have a label."""
    return labelled_rows(labels, logits_from(outputs, from_logits, owner="model"))
