"""Other backends: a `Distiller` refuses to be constructed there, and the rest of the package works."""


class Steps:
    """Stand in for the training steps, so that `Distiller` can be imported."""
