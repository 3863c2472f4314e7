"""Telling how far a writer is: how many examples, how many a second, how long it will take."""

import contextlib


@contextlib.contextmanager
def reported(progress, total, title):
    """Yield a function that is told how many examples are done, and how many of them were already there.

    Args:
        progress: `True` for a bar in the terminal, `False` or `None` for nothing, or a function `(done, total)`.
        total: Number of examples, `None` where that is unknown.
        title: What the bar is called.
    """
    if progress is True:
        with _bar() as bar:
            task = bar.add_task(title, total=total)
            yield lambda done: bar.update(task, completed=done)
    else:
        yield (lambda done: progress(done, total)) if callable(progress) else lambda done: None


def _bar():
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TextColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        """Examples a second."""

        def render(self, task):
            speed = task.finished_speed or task.speed
            return Text("" if speed is None else f"{speed:,.0f} examples/s", style="dim")

    return Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn())
