"""The one call: read a run, say what it found, and put the files in place when all of them are written."""

import dataclasses
import pathlib

from keras_distill._core.messages import expected, unknown_name
from keras_distill.recipes.folder import REPORTS, is_report
from keras_distill.report import page, reading, tables
from keras_distill.report.contents import contents


@dataclasses.dataclass(frozen=True)
class Report:
    """Hold what was written, and what it says; print it with rich for its table.

    Attributes:
        folder: Where the files are, a `pathlib.Path`.
        paths: A dict of format to `pathlib.Path`.
        content: What the JSON holds, a dict.
    """

    folder: pathlib.Path
    paths: dict
    content: dict

    def __rich__(self):
        from rich.console import Group
        from rich.text import Text

        content = self.content
        said = [content["verdict"], *content["left_out"], *map(str, self.paths.values())]
        return Group(tables.measured(content["models"]), *map(Text, said))


def write(run, directory=None, formats=tuple(REPORTS)):
    """Write what a run found as one page to look at, as Markdown, and as JSON for machines.

    The page is one HTML file with its figures and pictures in it; it loads nothing and runs nothing. It has the
    students beside their teacher in accuracy, fidelity, calibration and cost, over all seeds; accuracy against size
    and latency; learning curves and temperature; reliability diagrams; the samples on which student and teacher
    disagree most; the exported files; and what makes the run again. The same run gives the same bytes. In folders of
    runs that are older than their `predictions.npz`, the parts that need the models' answers are left out, and the
    report says so. The next run into the folder takes the reports of the last one away.

    Args:
        run: Folder of a run by `keras_distill.recipes.run` or `keras-distill run`, or what the former returned.
        directory: Folder to write to. Defaults to `None`, the run's own.
        formats: Which of `"html"`, `"md"` and `"json"` to write. Defaults to all.

    Returns:
        A `Report`, with the paths.

    Raises:
        ValueError: If a format is unknown, the run has not finished, or its files are damaged.
        FileNotFoundError: If there is no run.
        FileExistsError: If a file of another origin has the name of a report.
        OSError: If `directory` cannot be written.
        ImportError: If matplotlib or Jinja2 is missing.

    Example:

    >>> write("runs/none")
    Traceback (most recent call last):
    FileNotFoundError: Expected the folder of a finished run, with its results.json. Received: ...runs/none, where ...
    """
    formats = _checked(formats)
    page.require(formats)
    run = reading.read(getattr(run, "folder", run))
    folder = run.folder if directory is None else pathlib.Path(directory).expanduser().resolve()
    paths = {name: folder / REPORTS[name] for name in formats}
    _check_ours(paths.values())
    content = contents(run)
    _put({path: page.WRITERS[name](content, run) for name, path in paths.items()}, folder)
    return Report(folder, paths, content)


def _checked(formats):
    formats = (formats,) if isinstance(formats, str) else tuple(dict.fromkeys(formats))
    for name in formats:
        if name not in REPORTS:
            raise ValueError(unknown_name("format", name, REPORTS))
    if not formats:
        raise ValueError(expected(f"one or more formats of {', '.join(REPORTS)}", "none"))
    return formats


def _check_ours(paths):
    for path in paths:
        if path.exists() and not is_report(path):
            fix = "Move it elsewhere, or choose another `directory`."
            raise FileExistsError(
                expected(f"{path.name} to be new, or an earlier report", f"{path}, which is not", fix)
            )


def _put(texts, folder):
    """Write every file beside its place, and only when all are written move them there."""
    beside = {path: path.with_name(f".{path.name}.partial") for path in texts}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for path, text in texts.items():
            beside[path].write_text(text, encoding="utf-8", errors="replace", newline="\n")
        for path in texts:
            beside[path].replace(path)
    except OSError as error:
        fix = "Choose another `directory`."
        raise OSError(expected(f"{folder} to be a folder that can be written", f"{error}", fix)) from error
    finally:
        for path in beside.values():
            if path.exists():
                path.unlink()
