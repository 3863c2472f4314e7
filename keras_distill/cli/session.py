"""What every command does around its work: a quiet start of TensorFlow, errors in one line, the right exit code."""

import contextlib
import os
import sys
import tempfile

import click

from keras_distill.cli.group import BAD_INPUT, NOT_PASSED

# What our own checks raise about what the user gave. A fault of ours keeps its traceback.
_USERS_ERRORS = (ValueError, TypeError, OSError, ImportError)


threads_option = click.option(
    "--threads",
    type=click.IntRange(1),
    default=2,
    show_default=True,
    help="Threads of one operation on a CPU. With equal numbers, figures come back when a run is repeated.",
)


def start_tensorflow(threads=None):
    """Import TensorFlow without the log lines of its C++ side, unless the user asked for a level of them.

    Args:
        threads: Threads of one operation, for figures that come back when a run is repeated: sums are then made in
            one order. Defaults to `None`, TensorFlow's own choice and order.
    """
    _import_tensorflow()
    if threads is not None:
        import tensorflow as tf

        tf.config.experimental.enable_op_determinism()
        tf.config.threading.set_intra_op_parallelism_threads(threads)


def _import_tensorflow():
    if "TF_CPP_MIN_LOG_LEVEL" in os.environ or "tensorflow" in sys.modules:
        return
    os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
    # Some lines are written before that level is read; they go to the descriptor, not to sys.stderr.
    with _stderr_into_a_file():
        import tensorflow  # noqa: F401


@contextlib.contextmanager
def users_errors():
    """Turn an error about the user's input into one line and exit code 2."""
    try:
        yield
    except click.ClickException:
        raise
    except _USERS_ERRORS as error:
        if not str(error).startswith("Expected "):
            raise
        message = click.ClickException(str(error))
        message.exit_code = BAD_INPUT
        raise message from error


def console():
    """Return a `rich.console.Console`; where nobody's window sets the width, one wide enough for our tables."""
    from rich.console import Console

    window = Console()
    return window if window.is_terminal else Console(width=120)


def finish(passed):
    """Leave with the exit code that says whether all that was asked for passed."""
    raise SystemExit(0 if passed else NOT_PASSED)


@contextlib.contextmanager
def _stderr_into_a_file():
    sys.stderr.flush()
    kept = os.dup(2)
    with tempfile.TemporaryFile() as spool:
        os.dup2(spool.fileno(), 2)
        try:
            yield
        except BaseException:
            # What was held back may be the reason.
            spool.seek(0)
            os.write(kept, spool.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)
