"""The base class of what judges a model's probabilities by the labels."""

from keras import ops

from keras_distill.metrics.rows import labelled_rows, labels_of, logits_from, row_weights
from keras_distill.metrics.streaming import StreamedMean


class LabelMetric(StreamedMean):
    """Compare a model's probabilities with the labels, averaged over the rows that have one. Override `per_row`.

    Args:
        from_logits: Whether outputs are logits, or come from a softmax head whose logits can be found, rather than
            probabilities.
        name: Name in the logs.
        dtype: Dtype of the result.
    """

    _direction = "down"

    def __init__(self, from_logits=True, name=None, dtype=None, shape=(2,)):
        super().__init__(name=name, dtype=dtype, shape=shape)
        self.from_logits = bool(from_logits)

    def update_state(self, y_true, y_pred, sample_weight=None):
        """Add a batch.

        Args:
            y_true: Labels, sparse `[batch, ...]` or `[batch, ..., 1]`, -1 for none, or one-hot `[batch, ..., classes]`.
            y_pred: Outputs `[batch, ..., classes]`; a Keras mask on it counts.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        labels, known = labels_of(y_true, y_pred)
        logits = logits_from(y_pred, self.from_logits)
        weights = row_weights(logits[..., 0], y_pred, sample_weight, known)
        self._add_labelled(labels, logits, weights)

    def _add_labelled(self, labels, logits, weights):
        self._add_rows(self.per_row(labels, logits), weights)

    def per_row(self, labels, logits):
        """Return one value for each row of logits and its label, float `[batch, ...]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `per_row(labels, logits)`.")

    def get_config(self):
        return {"from_logits": self.from_logits, **super().get_config()}


def offline(labels, outputs, from_logits):
    """Return class indices and logits of the rows that have a label, of arrays."""
    return labelled_rows(labels, logits_from(outputs, from_logits, owner="model"))
