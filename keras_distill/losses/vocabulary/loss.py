"""The loss with which a `Distiller` trains a language model without storing its logits."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number, check_temperature
from keras_distill._core.messages import expected
from keras_distill._core.tensors import mask_of
from keras_distill.answers.answer import Tensor
from keras_distill.losses.base import DistillationLoss
from keras_distill.losses.hard_labels import NO_LABEL
from keras_distill.losses.logits.top_k import is_top_k
from keras_distill.losses.vocabulary.fused import fused_distillation
from keras_distill.losses.vocabulary.heads import find_head


@keras.saving.register_keras_serializable(package="keras_distill")
class FusedVocabulary(DistillationLoss):
    """Teach a language model its labels and its teacher's soft targets without storing its logits.

    See `fused_distillation` for the formula. The `Distiller` passes this loss the input of the student's last `Dense`
    layer and the weights of that layer. The loss includes the hard labels, weighted by the distiller's
    `student_loss_weight`: compile without a loss, and train on labels. The last layer does not run in a training step
    unless the student's output is used. Metrics in `compile`, `fidelity=True`, another loss on the final output and
    `run_eagerly=True` use it: they work, but need the memory that this loss saves. The logs contain `cross_entropy`
    (its exponential is the perplexity) and `divergence` (`T² KL`) instead, as means over tokens.

    Args:
        temperature: Softness T > 0 of both distributions, a number or a `keras.Variable`. Inside a `Distiller` a number
            is the initial temperature. Defaults to 1.0.
        head: Name or path of the student's last layer, a `keras.layers.Dense` with a linear or softmax activation.
            Defaults to `None`, the layer that returns the student's output.
        teacher_head: Name or path of the last layer of a running teacher, whose logits are then not stored either.
            Defaults to `None`, the teacher's answers are used as they are: all logits, or the k largest from a store.
        chunk: Largest number of tokens whose logits are stored at a time. Defaults to `None`, as many as fit into
            16 MiB.
        name: Name in the logs. Defaults to `"fused_vocabulary"`.

    Raises:
        ValueError: If an argument is invalid, or a model has no such last layer.

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
    """Whether the loss receives the input of the last layer, and computes the hard-label loss as well."""

    @checked(chunk=(1, math.inf))
    def __init__(
        self,
        temperature: Any = 1.0,
        head: str | None = None,
        teacher_head: str | None = None,
        chunk: int | None = None,
        name: str | None = None,
    ):
        check_tensorflow("the loss FusedVocabulary")
        super().__init__(name=name)
        self.temperature = check_temperature(temperature)
        self.head, self.teacher_head = head, teacher_head
        self.chunk = None if chunk is None else int(check_number("chunk", chunk, 1, float("inf")))
        self.student_layer_name: str | None = None
        self.teacher_layer_name: str | None = None
        self._heads: dict[str, Any] = {}

    def validate_model_compatibility(self, teacher: keras.Model, student: keras.Model) -> None:
        """Find the last layers, and set `..._layer_name` to the layers that feed them.

        Raises:
            ValueError: If a model has no such last layer.
        """
        self.student_layer_name, self._heads["student"] = find_head(student, self.head, "student")
        if self.teacher_head is not None:
            self.teacher_layer_name, self._heads["teacher"] = find_head(teacher, self.teacher_head, "teacher")

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the layer that keeps the means of both terms."""
        return TermMeans(name=f"{self.name}_means")

    def adapt(self, student_outputs: Any, adapter: Any, training: bool = False) -> Any:
        """Return the hidden states unchanged."""
        return student_outputs

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both models have a single output."""
        for owner, outputs in (("teacher", teacher_outputs), ("student", student_outputs)):
            if keras.tree.is_nested(outputs):
                raise ValueError(expected(f"one output of the {owner} for the loss {self.name!r}", f"{len(outputs)}"))

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        labels: Tensor = None,
        temperature: Tensor = None,
        student_loss_weight: Any = 0.5,
        adapter: Any = None,
        training: bool = True,
        **kwargs: Any,
    ) -> Tensor:
        """Compute `w mean(hard) + (1 - w) mean(soft)`, see `fused_distillation`.

        Args:
            teacher_outputs: A `keras_distill.targets.TopK`, logits `[..., classes]`, or the teacher's hidden states if
                `teacher_head` is given.
            student_outputs: Float tensor `[..., width]`, hidden states of the student.
            sample_weight: Optional weights that broadcast to `[...]` from the left. Defaults to `None`.
            labels: Class indices `[...]`, -1 for tokens without a label. Defaults to `None`, soft targets only.
            temperature: Temperature of this step. Defaults to `None`, that of the constructor.
            student_loss_weight: Weight w of the hard labels. Defaults to 0.5.
            adapter: The layer that `make_adapter` returned. Defaults to `None`: no means are kept.
            training: Whether gradients are needed. Defaults to `True`.
            **kwargs: Ignored.

        Returns:
            Float scalar; under `tf.distribute`, this replica's share of it.
        """
        if "student" not in self._heads:
            fix = "Train in `keras_distill.Distiller`, or call `fused_distillation` yourself."
            raise ValueError(expected(f"a student for the loss {self.name!r}", "a loss without models", fix))
        head = self._heads["student"]
        if labels is not None:
            labels = guards.check_labels(labels, head.units, NO_LABEL)
        if "teacher" in self._heads and not is_top_k(teacher_outputs):
            teacher_outputs = (teacher_outputs, *_weights(self._heads["teacher"]))
        kernel, bias = _weights(head)
        result = fused_distillation(
            student_outputs,
            kernel,
            bias,
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

    def get_config(self) -> dict[str, Any]:
        temperature = float(ops.convert_to_numpy(self.temperature))
        own = {"temperature": temperature, "head": self.head, "teacher_head": self.teacher_head, "chunk": self.chunk}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable(package="keras_distill")
class TermMeans(keras.layers.Layer):
    """Keep the means of the hard and the soft term over all tokens since the last reset.

    Args:
        **kwargs: Arguments of `keras.layers.Layer`.
    """

    def __init__(self, **kwargs: Any):
        super().__init__(**{"dtype": "float32", **kwargs})
        self.cross_entropy = keras.metrics.Mean(name="cross_entropy")
        self.divergence = keras.metrics.Mean(name="divergence")
        self.built = True

    def update_state(self, result: Tensor) -> None:
        """Add the terms of a `FusedLoss`, each with the weight of its token in the loss."""
        self.cross_entropy.update_state(result.hard, sample_weight=result.hard_weight)
        self.divergence.update_state(result.soft, sample_weight=result.soft_weight)


def _weights(head):
    return head.kernel, head.bias
