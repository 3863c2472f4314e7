"""The folder of a run: it is written beside its place and moved there once the run is complete."""

import json
import os
import pathlib
import shutil
from collections.abc import Mapping
from typing import Any

from keras_distill._core.messages import expected

RESULTS = "results.json"
EXAMPLES = "examples.npz"
PREDICTIONS = "predictions.npz"
PRODUCER = "keras_distill run"
ENTRIES = ("logs", "plots", "student", "student.keras", "teacher.keras", EXAMPLES, PREDICTIONS, RESULTS)
# `keras_distill.report` adds these to a run's folder later; they describe these results and are removed with them.
REPORTS = {"html": "report.html", "md": "report.md", "json": "report.json"}
REPORTER = "keras_distill report"
_PARTIAL = ".partial"
# How the head of an HTML, a Markdown and a JSON report names its producer.
_BEFORE_REPORTER = ('name="generator" content="', "<!-- ", '"producer": "')
_HEAD = 500


class RunFolder:
    """Collect a run's files in `<path>.partial`, so that an interrupted run keeps the earlier results intact.

    Args:
        path: Folder of the run: new, empty, or of an earlier run.

    Raises:
        FileExistsError: If the folder exists and holds anything else.

    Example:

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as home:
    ...     folder = RunFolder(f"{home}/digits")
    ...     folder.begin()
    ...     folder.write_results({"seeds": [0]})
    ...     folder.publish()
    ...     [entry.name for entry in folder.path.iterdir()]
    ['results.json']
    """

    def __init__(self, path: str | os.PathLike) -> None:
        self.path = pathlib.Path(path).expanduser().resolve()
        self.partial = self.path.with_name(self.path.name + _PARTIAL)
        for folder in (self.path, self.partial):
            _check_ours(folder)

    def begin(self) -> None:
        """Create the partial folder; nothing is changed before."""
        _clear(self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        # Marks the folder as ours, so that the next run may remove what an interrupted run left.
        self.write_results({})

    def __truediv__(self, name: str) -> pathlib.Path:
        """Return the path of an entry during the run."""
        return self.partial / name

    def write_results(self, results: Mapping[str, Any]) -> None:
        """Write `results.json`, with the name of its producer."""
        text = json.dumps({"producer": PRODUCER, **results}, indent=2)
        (self.partial / RESULTS).write_text(text + "\n", encoding="utf-8")

    def publish(self) -> None:
        """Replace the files of the earlier run; other files that users keep in the folder stay."""
        _clear(self.path)
        self.path.mkdir(exist_ok=True)
        for name in ENTRIES:
            if (self.partial / name).exists():
                (self.partial / name).rename(self.path / name)
        self.partial.rmdir()


def read_results(path: str | os.PathLike) -> dict[str, Any]:
    """Read `results.json` from the folder of a run.

    Args:
        path: The run's folder.

    Returns:
        The content of `results.json`, a dict.

    Raises:
        FileNotFoundError: If the folder has no results.
        ValueError: If the results are damaged, have another producer, or belong to an unfinished run.
    """
    path = pathlib.Path(path).expanduser().resolve()
    results, reason = _read(path)
    if reason is None and (path.name.endswith(_PARTIAL) or set(results) == {"producer"}):
        reason = "a run that is still running or was interrupted"
    if reason is None:
        return results
    wanted = expected(f"the folder of a finished run, with its {RESULTS}", f"{path}, {reason}", _hint(path))
    raise (ValueError if (path / RESULTS).is_file() else FileNotFoundError)(wanted)


def is_report(path: str | os.PathLike) -> bool:
    """Return whether `keras_distill.report` wrote a file."""
    try:
        with open(path, encoding="utf-8") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    return any(before + REPORTER in head for before in _BEFORE_REPORTER)


def _check_ours(path: pathlib.Path) -> None:
    if path.is_dir() and (not any(path.iterdir()) or _read(path)[1] is None):
        return
    if path.exists():
        fix = "Choose another directory, or remove it."
        raise FileExistsError(
            expected("a folder that is new, empty, or of an earlier run", f"{path}, which is not", fix)
        )


def _read(path: pathlib.Path) -> tuple[dict[str, Any], str | None]:
    """Return the results in a folder, and why they are not those of a run, or `None`."""
    try:
        results = json.loads((path / RESULTS).read_text(encoding="utf-8"))
    except OSError as error:
        return {}, f"where it cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError) as error:
        return {}, f"where it is damaged ({error})"
    if not isinstance(results, dict) or results.get("producer") != PRODUCER:
        return {}, "where it is of another origin"
    return results, None


def _hint(path: pathlib.Path) -> str | None:
    beside = path.with_name(path.name + _PARTIAL)
    return f"{beside.name} beside it is still running or was interrupted." if beside.is_dir() else None


def _clear(path: pathlib.Path) -> None:
    for name in ENTRIES:
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    for name in REPORTS.values():
        if is_report(path / name):
            (path / name).unlink()
