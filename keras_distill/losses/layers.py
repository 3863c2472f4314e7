"""The base classes of losses that compare features: which layers they compare, and how features are checked."""

from collections.abc import Sequence
from typing import Any

import keras

from keras_distill._core.checks import check_flag
from keras_distill._core.messages import expected
from keras_distill._core.tensors import within_mask
from keras_distill.answers.answer import Tensor
from keras_distill.features.pairing import choose_layers
from keras_distill.losses.base import DistillationLoss

LayerNames = str | Sequence[str | None] | None
"""The layers to compare: a name, path or pattern, a list of them, `None` for the final output, or `"auto"`."""

_RANKS = {
    None: "features [batch, ...]",
    2: "embeddings [batch, width]",
    4: "feature maps [batch, height, width, channels]",
}


class LayerPair:
    """Mix in the layers of the teacher and of the student that a loss compares."""

    automatic: str | None = None
    """What `"auto"` selects: `"maps"`, the layers paired by spatial size, or `"embedding"`, the one before the head."""

    teacher_layer_name: LayerNames
    student_layer_name: LayerNames

    def name_layers(
        self, teacher_layer_name: LayerNames, student_layer_name: LayerNames, preactivation: bool = False
    ) -> None:
        """Store the requested layers; `validate_model_compatibility` finds them in the models."""
        for role, name in (("teacher", teacher_layer_name), ("student", student_layer_name)):
            names = name if isinstance(name, (list, tuple)) else [name]
            if not names or not all(each is None or isinstance(each, str) for each in names):
                raise ValueError(expected(f"{role}_layer_name to be a name, a pattern or a list of names", repr(name)))
        if (teacher_layer_name == "auto") != (student_layer_name == "auto"):
            received = f"teacher_layer_name={teacher_layer_name!r}, student_layer_name={student_layer_name!r}"
            raise ValueError(expected("both layers to be 'auto', or neither", received))
        self._asked = (teacher_layer_name, student_layer_name)
        self.teacher_layer_name, self.student_layer_name = self._asked
        self.preactivation = check_flag("preactivation", preactivation)

    def validate_model_compatibility(self, teacher: keras.Model, student: keras.Model) -> None:
        """Find the layers in both models, and set `..._layer_name` to their paths.

        Raises:
            ValueError: If a model does not have them.
        """
        names = choose_layers(teacher, student, *self._asked, automatic=self.automatic)
        self.teacher_layer_name, self.student_layer_name = names

    def layers_config(self) -> dict[str, Any]:
        """Return the part of the configuration that names the layers, as they were requested."""
        config = {"teacher_layer_name": self._asked[0], "student_layer_name": self._asked[1]}
        return {**config, "preactivation": self.preactivation}


class FeatureLoss(LayerPair, DistillationLoss):
    """Compare feature maps.

    Override `per_sample`. Set `rank` and `automatic` for features of another kind, and `staged` to receive the features
    of all layers at once.

    Args:
        teacher_layer_name: Layer of the teacher: its name, a path `"backbone/block_3"` into nested models, a pattern
            `"block_*_add"`, or a list of them; `None` for the final output; `"auto"` to choose the layers
            automatically. The losses of several pairs of layers are added. Defaults to `"auto"`.
        student_layer_name: Layer of the student, in the same form. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to the name of the method.
    """

    automatic: str | None = "maps"
    rank: int | None = 4
    """Rank of the tensors that are compared, or `None` for any rank."""
    staged: bool = False
    """Whether `per_sample` receives lists with one tensor for each layer, rather than one pair of layers at a time."""

    def __init__(
        self,
        teacher_layer_name: LayerNames = "auto",
        student_layer_name: LayerNames = "auto",
        preactivation: bool = False,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.name_layers(teacher_layer_name, student_layer_name, preactivation)

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless both have the same structure, and each tensor has the rank that is compared."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for owner, outputs in (("teacher", teacher_outputs), ("student", student_outputs)):
            self.check_ranks(owner, [tuple(output.shape) for output in keras.tree.flatten(outputs)])

    def check_ranks(self, owner: str, shapes: Sequence[Sequence[int | None]]) -> None:
        """Raise a `ValueError` unless features have the rank that is compared.

        Args:
            owner: `"teacher"` or `"student"`, for the message.
            shapes: One shape for each layer.
        """
        for shape in shapes:
            if len(shape) < 2 or (self.rank and len(shape) != self.rank):
                received = f"{owner} features of shape {tuple(shape)}"
                raise ValueError(expected(f"{_RANKS[self.rank]} for the loss {self.name!r}", received))

    def prepare(self, teacher_output: Any, student_output: Any) -> tuple[Any, Any]:
        """Return both outputs, with no gradient to padded samples, whatever those contain."""
        return teacher_output, keras.tree.map_structure(within_mask, student_output)

    def compute_loss(
        self,
        teacher_outputs: Any,
        student_outputs: Any,
        sample_weight: Any = None,
        labels: Any = None,
        **given: Any,
    ) -> Tensor:
        if not self.staged:
            return super().compute_loss(teacher_outputs, student_outputs, sample_weight, labels, **given)
        teachers, students = keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs)
        return self._average(teachers, students, sample_weight, {**given, "labels": labels})

    def _settings(self):
        return {**self.layers_config(), **super()._settings()}


class EmbeddingLoss(FeatureLoss):
    """Compare embeddings `[batch, width]`. With `"auto"` these are the outputs of the layers before the heads.

    Args:
        teacher_layer_name: Layer of the teacher. Defaults to `"auto"`, the one before the head.
        student_layer_name: Layer of the student. Defaults to `"auto"`, the one before the head.
        preactivation: Whether to take the embeddings before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to the name of the method.
    """

    automatic = "embedding"
    rank = 2

    def _settings(self):
        layers = self.layers_config()
        return {**{each: value for each, value in super()._settings().items() if each not in layers}, **layers}
