"""Checks of what is trained under a strategy, before TensorFlow would fail inside it."""

from keras_distill._core.messages import expected


def check_scope(model, strategy):
    """Raise a `ValueError` unless everything that is trained was made in the scope of one strategy.

    Args:
        model: A compiled `keras.Model`.
        strategy: The strategy of its training.
    """
    groups = {"the model": model.variables, "its optimizer": model.optimizer.variables}
    for name, variables in groups.items():
        if not all(strategy.extended.variable_created_in_scope(variable.value) for variable in variables):
            received = f"{name}, made in another"
            fix = "Build teacher, student and distiller, and compile, within `with strategy.scope():`."
            raise ValueError(expected(f"everything in the scope of {type(strategy).__name__}", received, fix))


def check_jit(jit_compile, strategy):
    """Return whether to compile by XLA: never for several replicas, whose variables it cannot reach.

    Args:
        jit_compile: What `compile` was given.
        strategy: The strategy of the training.

    Raises:
        ValueError: If it was asked for.
    """
    if strategy.num_replicas_in_sync == 1:
        return jit_compile
    if jit_compile is True:
        received = f"jit_compile=True with {strategy.num_replicas_in_sync} replicas"
        raise ValueError(expected("jit_compile=False under a strategy of several replicas", received))
    return False
