"""How many damaged files verification catches: right files with one fault each, chosen by a seed.

Command     python -m benchmarks.verdicts.mutations            (--count 200, --seed 0)
Cost        3 minutes of processor time
Expected    every file that changes a class's recall, or a unit's mean by more than 10 % of its range, is caught, and
            exit code 0; 1 otherwise
Needs       pip install -e ".[test]"

Students are exported, and the files that passed and that `checker` calls right get one fault each, by `editing`. The
effect of a fault is the largest share of samples that a class, or a label's yes or no, with ten samples or more loses,
or the largest change of a unit's mean as a share of its range, both by `checker`. Labels are text beside the model: no
answer depends on them, so verification compares them with the given ones.
"""

import argparse
import json
import pathlib
import sys
import tempfile

import numpy as np

from benchmarks.verdicts import checker
from benchmarks.verdicts.editing import FAULTS
from keras_distill.export.tflite import flatbuffer, metadata

LABELS = "two labels swapped"
KINDS = (*FAULTS, LABELS)
STUDENTS = ("small_cnn", "several_labels", "units_of_one_scale", "two_outputs", "segmentation")
FORMATS = ("tflite", "tflite_float16", "tflite_int8", "tflite_int8_float_io", "tflite_int16x8", "tflite_weights_int8")
LARGE = 0.1
TRIES = 50


def list_right(place, students=STUDENTS, formats=FORMATS):
    """Export students; return `(case, kept)` for the files that passed and that the checker calls right."""
    from benchmarks.verdicts.making import CALIBRATION, EVALUATION
    from benchmarks.verdicts.students import make

    found = []
    for name in students:
        case = make(name)
        answers = case.answer({key: array[:1] for key, array in case.inputs.items()})
        labels = [f"{name} {unit}" for unit in range(next(iter(answers.values())).shape[-1])]
        settings = {"labels": labels} if len(case.kinds) == 1 else {}
        report, kept = place.export(case, name, formats, (CALIBRATION, EVALUATION), **settings)
        for format in (row.format for row in report if row.passed):
            if checker.judge(*_run(case, kept[format].path, checker.run), case.kinds, format).word == "right":
                found.append((case, kept[format]))
    return found


def damage(files, kind, rng, path):
    """Write a copy with a fault of one of the files; return its `(case, kept)`.

    Raises:
        LookupError: If none of the files tried has a place for such a fault.
    """
    for _ in range(TRIES):
        case, kept = files[rng.integers(len(files))]
        if kind == LABELS:
            if kept.names and _swap_labels(kept.path, path, rng):
                return case, kept
            continue
        model = flatbuffer.parse(kept.path.read_bytes())
        before = flatbuffer.serialize(model)
        numbers = not set(checker.MEASURED).isdisjoint(case.kinds.values())
        if FAULTS[kind](model, rng, numbers) is not False and flatbuffer.serialize(model) != before:
            path.write_bytes(flatbuffer.serialize(model))
            metadata.attach(path, *metadata.read(kept.path))
            return case, kept
    raise LookupError(f"Expected a file with a place for {kind}. Received: {len(files)} files without one.")


def measure(case, path, run=checker.run):
    """Return the effect of a fault, from 0; infinite if the file cannot be run or is not finite."""
    try:
        wanted, found = _run(case, path, run)
    except Exception:
        return np.inf
    effects = []
    for output, answers in wanted.items():
        theirs = found[output] if len(wanted) > 1 else next(iter(found.values()))
        if not np.isfinite(theirs).all():
            return np.inf
        groups = checker.count_decisions(answers.astype(np.float64), theirs, case.kinds[output])
        units = checker.measure_units(answers.astype(np.float64), theirs)
        effects += [1 - recall for _, support, recall in groups if support >= checker.SUPPORT]
        effects.append((units["shift"] / np.maximum(units["range"], 1e-12)).max())
    return float(max(effects))


def examine(files, kind, seed, work, run=checker.run):
    """Damage a file and verify it; return a dict of `kind`, `format`, `effect` and `complaints`."""
    path = work / "damaged.tflite"
    case, kept = damage(files, kind, np.random.default_rng(seed), path)
    effect = 1.0 if kind == LABELS else measure(case, path, run)
    complaints = kept.complain(path, work)
    return {"kind": kind, "format": kept.entry.name, "effect": effect, "complaints": complaints}


def summarize(rows):
    """Return a table: for each kind of fault the number of files, of large effects, and how many were caught."""
    lines = ["| fault | files | caught | effect above 10 % | caught of these |", "|---|---|---|---|---|"]
    for kind in (*KINDS, "all"):
        mine = [row for row in rows if kind in (row["kind"], "all")]
        large = [row for row in mine if row["effect"] > LARGE]
        caught, caught_large = (sum(bool(row["complaints"]) for row in each) for each in (mine, large))
        share = f"{100 * caught / max(len(mine), 1):.0f} %"
        lines.append(f"| {kind} | {len(mine)} | {share} | {len(large)} | {caught_large} |")
    return lines


def main(arguments=None):
    """Damage files and verify them; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=200, help="number of damaged files")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", help="JSON file to write the outcome to")
    options = parser.parse_args(arguments)
    from benchmarks.verdicts.exporting import Workplace
    from benchmarks.verdicts.matrix import Judge

    judge, rows = Judge(), []
    with tempfile.TemporaryDirectory() as home:
        place = Workplace(home)
        files = list_right(place)
        print(f"{len(files)} right files", flush=True)
        with place.patched():
            for number in range(options.count):
                kind = KINDS[number % len(KINDS)]
                rows.append(examine(files, kind, (options.seed, number), pathlib.Path(home), judge.run))
        place.close()
    judge.close()
    print(*summarize(rows), sep="\n")
    missed = [row for row in rows if row["effect"] > LARGE and not row["complaints"]]
    print(*(f"MISSED {row}" for row in missed), sep="\n")
    if options.out:
        pathlib.Path(options.out).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    return 1 if missed else 0


def _run(case, path, run):
    from benchmarks.verdicts.making import EVALUATION

    inputs = {key: array[EVALUATION] for key, array in case.inputs.items()}
    return case.answer(inputs), run(path, inputs)


def _swap_labels(source, path, rng):
    """Write a copy of a file in which two labels are swapped; return whether it has two."""
    content, _ = metadata.read(source)
    labels = content["outputs"][0]["labels"]
    if not labels or len(labels) < 2:
        return False
    one, other = rng.choice(len(labels), 2, replace=False)
    labels[one], labels[other] = labels[other], labels[one]
    path.write_bytes(source.read_bytes())
    metadata.attach(path, content)
    return True


if __name__ == "__main__":
    sys.exit(main())
