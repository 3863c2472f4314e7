"""Contrastive distillation: a sample's two embeddings belong together, and with no other sample's."""

import keras
from keras import ops

from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.features.contrastive_memory import ContrastiveMemory
from keras_distill.losses.divergences import working_dtype
from keras_distill.losses.layers import FeatureLoss
from keras_distill.losses.registry import method

_EPSILON = 1e-7


def crd(teacher_scores, student_scores, dataset_size):
    """Compute `noise_contrastive` of both sides: each model's embeddings against the other's remembered ones.

    Args:
        teacher_scores: Float array `[batch, 1 + negatives]`, the logarithms of the normalised scores of the teacher's
            embeddings, the positive first.
        student_scores: Float array `[batch, 1 + negatives]`, the student's.
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


def noise_contrastive(scores, dataset_size):
    """Compute the cross-entropy of telling a positive from negatives that were drawn uniformly.

    That is `-log(o_0 / (o_0 + c)) - sum_k log(c / (o_k + c))` for scores `o` and the density of the noise
    `c = negatives / dataset_size`, with 1e-7 added to the denominators. From logarithms throughout: no score is too
    large or too small for it.

    Args:
        scores: Float array `[batch, 1 + negatives]`, the logarithms of the normalised scores, the positive first.
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
@keras.saving.register_keras_serializable(package="keras_distill")
class CRD(FeatureLoss):
    """Teach the student embeddings that agree with the teacher's on which sample is which.

    Train on `keras_distill.data.indexed(x, y, negatives=...)`: its batches say which samples they hold, and which
    others each is told from. The published code draws 16384 of them. A `Distiller` makes the layer that embeds both
    models' features and remembers the embeddings of all samples, and trains it along; see `ContrastiveMemory`.

    Args:
        dataset_size: Number of samples of the training data.
        embedding_width: Width of the embeddings that are compared. Defaults to 128.
        nce_temperature: Number from 0.02 on that divides the cosines of embeddings; no temperature of soft targets.
            Defaults to 0.07.
        momentum: From 0 to 1, what is kept of a remembered embedding. Defaults to 0.5.
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to `"crd"`.

    Raises:
        ValueError: If a size is not a positive whole number, or another number out of range.

    Example:

    >>> import numpy as np
    >>> loss = CRD(dataset_size=4, embedding_width=8)
    >>> layer = loss.make_adapter((None, 3), (None, 2))
    >>> batch = {"index": np.array([0, 2]), "contrast_index": np.array([[0, 1, 3], [2, 1, 3]])}
    >>> teacher, student = np.ones((2, 3), "float32"), np.ones((2, 2), "float32")
    >>> value = loss.compute_loss(teacher, student, adapter=layer, training=True, **batch)
    >>> bool(value > 0), bool(layer.z_student > 0)  # The first batch has set the constants.
    (True, True)

    Reference:
        Tian, Krishnan, Isola, "Contrastive Representation Distillation", 2019, arXiv:1910.10699.
    """

    method = "crd"
    automatic = "embedding"
    rank = 2

    def __init__(
        self,
        dataset_size=None,
        embedding_width=128,
        nce_temperature=0.07,
        momentum=0.5,
        teacher_layer_name="auto",
        student_layer_name="auto",
        preactivation=False,
        name=None,
    ):
        super().__init__(teacher_layer_name, student_layer_name, preactivation, name=name)
        for argument, size in (("dataset_size", dataset_size), ("embedding_width", embedding_width)):
            if isinstance(size, bool) or not hasattr(size, "__index__") or size < 1:
                fix = "As many as there are training samples: `kd.losses.CRD(dataset_size=len(x))`."
                received, fix = f"{argument}={size!r}", fix if argument == "dataset_size" else None
                raise ValueError(expected(f"{argument} to be a whole number >= 1", received, fix))
        self.dataset_size, self.embedding_width = int(dataset_size), int(embedding_width)
        # Below it the scores of equal embeddings leave float32.
        self.nce_temperature = check_number("nce_temperature", nce_temperature, 0.02, float("inf"))
        self.momentum = check_number("momentum", momentum, 0.0, 1.0)

    def make_adapter(self, teacher_shape, student_shape):
        """Return the layer that embeds both models' features and remembers them, built."""
        several = isinstance(student_shape[0], (list, tuple))
        if several:
            fix = "Use one loss for each pair of layers: each has a memory of its own."
            raise ValueError(expected(f"one layer of each model for {self.name!r}", f"{len(student_shape)}", fix))
        sizes = self.dataset_size, self.embedding_width
        layer = ContrastiveMemory(*sizes, self.nce_temperature, self.momentum, name=f"{self.name}_memory")
        layer.build(teacher_shape=teacher_shape, student_shape=student_shape)
        return layer

    def adapt(self, student_outputs, adapter, training=False):
        """Return the student's outputs as they are: the layer compares, it does not adapt."""
        return student_outputs

    def per_sample(self, teacher_output, student_output, adapter, index, contrast_index, training=False, mask=None):
        index, contrast_index = ops.convert_to_tensor(index), ops.convert_to_tensor(contrast_index)
        scores = adapter(teacher_output, student_output, index, contrast_index, training=bool(training), counted=mask)
        return crd(*scores, self.dataset_size)

    def get_config(self):
        return {
            "dataset_size": self.dataset_size,
            "embedding_width": self.embedding_width,
            "nce_temperature": self.nce_temperature,
            "momentum": self.momentum,
            **super().get_config(),
        }
