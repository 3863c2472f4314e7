"""`keras-distill demo`: the digits recipe, explained."""

import click

from keras_distill.cli import session

_INTRODUCTION = """\
Knowledge distillation: a large network, the teacher, has learnt which digits look alike. A small network, the student, \
learns from the teacher's soft targets – all ten probabilities, not just the right answer. Softened by a temperature, the \
small probabilities are large enough to learn from. The same student alone shows what that brings.
"""


@click.command(epilog="Example: keras-distill demo --out runs/demo")
@click.option(
    "--out",
    type=click.Path(),
    default="runs/demo",
    show_default=True,
    help="Folder for results, plots, logs and files.",
)
@click.option("--seeds", type=click.IntRange(1), default=3, show_default=True, help="How many students of each kind.")
@click.option(
    "--quick", is_flag=True, help="A few epochs only, to see that everything works; the figures mean nothing."
)
@session.threads_option
def command(out, seeds, quick, threads):
    """Teach, distil, export and verify on real digits, with explanations.

    A teacher and small students learn 1,797 handwritten digits that ship with scikit-learn. The best student is
    written as SavedModel, TFLite and full-integer int8 TFLite, and every file is run by another runtime. Nothing is
    downloaded.
    """
    with session.users_errors():
        session.start_tensorflow(threads)
        from rich.text import Text

        from keras_distill import recipes
        from keras_distill.cli.progress import TerminalProgress

        console = session.console()
        console.print(Text(_INTRODUCTION))
        with TerminalProgress(console, explain=True) as progress:
            result = recipes.run("digits", out, seeds=range(seeds), quick=quick, progress=progress)
    console.print(result)
    _explain(console, result)
    session.finish(result.passed)


def _explain(console, result):
    from rich.text import Text

    from keras_distill.recipes import tables

    console.print(Text("\n" + tables.verdict(result.results), "bold"))
    where = [f"Figures  {result.folder / 'results.json'}"]
    where += [f"Plot     {plot}" for plot in result.plots]
    where += [
        f"Curves   tensorboard --logdir {result.folder / 'logs'}",
        f"Student  {result.folder / 'student.keras'}, and as files in {result.folder / 'student'}",
    ]
    console.print(Text("\n" + "\n".join(where)), soft_wrap=True)
    following = [
        f"keras-distill report {result.folder}      all of it as a page",
        "keras-distill run mnist --download      the same on 70,000 digits",
        "keras-distill run FILE.py               your own data, teacher and student",
        "keras-distill export --help             only the export, of any Keras model",
    ]
    console.print(Text("\nNext:\n  " + "\n  ".join(following)))
