"""Hints: features of hidden layers, compared layer by layer."""

from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill._core.tensors import same_shape
from keras_distill.answers.answer import Tensor
from keras_distill.features import adapters
from keras_distill.losses.divergences import cast_pair
from keras_distill.losses.layers import LayerNames, LayerPair
from keras_distill.losses.per_output import PerOutputLoss
from keras_distill.losses.registry import method


@checked(teacher_features="[batch, ...]", student_features="[batch, ...]")
def fitnet(teacher_features: Tensor, student_features: Tensor) -> Tensor:
    """Compute the mean squared difference of the features of one layer.

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
class FeatureDistillation(LayerPair, PerOutputLoss):
    """Teach the student the features of a layer of the teacher, see `fitnet`.

    The features are taken in the forward pass of the training step. If the widths differ, the `Distiller` adds an
    adapter after the student's features: a 1x1 convolution for feature maps, or a dense layer otherwise. If the sizes
    of feature maps differ, the adapter is a convolution that changes the size, with batch normalization. Adapters are
    trained with the student and saved with the distiller, but are not part of the student.

    Args:
        loss: The Keras loss that compares the features, by name, function or object; or a nest of losses for layers
            with several outputs, where `None` leaves an output out. Defaults to `"mse"`.
        teacher_layer_name: Layer of the teacher. Defaults to `None`, its final output.
        student_layer_name: Layer of the student. Defaults to `None`, its final output.
        adapter: `"auto"` for an adapter if widths or sizes differ; `"regressor"` for the published one in any case
            (convolution, batch normalization and, unless `preactivation`, a ReLU); `None` for no adapter; or your own
            Keras layer, which maps the student's features to the shape of the teacher's. Defaults to `"auto"`.
        name: Name in the logs. Defaults to `"feature_distillation"`.
        preactivation: Whether to take the features before the activation of the layers. Defaults to `False`.

    Raises:
        ValueError: If the loss or the adapter is unknown, or all losses are `None`.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.FeatureDistillation("mse", teacher_layer_name="stage_2", student_layer_name="stage_1")
    >>> float(loss.compute_loss(np.ones((4, 3), "float32"), np.zeros((4, 3), "float32")))
    1.0
    """

    automatic = "maps"

    def __init__(
        self,
        loss: Any = "mse",
        teacher_layer_name: LayerNames = None,
        student_layer_name: LayerNames = None,
        adapter: Any = "auto",
        name: str | None = None,
        preactivation: bool = False,
    ):
        super().__init__(loss, name=name)
        self.name_layers(teacher_layer_name, student_layer_name, preactivation)
        if adapter not in ("auto", "regressor", None) and not isinstance(adapter, keras.layers.Layer):
            fix = "Or pass 'regressor' for the published convolution with batch normalization."
            raise ValueError(expected("adapter to be 'auto', `None` or a Keras layer", f"adapter={adapter!r}", fix))
        self.adapter = adapter

    def validate_outputs(self, teacher_outputs: Any, student_outputs: Any) -> None:
        """Raise a `ValueError` unless the features, after the adapter, have the same structure and shapes."""
        super().validate_outputs(teacher_outputs, student_outputs)
        for _, teacher, student, _ in self.compared(teacher_outputs, student_outputs):
            if not same_shape(teacher.shape, student.shape):
                raise ValueError(
                    expected(
                        "features of the same shape, except for their width",
                        f"teacher features {tuple(teacher.shape)}, student features {tuple(student.shape)}",
                        "Pair layers of the same spatial size, or pass an `adapter` that maps one to the other.",
                    )
                )

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the layer that maps the student's features to the teacher's width and size.

        Args:
            teacher_shape: Shape of the teacher's features, with `None` for unknown lengths; a list of shapes for
                several layers.
            student_shape: Shape of the student's features, in the same form.

        Returns:
            An unbuilt `keras.layers.Layer`, or `None` if no adapter is needed.

        Raises:
            ValueError: If the student's feature map is smaller than the teacher's, but not half its size.
        """
        if self.adapter not in ("auto", "regressor"):
            return self.adapter
        return adapters.make_for_each_layer(self._make_one, teacher_shape, student_shape, f"{self.name}_adapter")

    def _make_one(self, teacher_shape, student_shape, name):
        if self.adapter == "regressor":
            return adapters.regressor(teacher_shape, student_shape, name, use_relu=not self.preactivation)
        maps = len(teacher_shape) == len(student_shape) == 4
        if maps and not same_shape(teacher_shape[1:3], student_shape[1:3]):
            # Without the published ReLU, since these features of the teacher may be negative.
            return adapters.regressor(teacher_shape, student_shape, name, use_relu=False)
        return adapters.match_width(teacher_shape, student_shape, name)

    def get_config(self) -> dict[str, Any]:
        return {
            **super().get_config(),
            **self.layers_config(),
            "adapter": keras.saving.serialize_keras_object(self.adapter),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "FeatureDistillation":
        return super().from_config({**config, "adapter": keras.saving.deserialize_keras_object(config["adapter"])})
