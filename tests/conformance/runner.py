"""Run the losses on the vectors of a folder."""

import numpy as np

from tests.conformance.cases import TOLERANCES, Case, check_case
from tests.conformance.handlers import HANDLERS


def check_folder(folder, report):
    """Check every case of every file, and report the results.

    Args:
        folder: Path of a folder of `<method>.npz` files.
        report: Function that receives each line of the report.

    Returns:
        Whether the folder has cases, and all of them are known and pass.
    """
    files = sorted(path for path in folder.iterdir() if path.suffix == ".npz")
    passed = total = 0
    for path in files:
        results = _results(path)
        good = {
            dtype: sum(not misses for (_, each), misses in results.items() if each == dtype) for dtype in TOLERANCES
        }
        cases = len(results) // len(TOLERANCES)
        report(f"{path.stem:18}" + "".join(f"  {dtype} {good[dtype]:3}/{cases}" for dtype in TOLERANCES))
        for (case, dtype), misses in results.items():
            for miss in misses:
                report(f"    {case} in {dtype}: {miss}")
        passed, total = passed + sum(good.values()), total + max(len(results), 1)
    report(f"{passed} of {total} passed, {len(files)} files")
    return 0 < passed == total


def _results(path):
    try:
        return check_file(path)
    except Exception as error:  # A file of another form must not hide the results of the others.
        return {("the file", dtype): [f"{type(error).__name__}: {error}"] for dtype in TOLERANCES}


def check_file(path):
    """Return the failures of each `(case, dtype)` of a file, lists of sentences."""
    with np.load(path) as stored:
        arrays = {key: stored[key] for key in stored.files}
    handler = HANDLERS.get(path.stem)
    results = {}
    for name in map(str, arrays["cases"]):
        prefix = f"{name}/"
        own = {key.removeprefix(prefix): array for key, array in arrays.items() if key.startswith(prefix)}
        for dtype in TOLERANCES:
            results[name, dtype] = _check(handler, Case(name, own, dtype))
    return results


def _check(handler, case):
    if handler is None:
        return ["no handler for this method"]
    try:
        return check_case(handler(case), case)
    except Exception as error:  # A case that raises an error must not hide the results of the others.
        return [f"{type(error).__name__}: {error}"]
