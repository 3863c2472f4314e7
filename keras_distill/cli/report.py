"""`keras-distill report`: write a report on a finished run."""

import click

from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill report runs/mnist; keras-distill report runs/mnist --format html --directory "
    "pages/mnist"
)
@click.argument("run", type=click.Path())
@session.directory_option("Folder to write to.  [default: RUN]")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["html", "md", "json"]),
    multiple=True,
    default=("html", "md", "json"),
    show_default=True,
    help="What to write; may be given several times.",
)
def command(run: str, directory: str | None, formats: tuple[str, ...]) -> None:
    """Write a report on RUN, the folder of a finished run: one page, Markdown, and JSON.

    The page is one HTML file that loads nothing. It compares the students with their teacher over all seeds, in
    accuracy, fidelity, calibration and cost, and shows learning curves, the samples on which student and teacher
    disagree most, the exported files, and the command that repeats the run.
    """
    with session.report_users_errors():
        session.start_tensorflow()
        from keras_distill import report

        written = report.write(run, directory, formats)
    session.console().print(written, soft_wrap=True)
