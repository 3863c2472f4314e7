"""`keras-distill report`: a page on a finished run."""

import click

from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill report runs/mnist; keras-distill report runs/mnist --format html --out pages/mnist"
)
@click.argument("run", type=click.Path())
@click.option("--out", type=click.Path(), help="Folder to write to.  [default: RUN]")
@click.option(
    "--format",
    "formats",
    type=click.Choice(["html", "md", "json"]),
    multiple=True,
    default=("html", "md", "json"),
    show_default=True,
    help="What to write; may be given several times.",
)
def command(run, out, formats):
    """Write what RUN, the folder of a finished run, found: as a page, as Markdown, and as JSON.

    The page is one HTML file that loads nothing: the students beside their teacher over all seeds, in accuracy,
    fidelity, calibration and cost; learning curves; the samples on which student and teacher disagree most; the
    exported files; and the command that makes the run again.
    """
    with session.users_errors():
        session.start_tensorflow()
        from keras_distill.report import write

        written = write(run, out, formats)
    session.console().print(written, soft_wrap=True)
