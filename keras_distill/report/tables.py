"""The results of a run as tables for a terminal, and the verdict in one sentence."""

import numpy as np
from rich.table import Table

from keras_distill._messages import expected


def tables(results):
    """Build the tables of a run: the models, and the files of the exported student.

    Args:
        results: What `results.json` holds, a dict.

    Returns:
        A list of two `rich.table.Table`.
    """
    return [models(results), files(results)]


def models(results):
    """Build the table of teacher, student alone and student distilled.

    Args:
        results: What `results.json` holds, a dict.

    Returns:
        A `rich.table.Table`; with several seeds, means ± standard deviations.
    """
    seeds = len(results["seeds"])
    table = _table(
        f"Models on {results['samples']['test']:,} test images, students over {seeds} seed{'s' * (seeds > 1)}"
    )
    for column in ("model", "parameters", "accuracy", "agreement with teacher", "size", "one image"):
        table.add_column(column, justify="left" if column == "model" else "right")
    teacher, student = results["teacher"], results["student"]
    rows = (
        ("teacher", teacher, [teacher], False),
        ("student alone", student, results["alone"], True),
        ("student distilled", student, results["distilled"], True),
    )
    for name, cost, trainings, compared in rows:
        table.add_row(
            name,
            f"{cost['parameters']:,}",
            spread([training["test_accuracy"] for training in trainings]),
            spread([training["agreement"] for training in trainings]) if compared else "–",
            size(cost["bytes"]),
            f"{cost['latency_us']:.0f} µs",
        )
    return table


def files(results):
    """Build the table of exported files.

    Args:
        results: What `results.json` holds, a dict.

    Returns:
        A `rich.table.Table`.
    """
    table = _table(f"Files of the student distilled with seed {results['exported_seed']}")
    for column in ("file", "verification", "accuracy", "agreement with student", "size", "one image"):
        table.add_column(column, justify="left" if column in ("file", "verification") else "right")
    for row in results["export"]["artifacts"]:
        passed = row["status"] == "passed"
        table.add_row(
            row["format"],
            "passed" if passed else f"[red]{row['status']}[/red]",
            percent(row["accuracy"]),
            percent(row["agreement"]),
            "–" if row["bytes"] is None else size(row["bytes"]),
            "–" if row["latency_us"] is None else f"{row['latency_us']:.0f} µs",
        )
    return table


def measured(models):
    """Build the table of all measures, a row each.

    Args:
        models: The models of a report, a dict of `"teacher"`, `"alone"` and `"distilled"` to their measures.

    Returns:
        A `rich.table.Table`.
    """
    from keras_distill.report.measures import MEASURES

    table = _table("Teacher and students on the test split")
    table.add_column("measure")
    for name in ("teacher", "student alone", "student distilled", "better"):
        table.add_column(name, justify="right")
    for measure in MEASURES:
        table.add_row(
            measure.heading, *(measure.write(model[measure.name]) for model in models.values()), measure.better
        )
    return table


def verdict(results):
    """Say in a sentence or two whether distilling helped, and by how much.

    Args:
        results: What `results.json` holds, a dict.

    Returns:
        The sentences.

    Raises:
        ValueError: If there are no results in it.

    Example:

    >>> verdict({"alone": [{"test_accuracy": 0.91}], "distilled": [{"test_accuracy": 0.94}]})
    'Distilled, the student is right on 94.00 % of the test images; alone, on 91.00 %: a gain of 3.00 points.'
    """
    if not results.get("alone") or not results.get("distilled"):
        raise ValueError(expected("the results of a run", f"{sorted(results)}"))
    alone, distilled = ([training["test_accuracy"] for training in results[way]] for way in ("alone", "distilled"))
    points = 100 * (np.mean(distilled) - np.mean(alone))
    change = "gain" if points >= 0 else "loss"
    sentence = (
        f"Distilled, the student is right on {spread(distilled)} of the test images; alone, on {spread(alone)}: "
        f"a {change} of {abs(points):.2f} points."
    )
    if len(alone) > 1 and points >= 0:
        apart = min(distilled) > max(alone)
        sentence += f" The worst distilled student {'beats' if apart else 'does not beat'} the best one alone."
    if results.get("quick"):
        sentence += " In the quick form, figures say nothing: it shows that all of it works."
    return sentence


def spread(values):
    """Write shares as a percentage: the mean, and ± the standard deviation where there are several.

    Example:

    >>> spread([0.97, 0.98]), spread([0.5])
    ('97.50 ± 0.71 %', '50.00 %')
    """
    if len(values) == 1:
        return percent(values[0])
    return f"{100 * np.mean(values):.2f} ± {100 * np.std(values, ddof=1):.2f} %"


def percent(share):
    """Write a share as a percentage, and what is unknown as a dash."""
    return "–" if share is None else f"{100 * share:.2f} %"


def size(count):
    """Write a number of bytes.

    Example:

    >>> size(2048), size(3 * 1024 * 1024)
    ('2.0 kB', '3.0 MB')
    """
    return f"{count / 1024:.1f} kB" if count < 1024**2 else f"{count / 1024**2:.1f} MB"


def _table(title):
    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")
