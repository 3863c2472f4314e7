"""Progress in a terminal: a line per stage, a bar per training."""

import keras
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.rule import Rule
from rich.text import Text

from keras_distill.recipes.progress import Progress as Watching


class TerminalProgress(Watching):
    """Print stages and draw bars.

    Args:
        console: A `rich.console.Console`.
        explain: Whether to print what each stage is for. Defaults to `False`.
    """

    def __init__(self, console, explain=False):
        self._console, self._explain, self._bar = console, explain, None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        # A training that raises never ends its callbacks; its bar must not keep the cursor.
        if self._bar is not None:
            self._bar.stop()

    def stage(self, title, explanation=""):
        self._console.print(Rule(Text(title, "bold"), align="left", style="dim"))
        if self._explain and explanation:
            self._console.print(Text(explanation + "\n"))

    def training(self, title, epochs):
        self._bar = EpochBar(self._console, title, epochs)
        return [self._bar]

    def note(self, text):
        self._console.print(Text(text, "yellow"))


class EpochBar(keras.callbacks.Callback):
    """Draw a bar of epochs with the last loss and validation accuracy."""

    def __init__(self, console, title, epochs):
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

    def on_train_begin(self, logs=None):
        self._progress.start()

    def on_epoch_end(self, epoch, logs=None):
        logs = logs or {}
        figures = f"loss {logs.get('loss', float('nan')):.3f} · validation accuracy {logs.get('val_accuracy', 0.0):.2%}"
        self._progress.update(self._task, advance=1, figures=figures.replace("%", " %"))

    def on_train_end(self, logs=None):
        self.stop()

    def stop(self):
        """Leave the bar as it stands; more than once does no harm."""
        self._progress.stop()
