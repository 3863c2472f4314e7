"""Check that the tests notice errors: break the code on purpose, one place at a time, and see the tests fail.

Command     python -m benchmarks.broken                 (--only NAME for one break or one room, --list for their names)
Cost        15 minutes on 2 cores; less than half a minute for most breaks
Expected    "noticed" in every row, and exit code 0; 1 if a break survives or no longer applies
Needs       pip install -e ".[test]"

The checkout is copied to a temporary folder, and the tests that should notice run there, first on the unbroken code,
then with each break in turn. A break replaces one short piece of code, which must occur exactly once in the package, in
any file; tests are found by the name of their file, in any folder. So nothing has to change here when files move. When
code is rewritten and a piece is gone, define the break for the code that replaced it.
"""

import argparse
import dataclasses
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).parents[1]
PACKAGE = "keras_distill"
COPIED = (PACKAGE, "tests", "benchmarks", "saved_models", "setup.cfg", "pyproject.toml", "README.md", "docs")
FAILED = 1
"""Exit code of pytest where it ran and a test failed; others say that it could not run at all."""
SECONDS = 300


@dataclasses.dataclass(frozen=True)
class Break:
    """A fault to put into the code.

    Attributes:
        room: Room of the package that it is about.
        name: What is wrong then.
        code: Code that occurs once in the package.
        broken: What is put in its place.
        tests: Names of files of tests, separated by spaces.
        matching: Which of their tests, an expression for pytest's `-k`. Defaults to all.
        backend: Keras backend to run them on. Defaults to `"tensorflow"`.
    """

    room: str
    name: str
    code: str
    broken: str
    tests: str
    matching: str = ""
    backend: str = "tensorflow"


