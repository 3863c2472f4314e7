"""The base class of metrics that compare a student with its teacher."""

from typing import Any

from keras import ops

from keras_distill.answers.answer import Tensor, as_answer
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.metrics.rows import check_pair, row_weights
from keras_distill.metrics.streaming import StreamedMean


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

    _least_classes = 1

    def update_state(
        self, teacher_outputs: Any, student_outputs: Any, sample_weight: Any = None, temperature: Any = None
    ) -> None:
        """Add a batch.

        Args:
            teacher_outputs: Logits or probabilities `[batch, ..., classes]`, or an `Answer` such as a `TopK`.
            student_outputs: Logits or probabilities of the same shape; their Keras mask applies.
            sample_weight: Optional weights that broadcast to `[batch, ...]`. Defaults to `None`.
            temperature: The temperature of the training, for metrics that use it. Defaults to `None`.
        """
        teacher_outputs = self._select_outputs(as_answer(teacher_outputs), temperature)
        if not is_top_k(teacher_outputs):
            teacher_outputs = ops.convert_to_tensor(teacher_outputs)
        student_outputs = ops.convert_to_tensor(student_outputs)
        check_pair(teacher_outputs, student_outputs, self._least_classes)
        values = self.per_sample(teacher_outputs, student_outputs, temperature)
        weights = row_weights(values, student_outputs, sample_weight)
        self._add_samples(values, weights, teacher_outputs, student_outputs)

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
            Float tensor `[batch, ...]`.
        """
        raise NotImplementedError(f"{type(self).__name__} must implement `per_sample(teacher_outputs, ...)`.")
