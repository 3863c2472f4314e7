"""Labels and weights that are given by the names of the student's outputs."""

from typing import Any

import keras

from keras_distill.distiller.outputs import pack_single


def arrange(values: Any, outputs: Any, student: keras.Model) -> Any:
    """Return a dict by output names in the order of the outputs, and the one of a single output as the output is.

    Args:
        values: Labels or weights: a tensor, a nest, or a dict by the names of the outputs. What a dict leaves out is
            `None`.
        outputs: Outputs of the student.
        student: The student, which may have names of outputs.
    """
    if isinstance(values, dict):
        values = pack_single(values, outputs)
    if isinstance(values, dict) and isinstance(outputs, dict) and values.keys() <= outputs.keys():
        return {name: values.get(name) for name in outputs}
    names = getattr(student, "output_names", None)
    by_name = isinstance(values, dict) and isinstance(outputs, (list, tuple))
    if not by_name or names is None or not values.keys() <= set(names):
        return values
    return type(outputs)(values.get(name) for name in names)
