"""All measures of a report as a table for a terminal."""

from rich.table import Table

from keras_distill.report.measures import MEASURES


def measured(models):
    """Build the table of all measures, a row each.

    Args:
        models: The models of a report, a dict of `"teacher"`, `"alone"` and `"distilled"` to their measures.

    Returns:
        A `rich.table.Table`.
    """
    table = Table(
        title="Teacher and students on the test split", title_justify="left", title_style="bold", header_style="dim"
    )
    table.add_column("measure")
    for name in ("teacher", "student alone", "student distilled", "better"):
        table.add_column(name, justify="right")
    for measure in MEASURES:
        table.add_row(
            measure.heading, *(measure.write(model[measure.name]) for model in models.values()), measure.better
        )
    return table
