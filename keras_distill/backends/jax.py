"""Training on JAX: the step as a function of the state."""


def replicas():
    """Return the number of replicas that each compute a share of the loss: on JAX one, however many devices hold it."""
    return 1


class Steps:
    """The part of the `Distiller` that trains it on JAX."""
