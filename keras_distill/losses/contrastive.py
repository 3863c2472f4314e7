"""Contrastive distillation: the two embeddings of a sample belong together, those of different samples do not."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.features.adapters import is_list_of_shapes
from keras_distill.features.contrastive_memory import ContrastiveMemory
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.layers import EmbeddingLoss, LayerNames
from keras_distill.losses.registry import method

_EPSILON = 1e-7


@checked(teacher_scores="[batch, candidates]", student_scores="[batch, candidates]", dataset_size=(1.0, math.inf))
def crd(teacher_scores: Tensor, student_scores: Tensor, dataset_size: int | None) -> Tensor:
    """Compute `noise_contrastive` for both models: each model's embeddings against the other's remembered ones.

    Args:
        teacher_scores: Float array `[batch, 1 + negatives]`, the logarithms of the normalized scores of the teacher's
            embeddings, with the positive first.
        student_scores: Float array `[batch, 1 + negatives]`, those of the student's embeddings.
        dataset_size: Number of samples of the training data.

    Returns:
        Float array `[batch]`.

    Example:

    >>> import numpy as np
    >>> scores = np.log(np.array([[2.0, 1.0]]))  # With 1 negative of 2 samples the noise has a density of 1/2.
    >>> round(float(crd(scores, scores, dataset_size=2)[0]), 4)  # 2 (log 5/4 + log 3)
    2.6435

    Reference:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", 2019, arXiv:1910.10699.
    """
    return noise_contrastive(teacher_scores, dataset_size) + noise_contrastive(student_scores, dataset_size)


def noise_contrastive(scores: Tensor, dataset_size: int | None) -> Tensor:
    """Compute the cross-entropy of distinguishing a positive from negatives that are drawn uniformly.

    It is `-log(o_0 / (o_0 + c)) - sum_k log(c / (o_k + c))` for scores `o` and the density of the noise
    `c = negatives / dataset_size`, with 1e-7 added to the denominators. It is computed from logarithms throughout, so
    no score is too large or too small.

    Args:
        scores: Float array `[batch, 1 + negatives]`, the logarithms of the normalized scores, with the positive first.
        dataset_size: Number of samples of the training data.

    Returns:
        Float array `[batch]`, nats.

    Example:

    >>> import numpy as np
    >>> round(float(noise_contrastive(np.array([[800.0, -800.0]]), dataset_size=2)[0]), 6)
    0.0

    Reference:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", 2019, arXiv:1910.10699.
    """
    scores = ops.convert_to_tensor(scores)
    scores = ops.cast(scores, working_dtype(scores))
    negatives = ops.cast(ops.shape(scores)[1] - 1, scores.dtype)
    density = negatives / dataset_size
    log_noise = ops.log(density + _EPSILON)
    positive = ops.softplus(log_noise - scores[:, 0])
    others = ops.sum(ops.softplus(scores[:, 1:] - log_noise), axis=1)
    return positive + others + negatives * ops.log1p(_EPSILON / density)


@method("crd", paper="Tian, Krishnan, Isola 2019", arxiv="1910.10699", peers=("RepDistiller",))
class CRD(EmbeddingLoss):
    """Teach the student embeddings that identify each sample by the teacher's embedding of it: see `crd`.

    Train on `keras_distill.data.indexed(x, y, negatives=...)`, whose batches carry the indices of their samples and of
    negatives for each. The published code draws 16384 negatives. A `Distiller` creates and trains the layer that embeds
    both models' features and remembers the embeddings of all samples, see `ContrastiveMemory`.

    Args:
        dataset_size: Number of samples of the training data. Required.
        embedding_width: Width of the embeddings that are compared. Defaults to 128.
        nce_temperature: Number >= 0.02 that divides the cosines of embeddings. It is not a temperature of soft targets.
            Defaults to 0.07.
        momentum: Number from 0 to 1, the share of a remembered embedding that is kept. Defaults to 0.5.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"crd"`.

    Raises:
        ValueError: If a size is not a positive whole number, or another number is out of range.

    Example:

    >>> import numpy as np
    >>> loss = CRD(dataset_size=4, embedding_width=8)
    >>> layer = loss.make_adapter((None, 3), (None, 2))
    >>> batch = {"index": np.array([0, 2]), "contrast_index": np.array([[0, 1, 3], [2, 1, 3]])}
    >>> teacher, student = np.ones((2, 3), "float32"), np.ones((2, 2), "float32")
    >>> value = loss.compute_loss(teacher, student, adapter=layer, training=True, **batch)
    >>> bool(value > 0), bool(layer.z_student > 0)  # The first batch has set the constants.
    (True, True)
    """

    hyper_parameters = ("dataset_size", "embedding_width", "nce_temperature", "momentum")

    def __init__(
        self,
        dataset_size: int | None = None,
        embedding_width: int = 128,
        nce_temperature: float = 0.07,
        momentum: float = 0.5,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        if dataset_size is None:
            fix = "Pass the number of training samples: `kd.losses.CRD(dataset_size=len(x))`."
            raise ValueError(expected("dataset_size to be a whole number >= 1", "dataset_size=None", fix))
        self.dataset_size = check_whole_number("dataset_size", dataset_size)
        self.embedding_width = check_whole_number("embedding_width", embedding_width)
        # With smaller numbers, the scores of equal embeddings would exceed the range of float32.
        self.nce_temperature = check_number("nce_temperature", nce_temperature, 0.02, float("inf"))
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create and build the layer that embeds both models' features and remembers the embeddings."""
        if is_list_of_shapes(student_shape):
            fix = "Use one loss for each pair of layers: each loss has its own memory."
            raise ValueError(expected(f"one layer of each model for {self.name!r}", f"{len(student_shape)}", fix))
        sizes = self.dataset_size, self.embedding_width
        layer = ContrastiveMemory(*sizes, self.nce_temperature, self.momentum, name=f"{self.name}_memory")
        layer.build(teacher_shape=teacher_shape, student_shape=student_shape)
        return layer

    def adapt(self, student_outputs: Any, adapter: Any, training: bool = False) -> Any:
        """Return the student's outputs unchanged: the layer computes scores, not features."""
        return student_outputs

    def per_sample(
        self,
        teacher_output: Any,
        student_output: Any,
        adapter: Any,
        index: Tensor,
        contrast_index: Tensor,
        training: bool = False,
        mask: Tensor = None,
    ) -> Tensor:
        index, contrast_index = ops.convert_to_tensor(index), ops.convert_to_tensor(contrast_index)
        teacher_scores, student_scores = adapter(
            teacher_output, student_output, index, contrast_index, training=bool(training), counted=mask
        )
        return crd(teacher_scores, student_scores, self.dataset_size)
