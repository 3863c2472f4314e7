"""A run's folder: refused where it is somebody else's, written beside, put in place when all is done."""

import json
import pathlib
import shutil

from keras_distill._core.messages import expected

RESULTS = "results.json"
EXAMPLES = "examples.npz"
PREDICTIONS = "predictions.npz"
PRODUCER = "keras_distill run"
ENTRIES = ("logs", "plots", "student", "student.keras", "teacher.keras", EXAMPLES, PREDICTIONS, RESULTS)
# Written into a run's folder later, by `keras_distill.report`; they tell of these results and leave with them.
REPORTS = {"html": "report.html", "md": "report.md", "json": "report.json"}
REPORTER = "keras_distill report"
_PARTIAL = ".partial"
# How a page, a Markdown file and a JSON one name what wrote them, among their first characters.
_BEFORE_REPORTER = ('name="generator" content="', "<!-- ", '"producer": "')
_HEAD = 500


class RunFolder:
    """Gather a run's files in `<path>.partial`, so that an interrupted run leaves the results of the last one whole.

    Args:
        path: Folder of the run: new, empty, or of an earlier run.

    Raises:
        FileExistsError: If something else is there.

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

    def __init__(self, path):
        self.path = pathlib.Path(path).expanduser().resolve()
        self.partial = self.path.with_name(self.path.name + _PARTIAL)
        for folder in (self.path, self.partial):
            _check_ours(folder)

    def begin(self):
        """Make the folder that is written to; until then nothing is touched."""
        _clear(self.partial)
        self.partial.mkdir(parents=True, exist_ok=True)
        # The mark by which the next run knows that what is left of an interrupted one may go.
        self.write_results({})

    def __truediv__(self, name):
        """Return the path of an entry while the run goes on."""
        return self.partial / name

    def write_results(self, results):
        """Write `results.json`, marked as ours."""
        text = json.dumps({"producer": PRODUCER, **results}, indent=2)
        (self.partial / RESULTS).write_text(text + "\n", encoding="utf-8")

    def publish(self):
        """Put everything in place of the earlier run; what else users keep in that folder stays."""
        _clear(self.path)
        self.path.mkdir(exist_ok=True)
        for name in ENTRIES:
            if (self.partial / name).exists():
                (self.partial / name).rename(self.path / name)
        self.partial.rmdir()


def read_results(path):
    """Read the results of a run.

    Args:
        path: The run's folder.

    Returns:
        A dict: what `results.json` holds.

    Raises:
        FileNotFoundError: If there are no results.
        ValueError: If they are damaged, not ours, or those of a run that has not finished.
    """
    path = pathlib.Path(path).expanduser().resolve()
    results, reason = _read(path)
    if reason is None and (path.name.endswith(_PARTIAL) or set(results) == {"producer"}):
        reason = "a run that goes on or was interrupted"
    if reason is None:
        return results
    wanted = expected(f"the folder of a finished run, with its {RESULTS}", f"{path}, {reason}", _hint(path))
    raise (ValueError if (path / RESULTS).is_file() else FileNotFoundError)(wanted)


def is_report(path):
    """Say whether a file is a report that `keras_distill.report` wrote."""
    try:
        with open(path, encoding="utf-8") as file:
            head = file.read(_HEAD)
    except (OSError, ValueError):
        return False
    return any(before + REPORTER in head for before in _BEFORE_REPORTER)


def _check_ours(path):
    if path.is_dir() and (not any(path.iterdir()) or _read(path)[1] is None):
        return
    if path.exists():
        fix = "Choose another one with --out, or remove it."
        raise FileExistsError(
            expected("a folder that is new, empty, or of an earlier run", f"{path}, which is not", fix)
        )


def _read(path):
    """Return the results in a folder, and the reason, or None, for which they are not those of a run."""
    try:
        results = json.loads((path / RESULTS).read_text(encoding="utf-8"))
    except OSError as error:
        return None, f"where it cannot be read ({error.strerror or error})"
    except (ValueError, RecursionError) as error:
        return None, f"where it is damaged ({error})"
    if not isinstance(results, dict) or results.get("producer") != PRODUCER:
        return None, "where it is of another origin"
    return results, None


def _hint(path):
    beside = path.with_name(path.name + _PARTIAL)
    return f"{beside.name} beside it goes on or was interrupted." if beside.is_dir() else None


def _clear(path):
    for name in ENTRIES:
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
    for name in REPORTS.values():
        if is_report(path / name):
            (path / name).unlink()
