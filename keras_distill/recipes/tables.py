"""The results of a run as tables for a terminal, and the verdict in a sentence or two."""

import numpy as np
from rich.table import Table

from keras_distill.drawing.numbers import percent, size, spread
from keras_distill.drawing.style import LABELS
from keras_distill.recipes.results import WAYS, Results


def build_tables(results: Results) -> list[Table]:
    """Build the tables of a run: the models, and the files of the exported student."""
    return [build_models_table(results), build_files_table(results)]


def build_models_table(results: Results) -> Table:
    """Build the table of teacher, student alone and student distilled.

    With several seeds, figures are means ± standard deviations.
    """
    seeds = len(results.seeds)
    table = new_table(f"Models on {results.samples.test:,} test images, students over {seeds} seed{'s' * (seeds > 1)}")
    for column in ("model", "parameters", "accuracy", "agreement with teacher", "size", "one image"):
        table.add_column(column, justify="left" if column == "model" else "right")
    for way in WAYS:
        trainings, cost = results.trainings(way), results.cost(way)
        table.add_row(
            LABELS[way],
            f"{cost.parameters:,}",
            spread([training.test_accuracy for training in trainings]),
            "–" if way == "teacher" else spread([training.agreement for training in trainings]),
            size(cost.bytes),
            f"{cost.latency_us:.0f} µs",
        )
    return table


def build_files_table(results: Results) -> Table:
    """Build the table of exported files."""
    table = new_table(f"Files of the student distilled with seed {results.exported_seed}")
    for column in ("file", "verification", "accuracy", "agreement with student", "size", "one image"):
        table.add_column(column, justify="left" if column in ("file", "verification") else "right")
    for file in results.export.artifacts:
        table.add_row(
            file.format,
            "passed" if file.passed else f"[red]{file.status}[/red]",
            percent(file.accuracy),
            percent(file.agreement),
            "–" if file.bytes is None else size(file.bytes),
            "–" if file.latency_us is None else f"{file.latency_us:.0f} µs",
        )
    return table


def verdict(results: Results) -> str:
    """Return a sentence or two on whether distillation helped, and by how much."""
    alone, distilled = (
        [training.test_accuracy for training in results.trainings(way)] for way in ("alone", "distilled")
    )
    points = 100 * (np.mean(distilled) - np.mean(alone))
    change = "gain" if points >= 0 else "loss"
    sentence = (
        f"Distilled, the student is right on {spread(distilled)} of the test images; alone, on {spread(alone)}: "
        f"a {change} of {abs(points):.2f} points."
    )
    if len(alone) > 1 and points >= 0:
        apart = min(distilled) > max(alone)
        sentence += f" The worst distilled student {'beats' if apart else 'does not beat'} the best one alone."
    if results.quick:
        sentence += " The quick form only shows that everything works; its figures mean nothing."
    return sentence


def new_table(title: str) -> Table:
    """Return an empty table in the style of all tables of a run."""
    return Table(title=title, title_justify="left", title_style="bold", header_style="dim")
