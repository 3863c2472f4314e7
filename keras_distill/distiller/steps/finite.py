"""What may change the student: finite gradients, and moving statistics without NaN."""

from typing import Any

import keras
from keras import ops

from keras_distill._core import guards
from keras_distill._core.messages import expected

_GRADIENTS = "finite gradients of the student in every training step"
_STATISTICS = expected("moving statistics of the student without NaN in every training step", "nan")


def check_gradients(optimizer: Any, gradients: Any, x: Any) -> None:
    """Stop training before an update with gradients that are NaN or infinite.

    The loss does not show them: behind a relu it is finite for inputs of NaN. The sum of each gradient does, in a
    single pass.

    Args:
        optimizer: The optimizer. One that scales the loss skips gradients that overflow, so that they are an error
            only if the inputs are not finite either.
        gradients: List of the gradients, `None` for a variable without one.
        x: The inputs.
    """
    sums = [_sum(gradient, getattr(optimizer, "clipvalue", None)) for gradient in gradients if gradient is not None]
    if not sums:
        return
    sums = ops.stack(sums)
    finite = ops.all(ops.isfinite(sums))
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        finite = ops.cond(finite, lambda: True, lambda: _all_finite(x))
    guards.check(finite, _GRADIENTS, [ops.sum(sums)], FloatingPointError)


def _sum(gradient, clipvalue):
    """Return the sum of a gradient in at least float32, where it does not overflow, clipped as the optimizer does."""
    gradient = getattr(gradient, "values", gradient)  # Those of an embedding are sparse.
    dtype = keras.backend.standardize_dtype(gradient.dtype)
    if dtype in ("float16", "bfloat16"):
        gradient = ops.cast(gradient, "float32")
    gradient = gradient if clipvalue is None else ops.clip(gradient, -clipvalue, clipvalue)
    total = ops.sum(gradient)
    # Zero times what is not finite is NaN; a finite float64 may be too large for float32.
    return ops.cast(total * 0.0, "float32") if dtype == "float64" else total


def _all_finite(x):
    leaves = [leaf for leaf in keras.tree.flatten(x) if "float" in keras.backend.standardize_dtype(leaf.dtype)]
    return ops.all(ops.stack([ops.all(ops.isfinite(leaf)) for leaf in leaves])) if leaves else True


def check_statistics(variables: Any) -> None:
    """Stop training if the forward pass has left NaN in a moving statistic, and with it in every later prediction.

    Args:
        variables: List of the variables, or their values, that a forward pass changes, see `changed_by_forward_pass`.
    """
    floats = [each for each in variables if "float" in keras.backend.standardize_dtype(each.dtype)]
    if floats:
        values = ops.concatenate([ops.cast(ops.reshape(each, (-1,)), "float32") for each in floats])
        guards.check(ops.logical_not(ops.any(ops.isnan(values))), _STATISTICS, (), FloatingPointError)


def changed_by_forward_pass(distiller: Any) -> Any:
    """Return the variables of student and adapters that a forward pass may change: statistics and random states."""
    parts = [distiller.student, *(each for each in distiller.objective.adapters if each is not None)]
    found = []
    for part in parts:
        layers = part._flatten_layers()
        weights = {id(variable) for layer in layers for variable in layer._trainable_variables}
        # A frozen weight is not trainable, but nothing changes it.
        found += [variable for variable in part.non_trainable_variables if id(variable) not in weights]
    return found
