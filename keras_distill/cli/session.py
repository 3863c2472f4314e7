"""What all commands share: a quiet start of TensorFlow, errors in one line, exit codes, common options."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from typing import Any

import click

from keras_distill.cli.group import BAD_INPUT, NOT_PASSED

# The errors of our checks of the user's input. A bug of ours keeps its traceback.
_USERS_ERRORS = (ValueError, TypeError, OSError, ImportError)


class _BadInput(click.ClickException):
    """An error about the user's input, with its exit code."""

    exit_code = BAD_INPUT


class _DirectoryOption(click.Option):
    """An option `--directory`, whose old name `--out` still works and is not in the help."""

    def get_help_record(self, ctx: click.Context) -> tuple[str, str] | None:
        record = super().get_help_record(ctx)
        return record and (record[0].replace(", --out", ""), record[1])

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return "'--directory'"


def directory_option(help: str, **options: Any) -> Callable:
    """Return the option `--directory` of a command: its output folder.

    Args:
        help: Help text.
        **options: Passed to `click.option`, such as `default`.
    """
    return click.option(
        "--directory", "--out", "directory", cls=_DirectoryOption, type=click.Path(), help=help, **options
    )


threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Threads per operation on a CPU. With equal numbers, a repeated run gives the same figures.",
)


def start_tensorflow(threads: int | None = None) -> None:
    """Import TensorFlow without the log lines of its C++ code, unless the user has set a level for them.

    Args:
        threads: Threads per operation. Operations are then deterministic, so that a repeated run gives the same
            figures. Defaults to `None`, TensorFlow's own choice without determinism.
    """
    _import_tensorflow()
    if threads is not None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def _import_tensorflow() -> None:
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Some lines are written before TensorFlow reads that level; they go to the descriptor, not to sys.stderr.
    with _hold_stderr_back():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def report_users_errors() -> Iterator[None]:
    """Turn an error about the user's input into one line and exit code 2."""
    try:
        yield
    except click.ClickException:
        raise
    except _USERS_ERRORS as error:
        if not str(error).startswith("Expected "):
            raise
        raise _BadInput(str(error)) from error


def console() -> Any:
    """Return a `rich.console.Console`; outside a terminal, it is wide enough for our tables."""
    from rich.console import Console

    window = Console()
    return window if window.is_terminal else Console(width=120)


def finish(passed: bool) -> None:
    """Exit with code 0 if everything passed, and with code 1 otherwise."""
    raise SystemExit(0 if passed else NOT_PASSED)


@contextlib.contextmanager
def _hold_stderr_back() -> Iterator[None]:
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as spool:
        os.dup2(spool.fileno(), 2)
        try:
            yield
        except BaseException:
            # The lines held back may give the reason.
            spool.seek(0)
            os.write(kept, spool.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
