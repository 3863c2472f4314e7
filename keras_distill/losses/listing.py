"""The table of distillation methods, for the terminal and for the documentation."""

import inspect

from rich.table import Table

from keras_distill.losses.registry import METHODS, Method, get, in_order


def table() -> Table:
    """Return the methods as a `rich.table.Table`."""
    columns = Table("name", "family", "class", "needs", "paper", "also in", box=None, header_style="bold")
    for row in in_order():
        needs = ", ".join(row.needs) or "-"
        columns.add_row(row.name, row.family, row.loss.__name__, needs, _cite(row), ", ".join(row.peers))
    return columns


def markdown() -> str:
    """Return the methods as a table in Markdown."""
    lines = ["| name | class | needs | paper | also in |", "|---|---|---|---|---|"]
    for row in in_order():
        cells = (f"`{row.name}`", f"`{row.loss.__name__}`", ", ".join(row.needs), paper(row), ", ".join(row.peers))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def paper(method: Method) -> str:
    """Return authors, year and link of a method's paper in Markdown."""
    arxiv = method.arxiv
    return f"{method.paper}, [arXiv:{arxiv}](https://arxiv.org/abs/{arxiv})" if arxiv else method.paper


def describe(name: str) -> str:
    """Return a description of a method: its class with signature and documentation, and its paper.

    Args:
        name: A name that `keras_distill.losses.get` accepts.
    """
    method = METHODS.get(name)
    loss = type(get(name)) if method is None else method.loss
    arguments = ", ".join(
        str(each.replace(annotation=each.empty)) for each in inspect.signature(loss).parameters.values()
    )
    lines = [f"{name}: keras_distill.losses.{loss.__name__}({arguments})", inspect.getdoc(loss)]
    if method is not None:
        lines.append(f"Paper: {_cite(method)}")
    return "\n\n".join(map(str, lines))


def _cite(method: Method) -> str:
    return f"{method.paper}, arXiv:{method.arxiv}" if method.arxiv else method.paper
