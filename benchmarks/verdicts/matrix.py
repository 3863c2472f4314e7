"""Whether verification is right: small students of every kind in every format, judged by a checker of its own.

Command     python -m benchmarks.verdicts.matrix                (--only NAME for one student, --list for their names)
Cost        20 minutes of processor time
Expected    "0 wrong files passed, 0 right files refused", and exit code 0; 1 otherwise
Needs       pip install -e ".[test]"

Each student is exported to all formats. Every file is kept, also a refused one, and run once more by `checker`, which
shares no code with the package. It calls a file right, wrong or between, with margins so wide that people would agree;
files between are counted and not judged. A file that is not what its format promises, such as one of int8 that computes
in floating point, is refused for that, whatever it answers.
"""

import argparse
import collections
import concurrent.futures
import json
import multiprocessing
import pathlib
import re
import sys
import tempfile
import time

from benchmarks.verdicts import checker

MARKS = {
    ("passed", "right"): "+",
    ("passed", "between"): "~",
    ("passed", "wrong"): "WRONG",
    ("refused", "wrong"): "w",
    ("refused", "between"): "?",
    ("refused", "right"): "REFUSED",
    ("refused", "another kind"): "k",
    ("refused", "not run"): "x",
    ("passed", "not run"): "NOT RUN",
    ("not written", ""): ".",
}
"""What became of a file and what the checker calls it -> how the table shows it."""
RAW = re.compile(r"loc\(|error:|Error:|Traceback|0x[0-9a-f]{6}|mlir|tfl\.|StatefulPartitionedCall|No module named")
SECONDS = 60


class Judge:
    """Runs files in a process of its own, since a damaged one may crash it."""

    def __init__(self):
        self._pool = None

    def run(self, path, inputs):
        """Return what a file answers; raise an exception if it cannot be run."""
        if self._pool is None:
            context = multiprocessing.get_context("spawn")
            self._pool = concurrent.futures.ProcessPoolExecutor(1, context)
        try:
            return self._pool.submit(checker.run, path, inputs).result(SECONDS)
        except concurrent.futures.process.BrokenProcessPool:
            self._pool = None
            raise

    def close(self):
        """End the process."""
        if self._pool is not None:
            self._pool.shutdown(wait=False, cancel_futures=True)


def judge(case, kept, name, judge_):
    """Return the checker's word on a kept file, and why."""
    from benchmarks.verdicts.making import EVALUATION

    inputs = {key: array[EVALUATION] for key, array in case.inputs.items()}
    beyond = checker.probe(inputs)
    try:
        found = judge_.run(kept.path, inputs)
        probed = (case.answer(beyond), judge_.run(kept.path, beyond)) if beyond else None
    except Exception as error:
        return "not run", f"{type(error).__name__}: {error}"[:300]
    verdict = checker.judge(case.answer(inputs), found, case.kinds, name, probed)
    return verdict.word, verdict.why


def examine(name, place, judge_, formats=None):
    """Export one student; return a dict of format to `outcome`, `word`, `why` and `status`."""
    from benchmarks.verdicts.making import CALIBRATION, EVALUATION
    from benchmarks.verdicts.students import make

    case = make(name)
    report, kept = place.export(case, name, formats, (CALIBRATION, EVALUATION))
    cells = {}
    for row in report:
        if row.format not in kept:
            cells[row.format] = {"outcome": "not written", "word": "", "why": "", "status": row.status}
            continue
        word, why = judge(case, kept[row.format], row.format, judge_)
        excuse = "" if row.passed else checker.find_excuse(kept[row.format].path, row.format)
        outcome = "passed" if row.passed else "refused"
        word, why = ("another kind", excuse) if excuse and word != "wrong" else (word, why)
        cells[row.format] = {"outcome": outcome, "word": word, "why": why, "status": row.status}
    return cells


def mark(cell):
    """Return how the table shows a cell."""
    return MARKS[cell["outcome"], cell["word"]]


def count(rows):
    """Return how often each mark occurs."""
    return dict(collections.Counter(mark(cell) for cells in rows.values() for cell in cells.values()).most_common())


def describe(rows):
    """Return lines: the marks of all cells, and then each cell that a person should look at."""
    lines = [f"{name:28} {' '.join(f'{mark(cell):>2}' for cell in cells.values())}" for name, cells in rows.items()]
    for name, cells in rows.items():
        for format, cell in cells.items():
            shown = mark(cell)
            raw = cell["outcome"] != "passed" and RAW.search(cell["status"])
            if len(shown) > 1 or raw or shown in "?x":
                lines.append(f"{shown:8} {name}, {format}: {cell['why']} | {cell['status']}{' [RAW]' if raw else ''}")
    return lines


def main(arguments=None):
    """Examine the students; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names of students, separated by commas")
    parser.add_argument("--formats", help="names of formats, separated by commas")
    parser.add_argument("--list", action="store_true", help="list the students")
    parser.add_argument("--from", dest="start", type=int, default=1, help="number of the first student, from 1")
    parser.add_argument("--out", help="JSON file to write the cells to; those of other students in it stay")
    options = parser.parse_args(arguments)
    from benchmarks.verdicts.exporting import Workplace
    from benchmarks.verdicts.students import STUDENTS

    names = [name for name in list(STUDENTS)[options.start - 1 :] if name in (options.only or name).split(",")]
    if options.list or not names:
        print("\n".join(STUDENTS))
        return 0 if options.list else 2
    out = pathlib.Path(options.out) if options.out else None
    before = json.loads(out.read_text(encoding="utf-8")) if out and out.exists() else {}
    rows, judge_ = {}, Judge()
    with tempfile.TemporaryDirectory() as home:
        place = Workplace(home)
        for name in names:
            begun = time.perf_counter()
            rows[name] = examine(name, place, judge_, options.formats and tuple(options.formats.split(",")))
            print(f"{name}: {count({name: rows[name]})} in {time.perf_counter() - begun:.0f} s", flush=True)
            if out:
                out.write_text(json.dumps(before | rows, indent=1) + "\n", encoding="utf-8")
        place.close()
    judge_.close()
    counts = count(rows)
    print(*describe(rows), counts, sep="\n")
    wrong, refused = counts.get("WRONG", 0), counts.get("REFUSED", 0)
    print(f"{wrong} wrong files passed, {refused} right files refused")
    return 1 if wrong or refused else 0


if __name__ == "__main__":
    sys.exit(main())
