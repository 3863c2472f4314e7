"""Distillation of what lies before the last layer: features compared layer by layer."""

import keras
from keras import ops

from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.features import adapters
from keras_distill.losses.feature_maps.maps import cast_pair
from keras_distill.losses.layers import LayerPair
from keras_distill.losses.per_output import PerOutputLoss
from keras_distill.losses.registry import method


def fitnet(teacher_features, student_features):
    """Compute the mean squared difference of features.

    Args:
        teacher_features: Float array `[batch, ...]`. Constant: no gradient reaches it.
        student_features: Float array of the same shape, after the adapter.

    Returns:
        Float array `[batch]`.

    Example:

    >>> import numpy as np
    >>> fitnet(np.zeros((2, 4, 4, 3)), np.full((2, 4, 4, 3), 2.0)).numpy().tolist()
    [4.0, 4.0]

    Reference:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", 2014, arXiv:1412.6550.
    """
    teacher, student = cast_pair(teacher_features, student_features)
    return ops.mean(ops.square(student - teacher), axis=tuple(range(1, len(student.shape))))


@method(
    "fitnet",
    paper="Romero et al. 2014",
    arxiv="1412.6550",
    peers=("keras.distillation", "mdistiller", "RepDistiller"),
    config={"name": "fitnet", "teacher_layer_name": "auto", "student_layer_name": "auto"},
)
@keras.saving.register_keras_serializable(package="keras_distill")
class FeatureDistillation(LayerPair, PerOutputLoss):
    """Teach the student the features of a layer of the teacher.

    Both are taken from the one forward pass of the training step. Where the student's features have another width
    than the teacher's, the `Distiller` puts an adapter between them (a 1x1 convolution for feature maps, a dense
    layer otherwise); where feature maps have another size, a convolution that changes it, with batch normalisation.
    Adapters are trained with the student, saved with the distiller, and no part of the student.

    Args:
        loss: What compares the features: a Keras loss by name, function or object, or a nest of them for layers of
            several outputs (`None` leaves one out). Defaults to `"mse"`.
        teacher_layer_name: Layer of the teacher. Defaults to `None`, its final output.
        student_layer_name: Layer of the student. Defaults to `None`, its final output.
        adapter: `"auto"` for an adapter where widths or sizes differ, `"regressor"` for the published one in any case
            (convolution, batch normalisation and, unless `preactivation`, a ReLU), `None` for none ever, or a Keras
            layer of your own that maps the student's features to the shape of the teacher's. Defaults to `"auto"`.
        name: Name in the logs. Defaults to `"feature_distillation"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.

    Raises:
        ValueError: If the loss or the adapter is not known, or all losses are `None`.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.FeatureDistillation("mse", teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(np.ones((4, 3), "float32"), np.zeros((4, 3), "float32")))
    1.0

    Reference:
        Romero, Ballas, Kahou, Chassang, Gatta, Bengio, "FitNets: Hints for Thin Deep Nets", 2014, arXiv:1412.6550.
    """

    automatic = "maps"

    def __init__(
        self,
        loss="mse",
        teacher_layer_name=None,
        student_layer_name=None,
        adapter="auto",
        name=None,
        preactivation=False,
    ):
        super().__init__(loss, name=name)
        self.name_layers(teacher_layer_name, student_layer_name, preactivation)
        if adapter not in ("auto", "regressor", None) and not isinstance(adapter, keras.layers.Layer):
            fix = "Or 'regressor', for the published convolution with batch normalisation."
            raise ValueError(expected("adapter to be 'auto', `None` or a Keras layer", f"adapter={adapter!r}", fix))
        self.adapter = adapter

    def validate_outputs(self, teacher_outputs, student_outputs):
        """Raise a `ValueError` unless the features (the student's after its adapter) have one structure and shape."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for _, teacher, student, _ in self.compared(teacher_outputs, student_outputs):
            if not same_shape(teacher.shape, student.shape):
                raise ValueError(
                    expected(
                        "features of one shape, up to their width",
                        f"teacher features {tuple(teacher.shape)}, student features {tuple(student.shape)}",
                        "Pair layers of the same spatial size, or pass an `adapter` that maps one to the other.",
                    )
                )

    def make_adapter(self, teacher_shape, student_shape):
        """Return what brings the student's features to the teacher's width and size, or `None` where nothing need be.

        Args:
            teacher_shape: Shape of the teacher's features, `None` for unknown lengths; a list of them for several
                layers.
            student_shape: Shape of the student's features, likewise.

        Returns:
            An unbuilt `keras.layers.Layer`, or `None`.

        Raises:
            ValueError: If the student's feature map is smaller than the teacher's, and not half its size.
        """
        if self.adapter not in ("auto", "regressor"):
            return self.adapter
        return adapters.for_each_layer(self._make_one, teacher_shape, student_shape, f"{self.name}_adapter")

    def _make_one(self, teacher_shape, student_shape, name):
        if self.adapter == "regressor":
            return adapters.regressor(teacher_shape, student_shape, name, use_relu=not self.preactivation)
        maps = len(teacher_shape) == len(student_shape) == 4
        if maps and not same_shape(teacher_shape[1:3], student_shape[1:3]):
            # Without the published ReLU: nothing says that these features of the teacher are never negative.
            return adapters.regressor(teacher_shape, student_shape, name, use_relu=False)
        return adapters.match_width(teacher_shape, student_shape, name)

    def get_config(self):
        return {
            **super().get_config(),
            **self.layers_config(),
            "adapter": keras.saving.serialize_keras_object(self.adapter),
        }

    @classmethod
    def from_config(cls, config):
        return super().from_config({**config, "adapter": keras.saving.deserialize_keras_object(config["adapter"])})
