"""Writing a report: read a run, write all files of its report, then move them into place."""

import dataclasses
import os
import pathlib
from collections.abc import Iterable
from typing import Any

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_items
from keras_distill._core.deprecation import renamed_arguments
from keras_distill._core.messages import expected
from keras_distill.recipes import RunResult
from keras_distill.recipes.folder import REPORTS, is_report
from keras_distill.recipes.tables import new_table
from keras_distill.report import page, reading
from keras_distill.report.contents import contents
from keras_distill.report.measures import MEASURES


@dataclasses.dataclass(frozen=True)
class Report:
    """Hold the paths and the content of a report; print it with rich for its table.

    Attributes:
        folder: Folder of the files, a `pathlib.Path`.
        paths: Dict of format to `pathlib.Path`.
        content: Content of the JSON, a dict.
    """

    folder: pathlib.Path
    paths: dict[str, pathlib.Path]
    content: dict[str, Any]

    def __rich__(self) -> Any:
        from rich.console import Group
        from rich.text import Text

        table = new_table("Teacher and students on the test split")
        table.add_column("measure")
        for name in ("teacher", "student alone", "student distilled", "better"):
            table.add_column(name, justify="right")
        for measure in MEASURES:
            cells = (measure.write(model[measure.name]) for model in self.content["models"].values())
            table.add_row(measure.heading, *cells, measure.better)
        lines = [self.content["verdict"], *self.content["left_out"], *map(str, self.paths.values())]
        return Group(table, *map(Text, lines))


@renamed_arguments(out="directory")
@checked(formats=Any)
def write(
    run: str | os.PathLike | RunResult,
    directory: str | os.PathLike | None = None,
    formats: str | Iterable[str] = tuple(REPORTS),
) -> Report:
    """Write a report on a run: one page to look at, Markdown, and JSON for other programs.

    The page is one HTML file that contains its figures and pictures; it loads nothing and runs nothing. It compares
    the students with their teacher in accuracy, fidelity, calibration and cost, over all seeds. It shows accuracy
    against size and latency, learning curves and temperature, reliability diagrams, the samples on which student and
    teacher disagree most, the exported files, and the command that repeats the run. The same run gives the same bytes.
    For runs that are older than `predictions.npz`, the report leaves out the parts that need the models' outputs, and
    says so. The next run into a folder removes the reports of the last one.

    Args:
        run: Folder of a run by `keras_distill.recipes.run` or `keras-distill run`, or the result of the former.
        directory: Folder to write to. Defaults to `None`, the run's own folder.
        formats: Which of `"html"`, `"md"` and `"json"` to write. Defaults to all.

    Returns:
        A `Report`, with the paths.

    Raises:
        ValueError: If a format is unknown, the run has not finished, or its files are damaged.
        FileNotFoundError: If the folder holds no run.
        FileExistsError: If a file that is not a report has the name of one.
        OSError: If `directory` cannot be written.
        ImportError: If matplotlib or Jinja2 is missing.

    Example:

    >>> write("runs/none")
    Traceback (most recent call last):
    FileNotFoundError: Expected the folder of a finished run, with its results.json. Received: ...runs/none, where ...
    """
    names = _check_formats(formats)
    page.require(names)
    held = reading.read(run.folder if isinstance(run, RunResult) else run)
    folder = held.folder if directory is None else pathlib.Path(directory).expanduser().resolve()
    paths = {name: folder / REPORTS[name] for name in names}
    _check_ours(paths.values())
    content = contents(held)
    _put_in_place({path: page.WRITERS[name](content, held) for name, path in paths.items()}, folder)
    return Report(folder, paths, content)


def _check_formats(formats: str | Iterable[str]) -> list[str]:
    names = [formats] if isinstance(formats, str) else check_items("formats", formats, "a list of names")
    if not names:
        raise ValueError(expected(f"one or more formats of {', '.join(REPORTS)}", f"formats={formats!r}"))
    return [check_choice("format", name, REPORTS) for name in names]


def _check_ours(paths: Iterable[pathlib.Path]) -> None:
    for path in paths:
        if path.exists() and not is_report(path):
            fix = "Move it elsewhere, or choose another `directory`."
            raise FileExistsError(
                expected(f"{path.name} to be new, or an earlier report", f"{path}, which is not", fix)
            )


def _put_in_place(texts: dict[pathlib.Path, str], folder: pathlib.Path) -> None:
    """Write every file beside its place, and move them once all are written."""
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
