"""A temperature that is learned against the student: a curriculum of soft targets that become harder."""

import math
from typing import Any

import keras
from keras import ops

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_number
from keras_distill.answers.answer import Tensor
from keras_distill.losses.divergences import kl_divergence
from keras_distill.losses.logits.base import LogitLoss
from keras_distill.losses.registry import method


def scale_gradient(x: Tensor, factor: Tensor) -> Tensor:
    """Return `x` with its gradient multiplied by `factor`.

    Args:
        x: Float array of any shape.
        factor: Number or scalar array; a negative one turns a descent into an ascent.

    Returns:
        Float array with the shape and exactly the value of `x`.

    Example:

    >>> float(scale_gradient(3.0, -0.1))
    3.0
    """
    # The difference is exactly zero in any rounding: only its gradient counts.
    scaled = x * ops.stop_gradient(factor)
    return ops.stop_gradient(x) + (scaled - ops.stop_gradient(scaled))


@checked(teacher_logits="[..., classes]", student_logits="[..., classes]")
def ctkd(teacher_logits: Tensor, student_logits: Tensor, temperature: Tensor) -> Tensor:
    """Compute `T² KL(p, q)` at a temperature that receives a gradient as well.

    Args:
        teacher_logits: Float array `[..., classes]`. Constant: no gradient reaches it.
        student_logits: Float array `[..., classes]`.
        temperature: Positive scalar array that divides both.

    Returns:
        Float array `[...]`, nats times T², never negative.

    Example:

    >>> import numpy as np
    >>> z = np.array([[1.0, 2.0, 3.0]], "float32")
    >>> float(ctkd(z, z, temperature=11.0)[0])
    0.0

    Reference:
        Li, Li, Yang, Zhao, Song, Luo, Li, Yang, "Curriculum Temperature for Knowledge Distillation", 2022,
        arXiv:2211.16231.
    """
    values = kl_divergence(teacher_logits, student_logits, temperature)
    return values * ops.square(ops.cast(temperature, values.dtype))


@keras.saving.register_keras_serializable(package="keras_distill")
class GlobalTemperature(keras.layers.Layer):
    """Hold one temperature for all samples, trained to increase the loss instead of decreasing it.

    The temperature is `t_start + t_end sigmoid(global_T)`. The gradient of `global_T` is multiplied by
    `gradient_scale`, which goes from 0 to -1 along a cosine over the first epochs: the temperature is constant at
    first, and then makes the task harder at an increasing rate.

    Args:
        t_start: Number > 0, the lowest temperature. Defaults to 1.0.
        t_end: Number > 0, the width of the range of temperatures. Defaults to 20.0.
        ramp_epochs: Number of epochs >= 0 after which the gradient is fully reversed. Defaults to 10.
        **kwargs: Arguments of `keras.layers.Layer`.

    Example:

    >>> layer = GlobalTemperature(t_start=1.0, t_end=20.0, ramp_epochs=10)
    >>> layer.build()
    >>> round(float(layer.temperature), 3)
    15.621
    >>> layer.begin_epoch(5)
    >>> round(float(layer.gradient_scale.numpy()), 3)
    -0.5
    """

    def __init__(self, t_start: float = 1.0, t_end: float = 20.0, ramp_epochs: float = 10, **kwargs: Any):
        super().__init__(**kwargs)
        self.t_start = check_number("t_start", t_start, 0.0, math.inf, open_low=True)
        self.t_end = check_number("t_end", t_end, 0.0, math.inf, open_low=True)
        self.ramp_epochs = check_number("ramp_epochs", ramp_epochs, 0, math.inf)

    def build(self, input_shape: Tensor = None) -> None:
        """Create the variables. They do not depend on the input shape."""
        self.global_T = self.add_weight(shape=(), initializer="ones", autocast=False, name="global_T")
        self.gradient_scale = self.add_weight(
            shape=(), initializer="zeros", trainable=False, autocast=False, name="gradient_scale"
        )
        self.begin_epoch(0)
        self.built = True

    @property
    def temperature(self) -> Any:
        """The current temperature, a float scalar tensor."""
        raw = scale_gradient(ops.convert_to_tensor(self.global_T), ops.convert_to_tensor(self.gradient_scale))
        return self.t_start + self.t_end * ops.sigmoid(raw)

    def begin_epoch(self, epoch: int) -> None:
        """Set how far the gradient is reversed. The `Distiller` calls it; call it yourself in a custom loop.

        Args:
            epoch: Number of epochs that have passed, 0 for the first.
        """
        passed = min(epoch / self.ramp_epochs, 1.0) if self.ramp_epochs else 1.0
        self.gradient_scale.assign(0.5 * (math.cos(math.pi * passed) - 1.0))

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "t_start": self.t_start, "t_end": self.t_end, "ramp_epochs": self.ramp_epochs}


@method("ctkd", paper="Li et al. 2022", arxiv="2211.16231", peers=("CTKD",))
class CTKD(LogitLoss):
    """Teach the student the teacher's soft targets at a temperature that learns to make them harder: see `ctkd`.

    The temperature is `T = t_start + t_end sigmoid(global_T)`. `global_T` starts at 1 and is trained by the student's
    optimizer, with a gradient that is gradually reversed over the first epochs, so that the soft targets become harder.
    There is no temperature to tune.

    Needs the `Distiller`, which creates and trains the layer that holds `global_T`, and passes it the epoch. In steps
    outside `fit`, the reversal stays as the last epoch set it; before the first epoch, the temperature is constant.

    Args:
        t_start: Number > 0, the lowest temperature. Defaults to 1.0.
        t_end: Number > 0, the width of the range of temperatures. Defaults to 20.0.
        ramp_epochs: Number of epochs >= 0 after which the gradient is fully reversed. Defaults to 10.
        name: Name in the logs. Defaults to `"ctkd"`.

    Raises:
        ValueError: If a number is out of range.

    Example:

    >>> import numpy as np
    >>> import keras_distill as kd
    >>> loss = kd.losses.CTKD()
    >>> adapter = loss.make_adapter(None, None)
    >>> round(float(adapter.temperature), 3)
    15.621
    >>> teacher, student = np.array([[4.0, 1.0, -2.0]], "float32"), np.array([[1.0, 2.0, 0.0]], "float32")
    >>> round(float(loss.compute_loss(teacher, student, adapter=adapter)), 4)
    2.407
    """

    hyper_parameters = ("t_start", "t_end", "ramp_epochs")
    not_top_k = "it learns a temperature, and the mass of the rest is known only at the stored temperatures"

    def __init__(self, t_start: float = 1.0, t_end: float = 20.0, ramp_epochs: float = 10, name: str | None = None):
        super().__init__(name=name)
        self.t_start = check_number("t_start", t_start, 0.0, math.inf, open_low=True)
        self.t_end = check_number("t_end", t_end, 0.0, math.inf, open_low=True)
        self.ramp_epochs = check_number("ramp_epochs", ramp_epochs, 0, math.inf)

    def make_adapter(self, teacher_shape: Any, student_shape: Any) -> keras.layers.Layer | None:
        """Create the layer that holds the temperature. It does not depend on the shapes."""
        layer = GlobalTemperature(self.t_start, self.t_end, self.ramp_epochs, name=f"{self.name}_temperature")
        layer.build()
        return layer

    def adapt(self, student_outputs: Any, adapter: Any, training: bool = False) -> Any:
        """Return the student's outputs unchanged: the adapter computes the temperature only."""
        return student_outputs

    def per_sample(self, teacher_output: Any, student_output: Any, adapter: Any) -> Tensor:
        return ctkd(teacher_output, student_output, adapter.temperature)
