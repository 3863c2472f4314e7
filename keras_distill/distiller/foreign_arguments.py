"""Arguments of other distillers, and of students with a preprocessor: where each goes here."""

from typing import Any

import keras

from keras_distill._core.messages import expected

_PLACES = {
    "temperature": "`temperature` in the loss, `Distiller(teacher, student, "
    "keras_distill.losses.LogitsDistillation(temperature=...))`",
    "alpha": "`alpha`, the weight of the hard labels, in `Distiller(..., student_loss_weight=...)`",
    "student_loss_fn": "`student_loss_fn` in `compile(loss=...)`",
    "distillation_loss_fn": "`distillation_loss_fn` in `Distiller(..., distillation_losses=...)`",
}


def refuse_foreign_arguments(arguments: dict[str, Any]) -> None:
    """Raise a `TypeError` for arguments of the distiller in Keras's example, and name where each goes.

    That example subclasses `keras.Model` and takes `compile(student_loss_fn=, distillation_loss_fn=, alpha=,
    temperature=)`; others take them in the constructor.
    """
    found = [name for name in _PLACES if name in arguments]
    if found:
        received = ", ".join(f"{name}={arguments[name]!r}" for name in found)
        raise TypeError(expected("; ".join(_PLACES[name] for name in found), received))


def check_no_text(x: Any, **models: keras.Model) -> None:
    """Raise a `ValueError` for strings that a model's own preprocessor would convert.

    Args:
        x: Inputs given to `fit` or `evaluate`: arrays, a nest of them, or a `tf.data.Dataset`.
        **models: Teacher and student by role. Models of KerasHub have a `preprocessor`, which only their own `fit`
            applies.
    """
    owner = next((role for role, model in models.items() if getattr(model, "preprocessor", None) is not None), None)
    if owner is None or not _holds_strings(x):
        return
    fix = f"Apply it before, as the model's own `fit` does: `dataset.map({owner}.preprocessor)`."
    what = f"inputs that the preprocessor of the {owner} {models[owner].name!r} has converted"
    raise ValueError(expected(what, "strings", fix))


def _holds_strings(x):
    spec = getattr(x, "element_spec", None)
    inputs = spec[0] if isinstance(spec, tuple) else x if spec is None else spec
    return any(_is_string(leaf) for leaf in keras.tree.flatten(inputs))


def _is_string(leaf):
    dtype = getattr(leaf, "dtype", None)
    if getattr(dtype, "kind", None) == "O":  # Of NumPy or pandas: anything.
        return isinstance(next(iter(getattr(leaf, "flat", leaf)), None), (str, bytes))
    name = str(getattr(dtype, "name", dtype))
    return isinstance(leaf, (str, bytes)) or name.startswith(("str", "bytes"))
