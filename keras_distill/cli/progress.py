"""Progress in a terminal: a line for each stage, a bar for each training."""

from typing import Any

import keras
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

from keras_distill import recipes


class TerminalProgress(recipes.Progress):
    """Print a line for each stage and draw a bar for each training.

    Args:
        console: A `rich.console.Console`.
        explain: Whether to print the explanation of each stage. Defaults to `False`.
    """

    def __init__(self, console: Console, explain: bool = False) -> None:
        self._console, self._explain = console, explain
        self._bar: EpochBar | None = None

    def __enter__(self) -> "TerminalProgress":
        return self

    def __exit__(self, *error: Any) -> None:
        # A training that raises an error does not end its callbacks, and the bar would keep the cursor hidden.
        if self._bar is not None:
            self._bar.stop()

    def stage(self, title: str, explanation: str = "") -> None:
        self._console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        if self._explain and explanation:
            self._console.print(Text(explanation + "\n"))

    def training(self, title: str, epochs: int) -> list[Any]:
        self._bar = EpochBar(self._console, title, epochs)
        return [self._bar]

    def note(self, text: str) -> None:
        self._console.print(Text(text, "yellow"))


class EpochBar(keras.callbacks.Callback):
    """Draw a bar of epochs with the latest loss and validation accuracy."""

    def __init__(self, console: Console, title: str, epochs: int) -> None:
        super().__init__()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[figures]}", style="dim"),
            console=console,
        )
        self._task = self._progress.add_task(f"{title:<26}", total=epochs, figures="")

    def on_train_begin(self, logs: Any = None) -> None:
        self._progress.start()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        logs = logs or {}
        figures = f"loss {logs.get('loss', float('nan')):.3f} · validation accuracy {logs.get('val_accuracy', 0.0):.2%}"
        self._progress.update(self._task, advance=1, figures=figures.replace("%", " %"))

    def on_train_end(self, logs: Any = None) -> None:
        self.stop()

    def stop(self) -> None:
        """Stop updating the bar; further calls do nothing."""
        self._progress.stop()