BREAKS = (
    Break(
        "losses",
        "the reverse KL divergence is the forward one",
        "mixture_divergence(q, p, -log_ratio, 1.0)",
        "mixture_divergence(p, q, log_ratio, 1.0)",
        "test_divergences.py test_skewed.py",
    ),
    Break(
        "losses",
        "the factor of the squared temperature is left out",
        "values * ops.square(ops.cast(temperature, values.dtype)) if",
        "values if",
        "test_logits_distillation.py",
    ),
    Break(
        "losses",
        "probabilities are clipped",
        "return exponentials / total, total",
        "return ops.clip(exponentials / total, 1e-7, 1.0), total",
        "test_divergences.py test_logits_distillation.py",
    ),
    Break(
        "losses",
        "the gradient of the KL divergence is half of what it is",
        "upstream, -1) / temperature",
        "upstream, -1) / (2.0 * temperature)",
        "test_logits_distillation.py",
    ),
    Break(
        "losses",
        "samples without a label count as the first class",
        "(mask_of(values), self.labelled)",
        "(mask_of(values), None)",
        "test_hard_labels.py test_unlabelled.py",
    ),
    Break(
        "losses",
        "both parts of decoupled distillation weigh alike",
        "+ beta * non_target_class_divergence",
        "+ alpha * non_target_class_divergence",
        "test_decoupled.py",
    ),
    Break(
        "distiller",
        "the teacher runs in training mode",
        "model(inputs, training=training)",
        "model(inputs, training=training or not model.trainable)",
        "test_fit.py",
        "inference_mode or the_teacher_never_changes",
    ),
    Break(
        "distiller",
        "hard labels and soft targets have each other's weight",
        "weight * hard + (1.0 - weight) * distillation",
        "(1.0 - weight) * hard + weight * distillation",
        "test_objective_values.py",
    ),
    Break(
        "distiller",
        "losses never hear of the temperature of the step",
        'given["temperature"] = ops.convert_to_tensor(temperature)',
        'given["temperature"] = ops.ones(())',
        "test_objective_values.py test_temperature_scheduler.py",
    ),
    Break(
        "distiller",
        "the weights of the teacher are not loaded",
        "self.teacher.load_weights(path)",
        "pass",
        "test_saving.py",
        "goes_on_where_it_stopped",
    ),
    Break(
        "distiller",
        "dropout does not go on where it stopped",
        "seed.assign(store[name])",
        "pass",
        "test_files_of_0_1.py",
        "answers_as_it_did and scheduled",
    ),
    Break(
        "distiller",
        "on JAX a batch that does not pass its checks leaves its trace",
        "ops.where(passed, new, old)",
        "new",
        "jax/test_training.py",
        "no_trace",
        backend="jax",
    ),
    Break(
        "schedules",
        "the cosine turns back half-way",
        "math.cos(math.pi * fraction)",
        "math.cos(2.0 * math.pi * fraction)",
        "test_schedules.py",
    ),
    Break(
        "schedules",
        "pieces do not count from their beginning",
        "pieces[index](position - boundaries[index - 1] if index else position)",
        "pieces[index](position)",
        "test_schedules.py",
    ),
    Break(
        "callbacks",
        "a schedule is one position behind",
        "position = int(count.numpy())",
        "position = max(int(count.numpy()) - 1, 0)",
        "test_temperature_scheduler.py test_weight_scheduler.py",
    ),
    Break(
        "callbacks",
        "the momentum teacher forgets instead of keeping",
        "1.0 - momentum, wide_dtype",
        "momentum, wide_dtype",
        "test_momentum_teacher.py",
    ),
    Break(
        "features",
        "features before the activation are those after it",
        'self._before = "activation"',
        "self._before = None",
        "test_feature_extractor.py",
    ),
    Break(
        "features",
        "a convolution that halves a map pads nothing",
        "if self.stride == 2 else (0, 0)",
        "if self.stride == 3 else (0, 0)",
        "test_adapters.py",
    ),
    Break(
        "targets",
        "answers are joined by position, whatever the example",
        "self._store.keys[positions] != ",
        "0 * self._store.keys[positions] != 0 * ",
        "test_join.py",
    ),
    Break(
        "targets",
        "a writer that goes on does not look whether the data set changed",
        "if found.shape != stored.shape or (found != stored).any():",
        "if found.shape != stored.shape:",
        "test_resume.py",
        "changed",
    ),
    Break(
        "targets",
        "the hash of an example leaves out its shape",
        "digest.update(head + str(example.shape).encode())",
        "digest.update(head)",
        "test_keys.py",
    ),
    Break(
        "answers",
        "the rest of a student's classes is not tempered",
        "log_sum_of_others(student / temperature, indices)",
        "log_sum_of_others(student, indices)",
        "test_top_k.py",
    ),
    Break(
        "teachers",
        "the mean of probabilities is the geometric one",
        '"probabilities": mean_of_probabilities',
        '"probabilities": geometric_mean',
        "test_ensemble.py",
    ),
    Break(
        "teachers",
        "merged classes forget the temperature",
        "tops + temperature * ops.log(sums)",
        "tops + ops.log(sums)",
        "test_class_map.py",
    ),
    Break(
        "teachers",
        "what the teacher is unsure of is trusted",
        "confidence >= min_confidence",
        "confidence < min_confidence",
        "test_trust.py",
    ),
    Break(
        "data",
        "samples without a label get the first class",
        "tf.constant(-1, labels.dtype)",
        "tf.constant(0, labels.dtype)",
        "test_mixing.py",
    ),
    Break(
        "data",
        "the validation split of the digits is that of the test",
        "return Data((x, y), (x_val, y_val), (x_test, y_test)",
        "return Data((x, y), (x_test, y_test), (x_test, y_test)",
        "test_digits.py",
    ),
    Break(
        "metrics",
        "metrics ignore weights, masks and missing labels",
        "weights = weights * expand_like(factor, weights)",
        "weights = weights * ops.ones_like(weights)",
        "test_every_metric.py test_labelled.py",
    ),
    Break(
        "export",
        "a file that agrees too little passes",
        "agreement < self.min_agreement",
        "agreement < 0.0",
        "test_withholding.py",
        "impossible_limit",
    ),
    Break(
        "export",
        "outliers stay in ranges by percentile",
        "place = (self._seen - 1) * (1 - self._share)",
        "place = 0.0",
        "test_formats.py",
        "percentiles_leave_out",
    ),
    Break(
        "export",
        "int8 ranges are taken from the first samples alone",
        "np.linspace(0, total - 1, min(limit, total))",
        "np.linspace(0, min(limit, total) - 1, min(limit, total))",
        "test_students.py",
        "spread_over_arrays",
    ),
    Break(
        "export",
        "normalization in the metadata is that of the files that hold it",
        '{"mean": [0.0], "std": [1.0]} if step["in_graph"] else step["feed"]',
        'step["feed"]',
        "test_normalization.py",
        "True",
    ),
    Break(
        "export",
        "bytes of a C array are in another order",
        "f'0x{byte:02x}' for byte in row",
        "f'0x{byte:02x}' for byte in row[::-1]",
        "test_c_array.py",
    ),
    Break(
        "quantization",
        "normalization is folded without its epsilon",
        "scale = ops.rsqrt(variance + normalization.epsilon)",
        "scale = ops.rsqrt(variance)",
        "quantization/test_layers.py test_kernels.py",
    ),
    Break(
        "quantization",
        "weights use the value that the converter leaves out",
        "narrow_range=True",
        "narrow_range=False",
        "test_fake.py test_kernels.py",
    ),
    Break(
        "distribution",
        "the gradients of replicas are averaged twice",
        "return loss * replicas * samples /",
        "return loss * samples /",
        "test_mirrored.py",
        "arrays_of_uneven_batches",
    ),
    Break(
        "stages",
        "every student of a chain has the first teacher",
        "        teacher = student\n    return students",
        "    return students",
        "test_chain.py",
    ),
    Break(
        "profiling",
        "parts of a step are counted from its beginning",
        "parts[name], reached = end - reached, end",
        "parts[name], reached = end, end",
        "profiling/test_profile.py",
        "differences_of_medians",
    ),
    Break(
        "tuning",
        "the best trial is the worst one",
        'sign = -1.0 if tuner.oracle.objective.direction == "max" else 1.0',
        'sign = 1.0 if tuner.oracle.objective.direction == "max" else -1.0',
        "test_tune.py",
        "better_value or best_distiller",
    ),
    Break(
        "recipes",
        "the worst student by validation is exported",
        "np.argmax([student.validation_accuracy",
        "np.argmin([student.validation_accuracy",
        "test_selection.py",
    ),
    Break(
        "report",
        "deviations over seeds divide by their number",
        "{100 * np.std(values, ddof=1):.2f} %",
        "{100 * np.std(values, ddof=0):.2f} %",
        "test_tables.py",
    ),
    Break(
        "cli",
        "a command says that all passed where it did not",
        "SystemExit(0 if passed else NOT_PASSED)",
        "SystemExit(0)",
        "test_commands.py",
        "does_not_pass",
    ),
)


