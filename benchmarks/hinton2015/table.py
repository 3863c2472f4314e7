"""Make the table as Markdown, from the JSON file alone."""

from benchmarks.hinton2015.results import CORRECTED
from benchmarks.hinton2015.settings import narrow

TITLES = {
    "teacher": "teacher, 2 x 1200, dropout, bounded weights, moved digits",
    "hard labels": "student, 2 x 800, hard labels",
    "soft targets": "the same, soft targets, T = {temperature:g}",
    "no 3": "... of a transfer set without 3s, T = {partial_temperature:g}",
    f"no 3{CORRECTED}": "... and the bias of the 3 corrected",
    "7 and 8": "... of a transfer set of 7s and 8s, T = {partial_temperature:g}",
    f"7 and 8{CORRECTED}": "... and the biases of 7 and 8 corrected",
}


def markdown(results):
    """Write the published rows, and the narrow students by temperature, as two Markdown tables.

    Args:
        results: What the JSON file holds, a dict.

    Returns:
        The tables, a string.
    """
    lines = ["| test errors of 10,000 | published | here | seeds |", "|---|---:|---:|---:|"]
    for name, title in TITLES.items():
        if name in results["rows"]:
            row = results["rows"][name]
            cells = (title.format(**results["settings"]), _published(row), _here(row), len(row["errors"]))
            lines.append("| " + " | ".join(map(str, cells)) + " |")
    for width, temperatures in results["settings"]["temperatures"].items():
        lines += ["", *_narrow(results["rows"], width, temperatures)]
    return "\n".join(lines)


def _narrow(rows, width, temperatures):
    found = {each: rows[narrow(width, each)] for each in temperatures if narrow(width, each) in rows}
    head = [f"{width} units a layer, T", *(f"{temperature:g}" for temperature in found)]
    return [
        "| " + " | ".join(head) + " |",
        "|---|" + "---:|" * len(found),
        "| " + " | ".join(["test errors", *map(_here, found.values())]) + " |",
    ]


def _published(row):
    if row["published"] is None:
        return ""
    missing = row.get("published_on_missing")
    return f"{row['published']}" + (f" ({missing} on 3s)" if missing is not None else "")


def _here(row):
    spread = "" if row["sd"] is None else f" ± {row['sd']:.0f}"
    missing = f" ({row['mean_on_missing']:.0f} on 3s)" if row.get("published_on_missing") is not None else ""
    return f"{row['mean']:.0f}{spread}{missing}"
