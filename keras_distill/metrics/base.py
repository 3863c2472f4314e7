"""The base classes of metrics: a mean over a stream of batches, of teacher and student, and of labels and student."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill.answers.answer import Tensor, as_answer
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.heads import LABELS, check_head, find_head, label_indices
from keras_distill.metrics.rows import check_pair, labelled_rows, logits_from, row_weights, split_labels


class StreamedMean(keras.metrics.Metric):
    """Keep the weighted mean of values per row (samples, or positions of samples) with compensated sums.

    A plain float32 sum stops growing: after a million samples 0.3 is rounded to 0.3125, and after 16 million one more
    sample is not counted. The rounding error of an addition is exactly representable in float32. A second sum of these
    errors gives about twice the digits on every backend and accelerator.

    Args:
        name: Name in the logs. Defaults to `None`, derived from the name of the class.
        dtype: Dtype of the result. The sums are float64 if it is float64, and float32 otherwise. Defaults to `None`,
            Keras's float dtype.
        shape: Shape of the sums, for metrics that keep other sums. Defaults to `(2,)`: weighted values and weights.
    """

    @checked()
    def __init__(self, name: str | None = None, dtype: str | None = None, shape: tuple[int, ...] = (2,)):
        super().__init__(name=name, dtype=dtype)
        wide = "float64" if self.dtype == "float64" else "float32"
        self._sums: Any = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="sums")
        self._lost: Any = self.add_variable(shape=shape, initializer="zeros", dtype=wide, name="lost")

    def _add_rows(self, values, weights):
        self._add(weighted_sum(values, weights), ops.sum(weights))

    def _add(self, *values):
        old = ops.convert_to_tensor(self._sums)
        added = ops.stack([ops.cast(each, self._sums.dtype) for each in values])
        new = old + added
        rounded = new - old
        self._lost.assign_add((old - (new - rounded)) + (added - rounded))
        self._sums.assign(new)

    def _totals(self):
        return ops.unstack(ops.convert_to_tensor(self._sums) + ops.convert_to_tensor(self._lost), axis=0)

    def result(self) -> Tensor:
        total, weight = self._totals()
        return ops.cast(ops.divide_no_nan(total, weight), self.dtype)


class FidelityMetric(StreamedMean):
    """Compare the outputs of a student with those of its teacher, averaged over a stream of batches.

    In `Distiller.compile(metrics=[...])` it receives the teacher's outputs in place of labels, in training and in
    evaluation (for which the teacher then has to run). To write a metric of your own, override `per_sample`.

    Args:
        name: Name in the logs. Defaults to `None`, derived from the name of the class.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.

    Example:

    >>> from keras import ops
    >>> class LargestDifference(FidelityMetric):
    ...     def per_sample(self, teacher_outputs, student_outputs, temperature=None):
    ...         return ops.max(ops.abs(teacher_outputs - student_outputs), axis=-1)
    >>> metric = LargestDifference()
    >>> metric.update_state(ops.array([[0.0, 2.0], [1.0, 1.0]]), ops.array([[0.0, 0.0], [1.0, 0.0]]))
    >>> float(metric.result())
    1.5
    """

    head: str | None = None
    """What the outputs decide, one of `keras_distill.metrics.heads.HEADS`, or `None` to find it from them."""

    _least_classes = 1
    _found_head: str | None = None

    def update_state(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        temperature: Any = None,
        head: str | None = None,
    ) -> None:
        """Add a batch.

        Args:
            teacher_outputs: Logits or probabilities `[batch, ..., classes]`, or an `Answer` such as a `TopK`.
            student_outputs: Logits or probabilities of the same shape; their Keras mask applies.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
            temperature: The temperature of the training, for metrics that use it. Defaults to `None`.
            head: What the outputs decide, if the training tells and the metric was not told. Defaults to `None`.
        """
        teacher_outputs = self._select_outputs(as_answer(teacher_outputs), temperature)
        if not is_top_k(teacher_outputs):
            teacher_outputs = ops.convert_to_tensor(teacher_outputs)
        student_outputs = ops.convert_to_tensor(student_outputs)
        check_pair(teacher_outputs, student_outputs)
        self._found_head = find_head(teacher_outputs, student_outputs, head=self.head or head)
        try:
            check_pair(teacher_outputs, student_outputs, 1 if self._found_head == LABELS else self._least_classes)
            values = self.per_sample(teacher_outputs, student_outputs, temperature)
            weights = row_weights(values, student_outputs, sample_weight)
            self._add_samples(values, weights, teacher_outputs, student_outputs)
        finally:
            self._found_head = None

    def _head_of(self, *outputs):
        """Return what the outputs decide: as told, as found by `update_state`, or as the outputs show."""
        return find_head(*outputs, head=self._found_head or self.head)

    def _select_outputs(self, answer, temperature):
        """Return the part of a teacher's `Answer` that `per_sample` receives: the logits at T = 1, or a `TopK`."""
        return answer.at(1.0)

    def _add_samples(self, values, weights, teacher_outputs, student_outputs):
        self._add_rows(values, weights)

    def per_sample(self, teacher_outputs: Any, student_outputs: Tensor, temperature: Any = None) -> Tensor:
        """Return the value of each sample, or of each position of a sample.

        Args:
            teacher_outputs: Float tensor `[batch, ..., classes]`, or a `keras_distill.targets.TopK`.
            student_outputs: Float tensor `[batch, ..., classes]`.
            temperature: Float scalar, the temperature of the training, or `None`.

        Returns:
            Float tensor `[batch, ...]`, or `[batch, ..., labels]` with a value for each output of a head of labels.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `per_sample(teacher_outputs, ...)`.")


class LabelMetric(StreamedMean):
    """Compare a model's probabilities with the labels, averaged over the rows that have one. Override `per_row`.

    Args:
        from_logits: Whether outputs are logits (or come from a softmax or sigmoid head whose logits can be found)
            rather than probabilities. Defaults to `True`.
        name: Name in the logs. Defaults to `None`, derived from the name of the class.
        dtype: Dtype of the result. Defaults to `None`, Keras's float dtype.
        shape: Shape of the sums. Defaults to `(2,)`.
        head: What the outputs decide: `"classes"`, `"labels"`, or `None` to find it from them. Defaults to `None`.
    """

    _direction = "down"

    @checked()
    def __init__(
        self,
        from_logits: bool = True,
        name: str | None = None,
        dtype: str | None = None,
        shape: tuple[int, ...] = (2,),
        head: str | None = None,
    ):
        super().__init__(name=name, dtype=dtype, shape=shape)
        self.from_logits = bool(from_logits)
        self.head = check_head(head)

    def update_state(self, y_true: Any, y_pred: Any, sample_weight: Any = None, head: str | None = None) -> None:
        """Add a batch.

        Args:
            y_true: Labels: sparse `[batch, ...]` or `[batch, ..., 1]` with -1 for no label, or one-hot
                `[batch, ..., classes]`; for a head of labels, 0, 1 or -1 for each output.
            y_pred: Outputs `[batch, ..., classes]`; their Keras mask applies.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
            head: What the outputs decide, if the training tells and the metric was not told. Defaults to `None`.
        """
        y_pred = ops.convert_to_tensor(y_pred)
        head = find_head(y_pred, head=self.head or head)
        labels, known = split_labels(y_true, y_pred, head)
        logits = logits_from(y_pred, self.from_logits, head=head)
        weights = row_weights(logits[..., 0], y_pred, sample_weight, known)
        self._add_labelled(labels, logits, weights)

    def _add_labelled(self, labels, logits, weights):
        self._add_rows(self.per_row(labels, logits), weights)

    def per_row(self, labels: Tensor, logits: Tensor) -> Tensor:
        """Return one value for each row of logits and its label, float `[batch, ...]`."""
        raise NotImplementedError(f"{type(self).__name__} must implement `per_row(labels, logits)`.")

    def get_config(self) -> dict[str, Any]:
        return {"from_logits": self.from_logits, "head": self.head, **super().get_config()}


def weighted_sum(values: Tensor, weights: Tensor, axis: Any = None) -> Tensor:
    """Return the sum of values times weights; a value of weight 0 adds nothing, even if it is NaN.

    Args:
        values: Float tensor that broadcasts to `weights`.
        weights: Float tensor.
        axis: Axes to sum over. Defaults to `None`, all axes.
    """
    values = ops.cast(values, weights.dtype)
    return ops.sum(ops.where(weights == 0.0, ops.zeros_like(weights), values * weights), axis=axis)


def labelled_logits(labels: Any, outputs: Any, from_logits: bool, head: str | None = None) -> list[Tensor]:
    """Return the class indices and the logits of those rows of arrays that have a label."""
    outputs, head = ops.convert_to_tensor(outputs), find_head(outputs, head=check_head(head))
    labels = label_indices(labels, outputs) if head == LABELS else labels
    return labelled_rows(labels, logits_from(outputs, from_logits, owner="model", head=head))
