"""`keras-distill demo`: run the digits recipe, with explanations."""

from typing import Any

import click

from keras_distill.cli import session

_INTRODUCTION = """\
Knowledge distillation: a large network, the teacher, has learned which digits look alike. A small network, the \
student, learns from the teacher's soft targets – all ten probabilities, not just the right answer. A temperature \
softens them, so that the small probabilities are large enough to learn from. The same student trained alone shows the \
difference.
"""


@click.command(epilog="Example: keras-distill demo --directory runs/demo")
@session.directory_option("Folder for results, plots, logs and files.", default="runs/demo", show_default=True)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many students of each kind.")
@click.option(
    "--quick", is_flag=True, help="Only a few epochs, to check that everything works; the figures mean nothing."
)
@session.threads_option
def command(directory: str, seeds: int, quick: bool, threads: int) -> None:
    """Teach, distil, export and verify on real digits, with explanations.

    A teacher and small students learn 1,797 handwritten digits that ship with scikit-learn. The best student is
    exported as SavedModel, TFLite and full-integer int8 TFLite, and a second runtime runs every file. Nothing is
    downloaded.
    """
    with session.report_users_errors():
        session.start_tensorflow(threads)
        from rich.text import Text

        from keras_distill import recipes
        from keras_distill.cli.progress import TerminalProgress

        console = session.console()
        console.print(Text(_INTRODUCTION))
        with TerminalProgress(console, explain=True) as progress:
            result: Any = recipes.run("digits", directory, seeds=range(seeds), quick=quick, progress=progress)
    console.print(result)
    _print_next_steps(console, result)
    session.finish(result.passed)


def _print_next_steps(console: Any, result: Any) -> None:
    from rich.text import Text

    from keras_distill.recipes import tables

    console.print(Text("\n" + tables.verdict(result.record), "bold"))
    where = [f"Figures  {result.folder / 'results.json'}"]
    where += [f"Plot     {plot}" for plot in result.plots]
    where += [
        f"Curves   tensorboard --logdir {result.folder / 'logs'}",
        f"Student  {result.folder / 'student.keras'}, and as files in {result.folder / 'student'}",
    ]
    console.print(Text("\n" + "\n".join(where)), soft_wrap=True)
    following = [
        f"keras-distill report {result.folder}      everything on one page",
        "keras-distill run mnist --download      the same on 70,000 digits",
        "keras-distill run FILE.py               your own data, teacher and student",
        "keras-distill export --help             only the export, of any Keras model",
    ]
    console.print(Text("\nNext:\n  " + "\n  ".join(following)))
