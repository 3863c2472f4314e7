"""How TensorBoard's Custom Scalars groups the curves of a distillation."""

import re

AGREEMENT = "agreement"
"""Tag of the curve that `DarkKnowledge` adds to those of `keras.callbacks.TensorBoard`."""

_DISTILLATION = {
    "Loss": ["epoch_loss"],
    "Hard labels and soft targets": ["epoch_student_loss", "epoch_distillation_loss"],
    "Temperature": ["epoch_(.+_)?temperature"],
    "Agreement with the teacher": [AGREEMENT, "epoch_agreement"],
    "Learning rate": ["epoch_learning_rate"],
}


def layout(logs, losses):
    """Group the curves that `keras.callbacks.TensorBoard` writes of a distillation, `epoch_` before their names.

    TensorBoard shows the charts of all trainings under it, those that are equal once.

    Args:
        logs: Names in the logs of an epoch, with or without `val_`.
        losses: Names of the distillation losses.

    Returns:
        A `tensorboard.plugins.custom_scalar.layout_pb2.Layout`: a category of the distillation's terms and one of the
        user's metrics, in charts by regular expressions of tags.

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
    charts = {title: patterns for title, patterns in charts.items() if _matching(patterns, tags)}
    grouped = {"epoch_total_loss"}.union(*(_matching(patterns, tags) for patterns in charts.values()))
    metrics = {tag.removeprefix("epoch_"): [re.escape(tag)] for tag in tags if tag not in grouped}
    return layout_pb2.Layout(
        category=[
            layout_pb2.Category(title=title, chart=[_chart(*chart) for chart in charts.items()])
            for title, charts in {"Distillation": charts, "Metrics of the student": metrics}.items()
            if charts
        ]
    )


def _matching(patterns, tags):
    return {tag for tag in tags if any(re.fullmatch(pattern, tag) for pattern in patterns)}


def _chart(title, patterns):
    from tensorboard.plugins.custom_scalar import layout_pb2

    tags = [f"^{pattern}$" for pattern in patterns]
    return layout_pb2.Chart(title=title, multiline=layout_pb2.MultilineChartContent(tag=tags))
