"""Print a table in the terminal with rich, or as Markdown for the documentation, from a JSON file alone."""

import statistics

from rich.console import Console
from rich.table import Table


def spread(values, scale=100.0, digits=1, sign=""):
    """Write mean ± standard deviation, the deviation where there are two values or more.

    Example:

    >>> spread([0.5, 0.7]), spread([0.5])
    ('60.0 ± 14.1', '50.0')
    """
    values = [scale * value for value in values]
    deviation = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):{sign}.{digits}f}{deviation}"


def markdown(columns, rows):
    """Return a Markdown table, the first column to the left and the others to the right.

    Example:

    >>> print(markdown(["net", "%"], [["small", "97.1"]]))
    | net | % |
    |---|---:|
    | small | 97.1 |
    """
    rule = "|---|" + "---:|" * (len(columns) - 1)
    return "\n".join([_line(columns), rule, *map(_line, rows)])


def _line(cells):
    return "| " + " | ".join(cells) + " |"


def show(title, columns, rows):
    """Print a table to the terminal."""
    table = Table(title=title)
    for number, column in enumerate(columns):
        table.add_column(column, justify="right" if number else "left", no_wrap=not number)
    for row in rows:
        table.add_row(*row)
    Console().print(table)