class Checkout:
    """A copy of the checkout, broken in one place at a time.

    Args:
        folder: Where to put it, a `pathlib.Path`.
    """

    def __init__(self, folder):
        self.folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, folder / name)
        self._passing = {}
        self._sources = {path: path.read_text(encoding="utf-8") for path in (folder / PACKAGE).rglob("*.py")}

    def find(self, code):
        """Return the file that holds a piece of code.

        Raises:
            LookupError: If it does not occur exactly once.
        """
        counts = {path: text.count(code) for path, text in self._sources.items() if code in text}
        if sum(counts.values()) != 1:
            places = ", ".join(f"{path.relative_to(self.folder)} ({count})" for path, count in counts.items())
            raise LookupError(f"Expected code that occurs once: {code!r}. Received: {places or 'it does not occur'}.")
        return next(iter(counts))

    def tests_of(self, each):
        """Return the paths of the tests that should notice a break.

        Raises:
            LookupError: If a file of tests is gone.
        """
        found = []
        for name in each.tests.split():
            paths = sorted((self.folder / "tests").rglob(name))
            if not paths:
                raise LookupError(f"Expected a file of tests named {name}. Received: there is none.")
            found += [path.relative_to(self.folder).as_posix() for path in paths]
        return found

    def run(self, each):
        """Run the tests of a break on the code as it is now; return pytest's exit code and its last lines."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
        options += ["-k", each.matching] if each.matching else []
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "KERAS_BACKEND": each.backend,
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [sys.executable, "-m", "pytest", *options, *self.tests_of(each)]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None, [f"It took longer than {SECONDS} seconds."]
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()

    def passes(self, each):
        """Return why the tests of a break do not pass on the code as it is, or `None`. They are run once."""
        key = (each.tests, each.matching, each.backend)
        if key not in self._passing:
            code, lines = self.run(each)
            self._passing[key] = None if code == 0 else lines[-1] if lines else f"exit code {code}"
        return self._passing[key]

    def broken(self, each):
        """Run the tests of a break with it in place, and mend the code again; return what `run` returns."""
        path = self.find(each.code)
        path.write_text(self._sources[path].replace(each.code, each.broken), encoding="utf-8")
        try:
            return self.run(each)
        finally:
            path.write_text(self._sources[path], encoding="utf-8")


def outcome_of(checkout, each):
    """Return what became of a break: a dict of `outcome`, `by` (the test that noticed) and `seconds`."""
    begun = time.perf_counter()
    by = None
    try:
        checkout.find(each.code)
        if reason := checkout.passes(each):
            outcome = f"unusable: its tests do not pass as it is ({reason})"
        else:
            code, lines = checkout.broken(each)
            noticed = [line for line in lines if re.match(r"(FAILED|ERROR) tests/", line)]
            by = noticed[0].split(" - ")[0].split(maxsplit=1)[1] if noticed else None
            outcome = "noticed" if code == FAILED and by else "survived" if code == 0 else f"unusable: {lines[-1]}"
    except LookupError as error:
        outcome = f"no longer applies: {error}"
    return {"outcome": outcome, "by": by, "seconds": round(time.perf_counter() - begun, 1)}


def commit():
    """Return the commit that is checked out, or `None`."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def main(arguments=None):
    """Break the code in each place; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of a room, or a part of the name of a break")
    parser.add_argument("--list", action="store_true", help="list the breaks and where each would be made")
    parser.add_argument("--from", dest="start", type=int, default=1, help="number of the first break, from 1")
    parser.add_argument("--out", help="JSON file to write the outcome to")
    options = parser.parse_args(arguments)
    chosen = [
        each
        for each in BREAKS[options.start - 1 :]
        if not options.only or options.only in (each.room, *_parts(each, options.only))
    ]
    if not chosen:
        parser.error(f"expected a room or a part of a name. Received: {options.only!r}.")
    rows = []
    with tempfile.TemporaryDirectory() as home:
        checkout = Checkout(pathlib.Path(home).resolve())
        for each in chosen:
            row = _located(checkout, each) if options.list else outcome_of(checkout, each)
            rows.append({"room": each.room, "name": each.name, **row})
            print(f"{each.room:13} {each.name}: {row['outcome']}", *filter(None, [row.get("by")]), flush=True)
    good = sum(row["outcome"] == "noticed" or options.list and row["found"] for row in rows)
    print(f"{good} of {len(rows)} {'apply' if options.list else 'noticed'}")
    if options.out:
        record = {"commit": commit(), "noticed": good, "breaks": rows}
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if good == len(rows) else 1


def _parts(each, text):
    return [text] if text in each.name else []


def _located(checkout, each):
    try:
        path = checkout.find(each.code).relative_to(checkout.folder)
        return {"outcome": f"{path}, {' '.join(checkout.tests_of(each))}", "found": True}
    except LookupError as error:
        return {"outcome": f"no longer applies: {error}", "found": False}


if __name__ == "__main__":
    sys.exit(main())
