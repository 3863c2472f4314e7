"""Catching what converters and runtimes print, from Python and from C++."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings


class Transcript:
    """What was printed while the world was quiet; `text` is filled when the block ends."""

    text = ""


@contextlib.contextmanager
def quiet():
    """Keep prints, log lines and warnings of third parties off the terminal; yield a `Transcript` of them."""
    transcript, python_layer = Transcript(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_no_logging_below(logging.ERROR))
        spool = stack.enter_context(tempfile.TemporaryFile())
        stack.enter_context(_descriptors_into(spool))
        stack.enter_context(contextlib.redirect_stdout(python_layer))
        stack.enter_context(contextlib.redirect_stderr(python_layer))
        try:
            yield transcript
        finally:
            spool.seek(0)
            transcript.text = spool.read().decode(errors="replace") + python_layer.getvalue()


@contextlib.contextmanager
def _no_logging_below(level):
    """Silence the logging module below `level`; absl keeps its own reference to stderr, so redirecting is not enough."""
    before = logging.root.manager.disable
    logging.disable(max(before, level - 1))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def _descriptors_into(spool):
    """Point file descriptors 1 and 2 at `spool`: the C++ layers write there and know nothing of `sys.stderr`."""
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(descriptor) for descriptor in (1, 2)]
    try:
        for descriptor in (1, 2):
            os.dup2(spool.fileno(), descriptor)
        yield
    finally:
        for descriptor, original in zip((1, 2), kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
