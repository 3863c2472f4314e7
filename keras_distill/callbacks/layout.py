"""Groups of curves for the Custom Scalars tab of TensorBoard."""

import re
from collections.abc import Iterable
from typing import Any

AGREEMENT = "agreement"
"""Tag of the curve that `DarkKnowledge` adds to those of `keras.callbacks.TensorBoard`."""

_DISTILLATION = {
    "Loss": ["epoch_loss"],
    "Hard labels and soft targets": ["epoch_student_loss", "epoch_distillation_loss"],
    "Temperature": ["epoch_(.+_)?temperature"],
    "Agreement with the teacher": [AGREEMENT, "epoch_agreement"],
    "Learning rate": ["epoch_learning_rate"],
}


def layout(logs: Iterable[str], losses: Iterable[str]) -> Any:
    """Group the curves of a distillation that `keras.callbacks.TensorBoard` writes under the prefix `epoch_`.

    TensorBoard shows the charts of all trainings below its folder, and equal charts once.

    Args:
        logs: Names in the logs of an epoch, with or without `val_`.
        losses: Names of the distillation losses.

    Returns:
        A `tensorboard.plugins.custom_scalar.layout_pb2.Layout` with a category for the terms of the distillation and a
        category for the user's metrics. Its charts select their curves by regular expressions of tags.

    Example:

    >>> shown = layout(["loss", "student_loss", "distillation_loss", "temperature", "val_accuracy"], ["kd"])
    >>> [(category.title, [chart.title for chart in category.chart]) for category in shown.category]
    [('Distillation', ['Loss', 'Hard labels and soft targets', 'Temperature', 'Agreement with the teacher',
    'Learning rate']), ('Metrics of the student', ['accuracy'])]
    >>> list(shown.category[0].chart[1].multiline.tag)
    ['^epoch_student_loss$', '^epoch_distillation_loss$']
    """
    from tensorboard.plugins.custom_scalar import layout_pb2

    # Keras adds the learning rate to the logs, and `DarkKnowledge` a curve of its own.
    names = [*(name.removeprefix("val_") for name in logs), "learning_rate"]
    tags = [AGREEMENT, *dict.fromkeys(f"epoch_{name}" for name in names)]
    charts = {**_DISTILLATION, "Distillation losses": [re.escape(f"epoch_{name}") for name in losses]}
    charts = {title: patterns for title, patterns in charts.items() if _match(patterns, tags)}
    grouped = {"epoch_total_loss"}.union(*(_match(patterns, tags) for patterns in charts.values()))
    metrics = {tag.removeprefix("epoch_"): [re.escape(tag)] for tag in tags if tag not in grouped}
    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=title, chart=[_chart(*chart) for chart in charts.items()])
            for title, charts in {"Distillation": charts, "Metrics of the student": metrics}.items()
            if charts
        ]
    )


def _match(patterns, tags):
    return {tag for tag in tags if any(re.fullmatch(pattern, tag) for pattern in patterns)}


def _chart(title, patterns):
    from tensorboard.plugins.custom_scalar import layout_pb2

    tags = [f"^{pattern}$" for pattern in patterns]
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
