"""The numbers of a distillation that may change during training: the temperature and the weights."""

from typing import Any

from keras import ops

from keras_distill._core.backend import synced
from keras_distill._core.checks import check_number, check_temperature
from keras_distill._core.messages import expected
from keras_distill._core.models import ModelMixin
from keras_distill.distiller import validation


class Coefficients(ModelMixin):
    """Let the coefficients of the `Distiller`, which are variables, be read and assigned as numbers."""

    @property
    def student_loss_weight(self) -> float:
        """Weight of the hard labels, from 0.0 to 1.0. An assignment takes effect at the next step."""
        return as_float(synced(self).objective.student_loss_weight)

    @student_loss_weight.setter
    def student_loss_weight(self, value: Any) -> None:
        value = check_number("student_loss_weight", value, 0.0, 1.0)
        synced(self).objective.student_loss_weight.assign(value)

    @property
    def distillation_loss_weights(self) -> list[float]:
        """Weights of the distillation losses, a list. An assignment takes effect at the next step."""
        return [as_float(weight) for weight in synced(self).objective.loss_weights]

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, values: Any) -> None:
        variables = synced(self).objective.loss_weights
        values = validation.check_loss_weights(values, len(variables))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @property
    def temperature(self) -> float | None:
        """Temperature of the first loss that has one, or `None`. An assignment sets the temperature of every loss."""
        return next((as_float(variable) for variable in synced(self).objective.current_temperatures().values()), None)

    @temperature.setter
    def temperature(self, value: Any) -> None:
        temperatures = synced(self).objective.current_temperatures()
        if not temperatures:
            received = f"temperature={value!r} for {', '.join(self.objective.names)}"
            raise ValueError(expected("a distillation loss that has a temperature", received))
        check_temperature(value)
        for variable in temperatures.values():
            variable.assign(value)


def as_float(variable: Any) -> float:
    """Return a float32 variable as the shortest float that rounds to it: 0.7, not 0.699999988."""
    return float(str(ops.convert_to_numpy(variable)))
