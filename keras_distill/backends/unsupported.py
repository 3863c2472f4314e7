"""A backend that no `Distiller` is trained on: it refuses when it is made, and the rest of the package works."""


def replicas():
    """Return the number of replicas that each compute a share of the loss."""
    return 1


class Steps:
    """The part of the `Distiller` that would train it."""
