"""Progress of a writer: the number of examples done, the rate and the time left."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any


@contextlib.contextmanager
def report_progress(progress: Any, total: int | None, title: str) -> Iterator[Callable[[int], object]]:
    """Yield a function that takes the number of examples done so far.

    Args:
        progress: `True` for a bar in the terminal, `False` or `None` for nothing, or a function `(done, total)`.
        total: Number of examples, `None` if unknown.
        title: Title of the bar.
    """
    if progress is True:
        with _make_bar() as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield (lambda done: progress(done, total)) if callable(progress) else lambda done: None


def _make_bar() -> Any:
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Examples per second."""

        def render(self, task: Any) -> Any:
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} examples/s", style="dim")

    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
