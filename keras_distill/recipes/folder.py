"""A run's folder: refused where it is somebody else's, written beside, put in place when all is done."""

import json
import pathlib
import shutil

from keras_distill._messages import expected

RESULTS = "results.json"
EXAMPLES = "examples.npz"
PRODUCER = "keras_distill run"
ENTRIES = ("logs", "plots", "student", "student.keras", "teacher.keras", EXAMPLES, RESULTS)


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
        self.partial = self.path.with_name(f"{self.path.name}.partial")
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
        FileNotFoundError: If there are no results of ours.
    """
    results = _results(pathlib.Path(path))
    if results is None:
        raise FileNotFoundError(expected(f"the folder of a run, with its {RESULTS}", str(path)))
    return results


def _check_ours(path):
    if path.is_dir() and (not any(path.iterdir()) or _results(path) is not None):
        return
    if path.exists():
        fix = "Choose another one with --out, or remove it."
        raise FileExistsError(
            expected("a folder that is new, empty, or of an earlier run", f"{path}, which is not", fix)
        )


def _results(path):
    try:
        results = json.loads((path / RESULTS).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return results if isinstance(results, dict) and results.get("producer") == PRODUCER else None


def _clear(path):
    for name in ENTRIES:
        entry = path / name
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        else:
            entry.unlink(missing_ok=True)
