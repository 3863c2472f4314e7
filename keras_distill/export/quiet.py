"""Capturing what converters and runtimes print, from Python and from C++."""

import contextlib
import io
import logging
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from typing import IO


class Transcript:
    """What was printed within a `quiet` block; `text` is filled when the block ends."""

    text = ""


@contextlib.contextmanager
def quiet() -> Iterator[Transcript]:
    """Keep prints, log lines and warnings of third parties off the terminal; yield a `Transcript` of them."""
    transcript, python_layer = Transcript(), io.StringIO()
    with contextlib.ExitStack() as stack:
        stack.enter_context(warnings.catch_warnings())
        warnings.simplefilter("ignore")
        stack.enter_context(_disable_logging(logging.ERROR))
        spool = stack.enter_context(tempfile.TemporaryFile())
        stack.enter_context(redirect_descriptors(spool))
        stack.enter_context(contextlib.redirect_stdout(python_layer))
        stack.enter_context(contextlib.redirect_stderr(python_layer))
        try:
            yield transcript
        finally:
            spool.seek(0)
            transcript.text = spool.read().decode(errors="replace") + python_layer.getvalue()


@contextlib.contextmanager
def _disable_logging(level: int) -> Iterator[None]:
    """Silence the logging module below `level`; absl has its own reference to stderr, so redirecting is not enough."""
    before = logging.root.manager.disable
    logging.disable(max(before, level - 1))
    try:
        yield
    finally:
        logging.disable(before)


@contextlib.contextmanager
def redirect_descriptors(spool: IO[bytes], descriptors: Sequence[int] = (1, 2)) -> Iterator[None]:
    """Point file descriptors at `spool`: C++ code writes to them and does not know `sys.stderr`.

    Args:
        spool: Open file.
        descriptors: 1 for standard output, 2 for standard error. Defaults to both.
    """
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    kept = [os.dup(descriptor) for descriptor in descriptors]
    try:
        for descriptor in descriptors:
            os.dup2(spool.fileno(), descriptor)
        yield
    finally:
        for descriptor, original in zip(descriptors, kept, strict=True):
            os.dup2(original, descriptor)
            os.close(original)
