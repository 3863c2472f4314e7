"""The memory of contrastive distillation: an embedding layer and a bank of embeddings for each model."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.backend import replicas
from keras_distill._core.messages import expected


@keras.saving.register_keras_serializable(package="keras_distill")
class ContrastiveMemory(keras.layers.Layer):
    """Score each sample's embedding against remembered embeddings of the other model: its own and those of negatives.

    A trained dense layer maps each model's features to a common width, and the result is scaled to unit length. A bank
    for each model remembers the last embedding of every sample of the training data, and training moves the rows of
    the batch towards the new embeddings. Under `tf.distribute`, each replica updates its own rows of one common bank.

    Args:
        dataset_size: Number of samples of the training data.
        width: Width of the embeddings. Defaults to 128.
        nce_temperature: Number >= 0.02 that divides the inner products. Defaults to 0.07.
        momentum: Number from 0 to 1, the share of the old row of a bank that is kept. Defaults to 0.5.
        dtype: Keras dtype. Defaults to `"float32"`, whatever the precision of the models.
        **kwargs: Passed to `keras.layers.Layer`.

    Example:

    >>> import numpy as np
    >>> layer = ContrastiveMemory(dataset_size=10, width=4)
    >>> index, others = np.array([3, 7]), np.array([[3, 0, 1], [7, 0, 1]])
    >>> teacher_scores, student_scores = layer(np.ones((2, 5)), np.ones((2, 6)), index, others)
    >>> teacher_scores.shape, student_scores.shape
    (TensorShape([2, 3]), TensorShape([2, 3]))

    Reference:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", 2019, arXiv:1910.10699.
    """

    def __init__(
        self,
        dataset_size: int,
        width: int = 128,
        nce_temperature: float = 0.07,
        momentum: float = 0.5,
        dtype: Any = "float32",
        **kwargs: Any,
    ):
        super().__init__(dtype=dtype, **kwargs)
        self.dataset_size, self.width = dataset_size, width
        self.nce_temperature, self.momentum = nce_temperature, momentum
        self.embed_teacher, self.embed_student = (
            keras.layers.Dense(width, dtype=self.dtype_policy, name=f"embed_{role}") for role in ("teacher", "student")
        )

    def build(self, teacher_shape: Any, student_shape: Any) -> None:
        self.embed_teacher.build(teacher_shape)
        self.embed_student.build(student_shape)
        self.memory_teacher, self.memory_student = (self._add_bank(role) for role in ("teacher", "student"))
        self.z_teacher, self.z_student = (
            # Set by the first batch of the training. -1 marks it as unset.
            self.add_weight(
                (), keras.initializers.Constant(-1.0), trainable=False, aggregation="mean", name=f"z_{role}"
            )
            for role in ("teacher", "student")
        )
        self.built = True

    def call(
        self,
        teacher: Any,
        student: Any,
        index: Any,
        contrast_index: Any,
        training: bool = False,
        counted: Any = None,
    ) -> tuple[Any, Any]:
        """Return the scores of the samples, and update the banks in training.

        Args:
            teacher: Float tensor `[batch, teacher_width]`. Constant: no gradient reaches it.
            student: Float tensor `[batch, student_width]`.
            index: Integer tensor `[batch]`, the indices of the samples in the training data.
            contrast_index: Integer tensor `[batch, 1 + negatives]`, the indices of the positive and the negatives.
            training: Whether to update the banks and set the constants. Defaults to `False`.
            counted: Bool tensor `[batch]`: which samples are not padding. Defaults to `None`, all.

        Returns:
            `(teacher_scores, student_scores)`, float tensors `[batch, 1 + negatives]`: the logarithms of
            `exp(v . m / nce_temperature) / Z`, with `m` from the other model's bank.
        """
        if contrast_index.shape[-1] == 1:
            raise ValueError(expected("one negative or more in `contrast_index`", f"shape {contrast_index.shape}"))
        if counted is not None:
            teacher, student = (_zero_uncounted(each, counted) for each in (teacher, student))
        rows = _unit(self.embed_teacher(ops.stop_gradient(teacher))), _unit(self.embed_student(student))
        banks, constants = (self.memory_teacher, self.memory_student), (self.z_teacher, self.z_student)
        scores = [self._inner_products(v, bank, contrast_index) for v, bank in zip(rows, banks[::-1], strict=True)]
        scores = [
            each - ops.log(self._normalizer(z, each, training, counted))
            for each, z in zip(scores, constants, strict=True)
        ]
        if training:
            for v, bank in zip(rows, banks, strict=True):
                self._remember(bank, index, ops.stop_gradient(v), counted)
        return scores[0], scores[1]

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            "dataset_size": self.dataset_size,
            "width": self.width,
            "nce_temperature": self.nce_temperature,
            "momentum": self.momentum,
        }

    def _add_bank(self, role):
        limit = math.sqrt(3.0 / self.width)
        uniform = keras.initializers.RandomUniform(-limit, limit)
        shape = (self.dataset_size, self.width)
        return self.add_weight(shape, uniform, trainable=False, aggregation="mean", name=f"memory_{role}")

    def _inner_products(self, rows, bank, contrast_index):
        negatives = contrast_index.shape[-1] or self.dataset_size
        bank = ops.stop_gradient(ops.convert_to_tensor(bank))
        # Whichever needs less memory: the scores of all samples, or the rows of those in `contrast_index`.
        if self.dataset_size <= negatives * self.width:
            products = ops.take_along_axis(ops.matmul(rows, ops.transpose(bank)), contrast_index, axis=1)
        else:
            products = ops.einsum("bd,bkd->bk", rows, ops.take(bank, contrast_index, axis=0))
        return products / self.nce_temperature

    def _normalizer(self, constant, scores, training, counted):
        """Return Z: the mean of `exp(scores)` in the first batch of the training, times the number of samples."""
        means = ops.mean(ops.exp(ops.stop_gradient(scores)), axis=1)
        weights = ops.ones_like(means) if counted is None else ops.cast(counted, means.dtype)
        total = ops.sum(weights)
        mean = ops.sum(means * weights) / ops.maximum(total, 1.0)
        known = ops.convert_to_tensor(constant)
        value = ops.where(ops.logical_and(known < 0, total > 0), mean * self.dataset_size, known)
        if training:
            constant.assign(value)
            # Read back, since under `tf.distribute` it is now the mean over the replicas.
            value = ops.convert_to_tensor(constant)
        return ops.where(value < 0, ops.ones_like(value), value)  # Unset if no sample counts: any will do.

    def _remember(self, bank, index, rows, counted):
        old = ops.take(bank, index, axis=0)
        change = _unit(self.momentum * old + (1.0 - self.momentum) * rows) - old
        if counted is not None:
            change = _zero_uncounted(change, counted)
        # Assigned banks are averaged over the replicas, so each change is multiplied by their number.
        bank.assign(ops.scatter_update(ops.convert_to_tensor(bank), index[:, None], old + replicas() * change))


def _zero_uncounted(rows, counted):
    """Replace the rows that do not count by zeros, whatever they contain."""
    return ops.where(ops.cast(counted, "bool")[:, None], rows, ops.zeros_like(rows))


def _unit(rows):
    """Scale rows to unit length. Zero stays zero and passes no gradient."""
    largest = ops.stop_gradient(ops.max(ops.abs(rows), axis=1, keepdims=True))
    nonzero = largest > 0
    rows = rows / ops.where(nonzero, largest, ops.ones_like(largest))
    squares = ops.sum(ops.square(rows), axis=1, keepdims=True)
    return ops.where(nonzero, rows * ops.rsqrt(ops.where(nonzero, squares, ops.ones_like(squares))), 0.0 * rows)
