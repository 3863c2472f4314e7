"""`keras-distill losses`: list the distillation methods."""

import click

from keras_distill.cli import session


@click.command(
    epilog="Examples: keras-distill losses; keras-distill losses dkd; keras-distill losses --format markdown"
)
@click.argument("name", required=False)
@click.option("--format", "style", type=click.Choice(["text", "markdown"]), default="text", show_default=True)
def command(name: str | None, style: str) -> None:
    """List the distillation methods, or describe the method NAME."""
    with session.report_users_errors():
        session.start_tensorflow()

        from keras_distill.losses import listing

        if name:
            click.echo(listing.describe(name))
        elif style == "markdown":
            click.echo(listing.markdown())
        else:
            session.console().print(listing.table())
