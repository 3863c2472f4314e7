"""Evaluate all trained nets once on the test split, and compare with the published figures."""

import dataclasses
import statistics

import numpy as np

from benchmarks.hinton2015 import choices, limit
from benchmarks.hinton2015.offsets import shifted
from benchmarks.hinton2015.settings import DIGITS
from benchmarks.hinton2015.stages import TEACHER, folder_of, kept_model, kept_record
from benchmarks.hinton2015.training import logits_of

CORRECTED = ", bias corrected"
# Errors of 10,000, and those on digits that the transfer set has none of, where the paper has them.
PUBLISHED = {
    TEACHER: (67, None),
    "hard labels": (146, None),
    "soft targets": (74, None),
    "no 3": (206, 133),
    f"no 3{CORRECTED}": (109, 14),
    "7 and 8": (4730, None),
    f"7 and 8{CORRECTED}": (1320, None),
}


def measure(data, settings, work, seeds):
    """Read the test split with every net that is kept.

    Args:
        data: A `kd.data.Data`.
        settings: A `settings.Settings`.
        work: Folder of what is kept.
        seeds: Seeds to read.

    Returns:
        A dict for the JSON file: settings, rows, choices and the limit of high temperatures.
    """
    found, students = {}, settings.students()
    for seed in seeds:
        folder = folder_of(work, seed)
        for name in (TEACHER, *students):
            if (record := kept_record(folder, name)) is not None:
                for row, facts in _read(name, students.get(name), record, kept_model(folder, name), data.test):
                    found.setdefault(row, []).append({"seed": seed, **facts})
    rows = {name: _row(name, found[name]) for name in _order(found)}
    return {
        "settings": dataclasses.asdict(settings),
        "seeds": list(seeds),
        "rows": rows,
        "choices": choices.kept(work),
        "limit": of_limit(data, work, seeds[0]),
    }


def of_limit(data, work, seed, plot=None):
    """Compare gradients and differences of logits on validation digits, of the teacher and a student without it.

    Args:
        data: A `kd.data.Data`.
        work: Folder of what is kept.
        seed: Seed of the two nets.
        plot: Path of an SVG to draw. Defaults to `None`.

    Returns:
        What `limit.compare` returns, `None` while one of the nets is missing.
    """
    folder, names = folder_of(work, seed), (TEACHER, "hard labels")
    if any(kept_record(folder, name) is None for name in names):
        return None
    teacher, student = (logits_of(kept_model(folder, name), data.validation[0]) for name in names)
    rows = limit.compare(teacher, student)
    if plot is not None:
        limit.draw(teacher, student, rows, plot)
    return rows


def _read(name, student, record, model, test):
    """Yield the rows of one net: as it is, and with its bias corrected where that was searched for."""
    logits, y = logits_of(model, test[0]), test[1]
    missing = () if student is None else sorted(set(DIGITS) - set(student.digits))
    facts = {"seconds": record["seconds"]}
    yield name, {**_errors(logits, y, missing), **facts}
    if student is not None and student.corrected:
        moved = shifted(logits, student.corrected, record["offset"])
        facts = {"offset": record["offset"], "validation": record["validation"]}
        yield name + CORRECTED, {**_errors(moved, y, missing), **facts}


def _errors(logits, y, missing):
    wrong = np.argmax(logits, -1) != y
    found = {"errors": int(wrong.sum())}
    return {**found, "errors_on_missing": int((wrong & np.isin(y, missing)).sum())} if missing else found


def _row(name, found):
    row = {key: [facts[key] for facts in found] for key in found[0]}
    published, on_missing = PUBLISHED.get(name, (None, None))
    row |= {"mean": statistics.mean(row["errors"]), "sd": _deviation(row["errors"]), "published": published}
    if "errors_on_missing" in row:
        row |= {"mean_on_missing": statistics.mean(row["errors_on_missing"]), "published_on_missing": on_missing}
    return row


def _deviation(values):
    return statistics.stdev(values) if len(values) > 1 else None


def _order(found):
    """Return the names of the rows, the published ones first and in their order."""
    return [*(name for name in PUBLISHED if name in found), *(name for name in found if name not in PUBLISHED)]
