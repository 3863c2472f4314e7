"""The table of distillation methods, for the terminal and for the documentation."""

import inspect

from rich.table import Table

from keras_distill.losses.registry import METHODS, get, in_order


def table():
    """Return the methods as a `rich.table.Table`."""
    columns = Table("name", "family", "class", "needs", "paper", "also in", box=None, header_style="bold")
    for row in in_order():
        paper = f"{row.paper}, arXiv:{row.arxiv}" if row.arxiv else row.paper
        needs = ", ".join(row.needs) or "-"
        columns.add_row(row.name, row.family, row.loss.__name__, needs, paper, ", ".join(row.peers))
    return columns


def markdown():
    """Return the methods as a table in Markdown."""
    lines = ["| name | class | needs | paper | also in |", "|---|---|---|---|---|"]
    for row in in_order():
        cells = (f"`{row.name}`", f"`{row.loss.__name__}`", ", ".join(row.needs), paper(row), ", ".join(row.peers))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def paper(method):
    """Return authors, year and link of a method's paper in Markdown."""
    arxiv = method.arxiv
    return f"{method.paper}, [arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})" if arxiv else method.paper


def describe(name):
    """Return all about a method as text: its class, its arguments, its paper.

    Args:
        name: A name that `keras_distill.losses.get` knows.
    """
    loss = METHODS[name].loss if name in METHODS else type(get(name))
    return f"{name}: keras_distill.losses.{loss.__name__}{inspect.signature(loss)}\n\n{inspect.getdoc(loss)}"
