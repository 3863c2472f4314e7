"""What all losses of features share: the layers they compare, by name, by pattern or chosen automatically."""

import keras

from keras_distill._core.messages import expected
from keras_distill.features.pairing import choose_layers
from keras_distill.losses.base import DistillationLoss, within_mask

_RANKS = {2: "embeddings [batch, width]", 4: "feature maps [batch, height, width, channels]"}


class LayerPair:
    """The part of a loss that knows which layers of the teacher and of the student it compares."""

    automatic = None
    """What `"auto"` stands for: `"maps"`, the layers paired by spatial size, or `"embedding"`, the one before the head."""

    def name_layers(self, teacher_layer_name, student_layer_name, preactivation=False):
        """Keep the layers that were asked for; `validate_model_compatibility` finds them in the models."""
        for role, name in (("teacher", teacher_layer_name), ("student", student_layer_name)):
            names = name if isinstance(name, (list, tuple)) else [name]
            if not names or not all(each is None or isinstance(each, str) for each in names):
                raise ValueError(expected(f"{role}_layer_name to be a name, a pattern or a list of names", repr(name)))
        if (teacher_layer_name == "auto") != (student_layer_name == "auto"):
            received = f"teacher_layer_name={teacher_layer_name!r}, student_layer_name={student_layer_name!r}"
            raise ValueError(expected("both layers to be 'auto', or neither", received))
        self._asked = (teacher_layer_name, student_layer_name)
        self.teacher_layer_name, self.student_layer_name = self._asked
        self.preactivation = bool(preactivation)

    def validate_model_compatibility(self, teacher, student):
        """Raise a `ValueError` unless both models have the layers; then `..._layer_name` says which they are."""
        names = choose_layers(teacher, student, *self._asked, automatic=self.automatic)
        self.teacher_layer_name, self.student_layer_name = names

    def layers_config(self):
        """Return the part of the configuration that names the layers, as they were asked for."""
        config = {"teacher_layer_name": self._asked[0], "student_layer_name": self._asked[1]}
        return {**config, "preactivation": self.preactivation}


class FeatureLoss(LayerPair, DistillationLoss):
    """Compare features. Override `per_sample`; set `rank` and `automatic`, and `staged` for all layers at once.

    Args:
        teacher_layer_name: Layer of the teacher: its name, a path `"backbone/block_3"` into nested models, a pattern
            `"block_*_add"`, or a list of them; `None` for the final output, `"auto"` to have layers chosen. Several
            layers add up, in pairs. Defaults to `"auto"`.
        student_layer_name: Layer of the student, likewise. Defaults to `"auto"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.
        name: Name in the logs. Defaults to the name of the method.
    """

    automatic = "maps"
    rank = 4
    staged = False
    """Whether `per_sample` is given lists, one tensor for each layer, rather than one pair of layers at a time."""

    def __init__(self, teacher_layer_name="auto", student_layer_name="auto", preactivation=False, name=None):
        super().__init__(name=name)
        self.name_layers(teacher_layer_name, student_layer_name, preactivation)

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless both have one structure, and each tensor the rank that the loss compares."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for owner, outputs in (("teacher", teacher_outputs), ("student", student_outputs)):
            for output in keras.tree.flatten(outputs):
                if self.rank and len(output.shape) != self.rank:
                    received = f"{owner} features of shape {tuple(output.shape)}"
                    raise ValueError(expected(f"{_RANKS[self.rank]} for the loss {self.name!r}", received))

    def prepare(self, teacher_output, student_output):
        """Return both; no gradient reaches padded samples, whatever they hold."""
        return teacher_output, keras.tree.map_structure(within_mask, student_output)

    def compute_loss(self, teacher_outputs, student_outputs, sample_weight=None, labels=None, **given):
        if not self.staged:
            return super().compute_loss(teacher_outputs, student_outputs, sample_weight, labels, **given)
        teachers, students = keras.tree.flatten(teacher_outputs), keras.tree.flatten(student_outputs)
        return self._average(teachers, students, sample_weight, {**given, "labels": labels})

    def get_config(self):
        return {**super().get_config(), **self.layers_config()}
