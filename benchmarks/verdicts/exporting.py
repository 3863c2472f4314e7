"""Exports that keep every file, also those that were refused, and share the processes of converters and runtimes.

Verification is the package's own. Only its stopwatch is left out: latency and memory decide nothing.
"""

import contextlib
import dataclasses
import pathlib
import shutil
from typing import Any
from unittest import mock

from keras_distill.export import FORMATS, exporter, verification
from keras_distill.export.conversion.sources import Converter
from keras_distill.export.runtimes import remote, session
from keras_distill.export.tflite import metadata
from keras_distill.export.worker import Process

SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Kept:
    """A file as it was before its verification, and what it was verified with."""

    path: pathlib.Path
    entry: Any
    source: Any
    samples: Any
    limits: Any
    names: Any

    def complain(self, path, work):
        """Verify another file in its place; return the complaints."""
        source = dataclasses.replace(self.source, work=work)
        try:
            found = verification.verify(path, self.entry, source, self.samples, self.limits, self.names)[1]
        except Exception as error:
            return [f"it cannot be run: {error}"]
        return found + metadata.find_complaints(path, source.signature, self.names)


class Workplace:
    """Two processes, one that converts and one that runs files, for as many exports as one likes.

    Args:
        folder: Folder to write to.
        converter: `Converter`. Defaults to a new one.
        server: `Process` of `session`. Defaults to a new one.
    """

    def __init__(self, folder, converter=None, server=None):
        self.folder = pathlib.Path(folder)
        self._converter = converter or Converter(self.folder, SECONDS)
        self._server = server or Process(session.__name__, self.folder / "runtime.log", SECONDS)

    def close(self):
        """End the processes."""
        self._converter.end()
        self._server.end()

    @contextlib.contextmanager
    def patched(self):
        """Let exports use the shared processes."""
        server = self._server

        class Shared:
            def __init__(self, *arguments):
                pass

            def ask(self, function, **arguments):
                if function == "measure":
                    return {"facts": {}, "peak_memory": None, "latency": {"1": [0.0, 0.0, 0.0]}}
                return server.ask(function, **arguments)

            def end(self):
                pass

        with (
            mock.patch.object(exporter, "Converter", lambda *arguments: contextlib.nullcontext(self._converter)),
            mock.patch.object(remote, "Process", Shared),
        ):
            yield

    def export(self, case, name, formats=None, rows=(None, None), **settings):
        """Export a case; return its report, and a dict of format to `Kept`.

        Args:
            case: `making.Case`.
            name: Name of a folder to write.
            formats: Names of formats. Defaults to all.
            rows: Slices of samples to calibrate and to evaluate on.
            **settings: Arguments of `export`.
        """
        kept, verify = {}, verification.verify
        folder = self.folder / name
        (folder / "kept").mkdir(parents=True)

        def keep(path, entry, source, samples, limits, names=None):
            copy = folder / "kept" / path.name
            (shutil.copytree if path.is_dir() else shutil.copy)(path, copy)
            kept[entry.name] = Kept(copy, entry, source, samples, limits, names)
            return verify(path, entry, source, samples, limits, names)

        with self.patched(), mock.patch.object(exporter.verification, "verify", keep):
            report = exporter.export(
                case.student,
                folder / "out",
                formats or tuple(FORMATS),
                calibration_data=case.data(rows[0]),
                evaluation_data=case.data(rows[1]),
                kinds=case.told,
                **settings,
            )
        return report, kept
