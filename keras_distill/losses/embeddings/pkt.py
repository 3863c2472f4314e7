"""Probabilistic knowledge transfer: the probability of each sample to have each other sample as its neighbour."""

import math
from typing import Any

from keras import ops

from keras_distill._core.checked import POSITIVE, checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses.embeddings.pairs import count_samples, gram, prepare_pair
from keras_distill.losses.feature_maps.maps import norm
from keras_distill.losses.layers import EmbeddingLoss, LayerNames
from keras_distill.losses.registry import method


@checked(teacher_embed="[batch, *]", student_embed="[batch, *]", mask="[batch]", epsilon=POSITIVE)
def pkt(teacher_embed: Tensor, student_embed: Tensor, epsilon: float = 1e-7, mask: Tensor = None) -> Tensor:
    """Compute `P log((P + epsilon) / (Q + epsilon))` of the cosine similarities in a batch.

    The rows of `P` (teacher) and `Q` (student) are the cosines of a sample with all samples, itself included, mapped
    from [-1, 1] to [0, 1] and divided by their sum. Widths and scales of the two embeddings may differ.

    Args:
        teacher_embed: Float array `[batch, teacher_width]`. Constant: no gradient reaches it.
        student_embed: Float array `[batch, student_width]`.
        epsilon: Number > 0 that is added to norms and probabilities. Defaults to 1e-7.
        mask: Bool array `[batch]`: which samples count. Defaults to `None`, all.

    Returns:
        Float array `[batch]`: the mean over the row of each sample. The loss is their mean.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> [round(float(value), 4) for value in pkt(teacher, student)]  # (2/3 log 4/3 + 1/3 log 2/3) / 2
    [0.0283, 0.0283]

    Reference:
        Passalis, Tefas, "Learning Deep Representations with Probabilistic Knowledge Transfer", 2018,
        arXiv:1803.10837.
    """
    teacher, student, counted, dtype = prepare_pair(teacher_embed, student_embed, mask)
    p, q = (_neighbours(each, counted, epsilon) for each in (teacher, student))
    values = ops.sum(p * ops.log((p + epsilon) / (q + epsilon)), axis=1)
    return ops.cast(values / count_samples(counted), dtype)


@method("pkt", paper="Passalis, Tefas 2018", arxiv="1803.10837", peers=("mdistiller", "RepDistiller", "torchdistill"))
class PKT(EmbeddingLoss):
    """Teach the student which samples of a batch are neighbours in the teacher's embedding space: see `pkt`.

    Args:
        epsilon: Number > 0 that is added to norms and probabilities. Defaults to 1e-7.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"pkt"`.

    Raises:
        ValueError: If `epsilon` is not positive.

    Example:

    >>> import numpy as np
    >>> teacher, student = np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([[1.0, 0.0], [1.0, 0.0]])
    >>> round(float(PKT().compute_loss(teacher, student)), 4)
    0.0283
    """

    hyper_parameters = ("epsilon",)

    def __init__(
        self,
        epsilon: float = 1e-7,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        self.epsilon = check_number("epsilon", epsilon, 0.0, math.inf, open_low=True)

    def per_sample(self, teacher_output: Any, student_output: Any, mask: Tensor = None) -> Tensor:
        return pkt(teacher_output, student_output, self.epsilon, mask)


def _neighbours(embed, counted, epsilon):
    """Return the probabilities `[batch, batch]`, with zeros for samples that do not count."""
    similarities = 0.5 * (gram(embed / (norm(embed, axis=1, keepdims=True) + epsilon)) + 1.0) * counted
    total = ops.sum(similarities, axis=1, keepdims=True)
    return similarities / ops.where(total > 0, total, ops.ones_like(total))
