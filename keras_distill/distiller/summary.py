"""A `Distiller` at a glance: teacher, student, losses, weights and temperatures."""

import io
import math
from typing import Any

import keras
from rich.jupyter import JupyterMixin

from keras_distill._core.models import ModelMixin
from keras_distill.distiller.coefficients import as_float


class Overview(JupyterMixin, ModelMixin):
    """Describe the `Distiller`, for `print`, for rich and for notebooks."""

    def summary(self, print_fn: Any = None, expand_nested: bool = False, **kwargs: Any) -> None:
        """Print teacher, student, losses, and the current weights and temperatures.

        Args:
            print_fn: Function that is called once with the text. Defaults to `None`, the terminal or the notebook.
            expand_nested: Whether to add the summary of the student's layers. Defaults to `False`.
            **kwargs: Passed to the student's `summary`.
        """
        from rich.console import Console

        if print_fn is None:
            Console().print(self)
        else:
            page = io.StringIO()
            Console(file=page, width=100).print(self)
            print_fn(page.getvalue())
        if expand_nested:
            self.student.summary(print_fn=print_fn, **kwargs)

    def __repr__(self):
        losses = ", ".join(self.objective.names)
        return f"<Distiller {self.name!r}: {_name(self.teacher)!r} teaches {_name(self.student)!r} by {losses}>"

    def __rich__(self):
        from rich.console import Group

        return Group(_models(self), _terms(self))


def _models(distiller):
    table = _table(f"Distiller {distiller.name!r}")
    table.add_column("")
    for column in ("model", "parameters", "adapters", "dtype"):
        table.add_column(column, justify="left" if column == "model" else "right")
    along = sum(math.prod(variable.shape) for variable in distiller.objective.trainable_variables)
    table.add_row("teacher", _name(distiller.teacher), _count(distiller.teacher), "–", _dtype(distiller.teacher))
    table.add_row(
        "student", _name(distiller.student), _count(distiller.student), f"{along:,}", _dtype(distiller.student)
    )
    return table


def _terms(distiller):
    table = _table("Terms of the loss")
    for column in ("term", "weight", "temperature", "teacher's layer", "student's layer"):
        number = column in ("weight", "temperature")
        table.add_column(column, justify="right" if number else "left", no_wrap=number or column == "term")
    objective, hard = distiller.objective, as_float(distiller.objective.student_loss_weight)
    compiled = distiller.compiled and distiller.loss is not None
    table.add_row("hard labels" + ("" if compiled else " (no loss compiled)"), f"{hard:g}", "–", "–", "–")
    learned = objective.learned_temperatures()
    for name, loss, weight, temperature in zip(
        objective.names, objective.distillation_losses, objective.loss_weights, objective.temperatures, strict=True
    ):
        temperature = learned.get(name, temperature)
        degrees = "–" if temperature is None else f"{float(keras.ops.convert_to_numpy(temperature)):.4g}"
        table.add_row(
            name,
            f"{1.0 - hard:g} × {as_float(weight):g}" if compiled else f"{as_float(weight):g}",
            degrees + (" (learned)" if name in learned else ""),
            *(_layers(loss, role) for role in ("teacher", "student")),
        )
    return table


def _layers(loss, role):
    names = getattr(loss, f"{role}_layer_name", None)
    return "output" if names is None else ", ".join(names) if isinstance(names, list) else str(names)


def _table(title):
    from rich.table import Table

    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")


def _name(model):
    return getattr(model, "name", type(model).__name__)


def _count(model):
    built = getattr(model, "built", False) and hasattr(model, "count_params")
    return f"{model.count_params():,}" if built else "–"


def _dtype(model):
    policy = getattr(model, "dtype_policy", None)
    return "–" if policy is None else policy.name
