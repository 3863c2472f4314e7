"""The numbers of a distillation that may move while the student learns."""

from keras import ops

from keras_distill._core.backend import synced
from keras_distill._core.checks import check_number
from keras_distill._core.messages import expected
from keras_distill.distiller import validation
from keras_distill.losses.logits.base import check_temperature


class Coefficients:
    """The part of the `Distiller` that shows its variables as numbers: read them, assign to them."""

    @property
    def student_loss_weight(self):
        """Weight of the hard labels, from 0.0 to 1.0. Assign to change it from the next step on."""
        return as_float(synced(self).objective.student_loss_weight)

    @student_loss_weight.setter
    def student_loss_weight(self, value):
        value = check_number("student_loss_weight", value, 0.0, 1.0)
        synced(self).objective.student_loss_weight.assign(value)

    @property
    def distillation_loss_weights(self):
        """Weights of the distillation losses, a list. Assign to change them from the next step on."""
        return [as_float(weight) for weight in synced(self).objective.loss_weights]

    @distillation_loss_weights.setter
    def distillation_loss_weights(self, values):
        variables = synced(self).objective.loss_weights
        values = validation.check_loss_weights(values, len(variables))
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    @property
    def temperature(self):
        """Temperature of the first loss that has one, or `None`. Assign to set that of all of them."""
        return next((as_float(variable) for variable in synced(self).objective.current_temperatures().values()), None)

    @temperature.setter
    def temperature(self, value):
        temperatures = synced(self).objective.current_temperatures()
        if not temperatures:
            received = f"temperature={value!r} for {', '.join(self.objective.names)}"
            raise ValueError(expected("a distillation loss that has a temperature", received))
        check_temperature(value)
        for variable in temperatures.values():
            variable.assign(value)


def as_float(variable):
    """Return a float32 variable as the Python float it was assigned from: 0.7, not 0.699999988."""
    return float(str(ops.convert_to_numpy(variable)))
