"""The results of a run as tables for a terminal, and the verdict in one sentence."""

import numpy as np
from rich.table import Table

from keras_distill._core.messages import expected
from keras_distill.drawing.numbers import percent, size, spread


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


def _table(title):
    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")
