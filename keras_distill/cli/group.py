"""The group of commands, its exit codes, and how errors look."""

import importlib

import click

from keras_distill._version import __version__

# Name of a command -> what the list of commands says of it. `cli/<name>.py` is imported only when it is asked for.
COMMANDS = {
    "benchmark": "Compare TFLite files: size, operators, time, memory, agreement.",
    "demo": "Teach, distil, export and verify on real digits, with explanations; no download.",
    "export": "Write a trained student to files, and verify each by another runtime.",
    "label": "Ask a teacher once about every example, and store its soft targets.",
    "losses": "List the distillation methods: what each needs, and its paper.",
    "profile": "Tell where the time of a training step goes: input, teacher, student, losses, optimizer.",
    "report": "Write a page on a finished run: figures, fidelity, calibration, disagreements.",
    "run": "Run a recipe: teacher, student alone, student distilled, over several seeds.",
}
NOT_PASSED, BAD_INPUT = 1, 2


class Commands(click.Group):
    """Commands in files of their own."""

    def list_commands(self, context):
        return list(COMMANDS)

    def get_command(self, context, name):
        if name not in COMMANDS:
            return None
        return importlib.import_module(f"keras_distill.cli.{name}").command

    def resolve_command(self, context, args):
        name = args[0]
        if name not in COMMANDS:
            from keras_distill._core.messages import unknown_name

            context.fail(unknown_name("command", name, COMMANDS))
        return super().resolve_command(context, args)

    def format_commands(self, context, formatter):
        # The list comes from the table, so that --help imports no command.
        with formatter.section("Commands"):
            formatter.write_dl(sorted(COMMANDS.items()))


@click.group(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog="Exit codes: 0 all that was asked for passed; 1 a file did not pass its verification, or a training "
    "failed; 2 the command or its input was not right.",
)
@click.version_option(__version__, "--version", package_name="keras_distill", prog_name="keras-distill")
def main():
    """Teach a small Keras model what a large one knows, and ship it.

    \b
    Start here:   keras-distill demo
    Then:         keras-distill run mnist --download
    """
