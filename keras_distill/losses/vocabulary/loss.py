"""The loss by which a `Distiller` trains a language model without ever holding its logits."""

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.losses.base import DistillationLoss, mask_of
from keras_distill.losses.hard_labels import NO_LABEL
from keras_distill.losses.logits.base import check_temperature
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.losses.vocabulary.fused import fused_distillation
from keras_distill.losses.vocabulary.heads import find_head


@keras.saving.register_keras_serializable(package="keras_distill")
class FusedVocabulary(DistillationLoss):
    """Teach a language model its labels and its teacher's soft targets, without ever holding its logits.

    The `Distiller` hands this loss what the student's last `Dense` layer is given, and that layer's weights; see
    `fused_distillation` for what is computed. It holds the hard labels as well, weighted by the distiller's
    `student_loss_weight`, so compile without a loss, and train on labels. The layer itself is never run in a training
    step, as long as nobody asks for the student's output. Metrics in `compile`, `fidelity=True`, another loss on the
    final output and `run_eagerly=True` do ask for it: they work, and cost the memory that was saved. Instead of them
    the logs have `cross_entropy` (its exponential is the perplexity) and `divergence` (`T² KL`), means over tokens.

    Args:
        temperature: Softness T > 0 of both distributions: a number, or a `keras.Variable` that you move. Inside a
            `Distiller` a number is where the temperature starts. Defaults to 1.0.
        head: Name or path of the student's last layer, a `keras.layers.Dense` with a linear or softmax activation.
            Defaults to `None`, the layer that returns the student's output.
        teacher_head: Name or path of that of a teacher that runs along: then its logits are never held either.
            Defaults to `None`, the teacher's answers are taken as they are: from a store, its k greatest or all.
        chunk: How many tokens' logits to hold at most. Defaults to `None`, as many as fit into 16 MiB.
        name: Name in the logs. Defaults to `"fused_vocabulary"`.

    Raises:
        ValueError: If an argument is not what it should be, or a model has no such last layer.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> def model(width):
    ...     layers = [keras.layers.Embedding(50, width), keras.layers.LayerNormalization(), keras.layers.Dense(50)]
    ...     return keras.Sequential([keras.Input((6,), dtype="int32"), *layers])
    >>> distiller = kd.Distiller(model(16), model(4), FusedVocabulary(temperature=2.0), student_loss_weight=0.25)
    >>> distiller.compile("adam")
    >>> tokens = np.arange(24).reshape(4, 6)
    >>> logs = distiller.fit(tokens, tokens + 1, verbose=0).history
    >>> bool(np.isclose(logs["loss"][0], 0.25 * logs["cross_entropy"][0] + 0.75 * logs["divergence"][0]))
    True

    Reference:
        Hsu et al., "Liger Kernel: Efficient Triton Kernels for LLM Training", 2024, arXiv:2410.10989.
    """

    method = "fused_vocabulary"
    takes_top_k = True
    fuses_head = True
    """Whether it is given what the last layer is given, and computes the hard labels as well."""

    def __init__(self, temperature=1.0, head=None, teacher_head=None, chunk=None, name=None):
        check_tensorflow("the loss FusedVocabulary")
        super().__init__(name=name)
        self.temperature = check_temperature(temperature)
        self.head, self.teacher_head = head, teacher_head
        self.chunk = None if chunk is None else int(check_number("chunk", chunk, 1, float("inf")))
        self.student_layer_name = self.teacher_layer_name = None
        self._heads = {}

    def validate_model_compatibility(self, teacher, student):
        """Raise a `ValueError` unless the models have the last layers; then `..._layer_name` is what feeds them."""
        self.student_layer_name, self._heads["student"] = find_head(student, self.head, "student")
        if self.teacher_head is not None:
            self.teacher_layer_name, self._heads["teacher"] = find_head(teacher, self.teacher_head, "teacher")

    def make_adapter(self, teacher_shape, student_shape):
        """Return the layer that keeps the means of both terms."""
        return TermMeans(name=f"{self.name}_means")

    def adapt(self, student_outputs, adapter, training=False):
        """Return the hidden states as they are."""
        return student_outputs

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one output."""
        for owner, outputs in (("teacher", teacher_outputs), ("student", student_outputs)):
            if keras.tree.is_nested(outputs):
                raise ValueError(expected(f"one output of the {owner} for the loss {self.name!r}", f"{len(outputs)}"))

    def compute_loss(
        self,
        teacher_outputs,
        student_outputs,
        sample_weight=None,
        labels=None,
        temperature=None,
        student_loss_weight=0.5,
        adapter=None,
        training=True,
        **kwargs,
    ):
        """Compute `w mean(hard) + (1 - w) mean(soft)`, see `fused_distillation`.

        Args:
            teacher_outputs: A `keras_distill.targets.TopK`, logits `[..., classes]`, or hidden states of the teacher
                where it has a `teacher_head`.
            student_outputs: Float tensor `[..., width]`, hidden states of the student.
            sample_weight: Optional weights that broadcast to `[...]` from the left. Defaults to `None`.
            labels: Class indices `[...]`, -1 for none. Defaults to `None`, soft targets alone.
            temperature: Temperature of this step. Defaults to `None`, that of the constructor.
            student_loss_weight: Weight w of the hard labels. Defaults to 0.5.
            adapter: The layer that `make_adapter` returned. Defaults to `None`, no means are kept.
            training: Whether gradients will be asked for. Defaults to `True`.
            **kwargs: Not used.

        Returns:
            Float scalar; under `tf.distribute`, this replica's share of it.
        """
        if "student" not in self._heads:
            fix = "Train in `keras_distill.Distiller`, or call `fused_distillation` yourself."
            raise ValueError(expected(f"a student for the loss {self.name!r}", "none", fix))
        head = self._heads["student"]
        if labels is not None:
            labels = guards.check_labels(labels, head.units, NO_LABEL)
        if "teacher" in self._heads and not is_top_k(teacher_outputs):
            teacher_outputs = (teacher_outputs, *_weights(self._heads["teacher"]))
        result = fused_distillation(
            student_outputs,
            *_weights(head),
            labels,
            teacher_outputs,
            self.temperature if temperature is None else temperature,
            student_loss_weight,
            self.chunk,
            mask_of(student_outputs),
            sample_weight,
            gradients=training,
        )
        if adapter is not None:
            adapter.update_state(result)
        return result.loss

    def get_config(self):
        temperature = float(ops.convert_to_numpy(self.temperature))
        own = {"temperature": temperature, "head": self.head, "teacher_head": self.teacher_head, "chunk": self.chunk}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_distill")
class TermMeans(keras.layers.Layer):
    """Keep the means of hard and soft values since the last reset, by tokens.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, **kwargs):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.cross_entropy = keras.metrics.Mean(name="cross_entropy")
        self.divergence = keras.metrics.Mean(name="divergence")
        self.built = True

    def update_state(self, result):
        """Add the values of a `FusedLoss`, each by the weight that its token has in the loss."""
        self.cross_entropy.update_state(result.hard, sample_weight=result.hard_weight)
        self.divergence.update_state(result.soft, sample_weight=result.soft_weight)


def _weights(head):
    return head.kernel, head.bias
