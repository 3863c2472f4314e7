"""The group of commands, their exit codes, and the form of errors."""

import importlib
from typing import Any

import click

from keras_distill._version import __version__

# Name of a command -> its line in the list of commands. `cli/<name>.py` is imported only when the command is called.
COMMANDS = {
    "benchmark": "Compare TFLite files: size, operators, time, memory, agreement.",
    "demo": "Teach, distil, export and verify on real digits, with explanations; no download.",
    "export": "Export a trained student to files, and verify each with a second runtime.",
    "label": "Run a teacher once on every example, and store its soft targets.",
    "losses": "List the distillation methods, their requirements and papers.",
    "profile": "Measure the parts of a training step: input, teacher, student, losses, optimizer.",
    "report": "Write a report on a finished run: figures, fidelity, calibration, disagreements.",
    "run": "Run a recipe: teacher, student alone, student distilled, over several seeds.",
}
NOT_PASSED, BAD_INPUT = 1, 2


class Commands(click.Group):
    """A group whose commands are in separate files."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"keras_distill.cli.{cmd_name}").command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        name = args[0]
        if name not in COMMANDS:
            from keras_distill._core.messages import unknown_name

            ctx.fail(unknown_name("command", name, COMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        # The list comes from the table, so that --help imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 everything passed; 1 a file did not pass its verification, or a training failed; "
    "2 the command or its input is invalid.",
)
@click.version_option(__version__, "--version", package_name="keras_distill", prog_name="keras-distill")
def main() -> None:
    """Distil a large Keras model into a small one, and ship it.

    \b
    Start here:   keras-distill demo
    Then:         keras-distill run mnist --download
    """
