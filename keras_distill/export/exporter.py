"""The one call: check everything, write beside, verify, and only then put in place."""

import dataclasses
import importlib.metadata
import re

import keras

from keras_distill._messages import expected, unknown_name
from keras_distill.export import publishing, report, samples, signature, verification
from keras_distill.export.conversion import Converter
from keras_distill.export.formats import FORMATS, Source
from keras_distill.export.precision import check_rebuilt, in_float32
from keras_distill.export.quiet import quiet
from keras_distill.export.report import Artifact
from keras_distill.export.runtimes.remote import require

_RECORDED_VERSIONS = ("keras_distill", "keras", "tensorflow", "ai-edge-litert", "numpy")
_REASON_LENGTH = 400
_TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def export(
    student,
    directory,
    formats=("saved_model", "tflite"),
    calibration_data=None,
    evaluation_data=None,
    calibration_samples=500,
    min_agreement=None,
    max_difference=None,
    max_mean_difference=None,
    time_limit=600.0,
):
    """Write a student to files, run each by another runtime, and keep those that agree with the student.

    Files are written beside `directory` and put there when all are done: the directory is replaced as a whole, and an
    export that is interrupted, or of which nothing passes, leaves what was there. Files that users added to an
    earlier export stay. A format that cannot be converted, or whose file does not agree, is a row of the report and
    leaves no file. Students of half or mixed precision are rebuilt in float32 and compared in float32.

    | format | what is written | agreement | largest · mean difference |
    |---|---|---|---|
    | `"saved_model"` | SavedModel, any batch size, signature `serving_default` | ≥ 0.99 | ≤ 1e-4 · 1e-5 |
    | `"tflite"` | TFLite, float32, batch 1 | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"tflite_int8"` | TFLite, full-integer int8, int8 in and out, batch 1 | ≥ 0.95 | any · 0.05 |

    Agreement is the share of samples where file and student have the same largest output; it counts for outputs of
    more than one unit, unless their labels are targets of a regression. Differences are limited as shares of the
    range of the student's output over the data.

    Data may be NumPy arrays `x` (a list or dict of them for several inputs), a tuple `(x, y)` or
    `(x, y, sample_weight)`, a batched `tf.data.Dataset` or a `keras.utils.PyDataset` of these. Labels may be class
    indices, one-hot, or targets of the output's own shape.

    Args:
        student: built `keras.Model`, with a linear or softmax head, any number of inputs and outputs.
        directory: str or path, folder to write: new, empty, or an earlier export.
        formats: sequence of str, names in `FORMATS`. Defaults to `("saved_model", "tflite")`.
        calibration_data: samples from which int8 ranges are taken; needed by `"tflite_int8"`. Defaults to None.
        evaluation_data: samples on which files and student are compared, all of them. Defaults to the calibration
            samples.
        calibration_samples: int, how many samples of `calibration_data` are used: spread evenly over arrays, the
            first ones of a dataset. Defaults to 500.
        min_agreement: float, in place of the table's, for every format; 0 switches it off, as outputs that are
            vectors without classes need when there are no labels to say so. Defaults to None, the table's.
        max_difference: float, in place of the table's, for every format. Defaults to None, the table's.
        max_mean_difference: float, in place of the table's, for every format. Defaults to None, the table's.
        time_limit: float, seconds that one conversion, or one batch in another runtime, may take before its process
            is stopped and the format has failed. Defaults to 600.

    Returns:
        `ExportReport`: a row per format; `print` it for a table.

    Raises:
        TypeError: if the student is no Keras model, or data is of an unknown kind.
        ValueError: if the student is not built, a format is unknown, or data is missing, empty or does not fit.
        FileExistsError: if `directory` holds something else than an export.
        NotADirectoryError: if a parent of `directory` is a file.
        ImportError: if a runtime that a format is checked with is not installed.

    Example:
        >>> import tempfile, keras, numpy as np, keras_distill.export
        >>> student = keras.Sequential([keras.Input((4,), name="flower"), keras.layers.Dense(3, name="species")])
        >>> flowers = np.random.default_rng(0).normal(size=(20, 4)).astype("float32")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report = keras_distill.export.export(
        ...         student, f"{folder}/flowers", formats=["saved_model"], evaluation_data=flowers
        ...     )
        >>> report.passed, report["saved_model"].agreement
        (True, 1.0)
    """
    entries = _entries(formats, calibration_data)
    _check_student(student)
    _check_counts(calibration_samples)
    target = publishing.checked(directory, [publishing.MANIFEST, *(entry.filename for entry in entries)])
    float_student = in_float32(student)
    data = _data(float_student, calibration_data, evaluation_data, calibration_samples)
    if float_student is not student:
        check_rebuilt(student, float_student, data.signature, next(iter(data.evaluation))[0])
    overrides = {
        "min_agreement": min_agreement,
        "max_difference": max_difference,
        "max_mean_difference": max_mean_difference,
    }
    with publishing.beside(target) as temporary, Converter(temporary, time_limit) as converter:
        staged, work = temporary / "files", temporary / "work"
        staged.mkdir()
        work.mkdir()
        source = Source(float_student, data.signature, data.calibration, work, converter, time_limit)
        rows = [_row(entry, source, data, staged, target, _limits(entry, overrides)) for entry in entries]
        if not any(row.passed for row in rows):
            return report.ExportReport(None, rows)
        publishing.write_manifest(staged, _manifest(student, data, rows))
        publishing.replace(target, staged)
    return report.ExportReport(str(target), rows)


@dataclasses.dataclass(frozen=True)
class _Data:
    """The user's data, checked."""

    signature: object
    calibration: dict | None
    evaluation: samples.Samples | list
    count: int
    what: str


def _entries(formats, calibration_data):
    """Return the rows of the table that were asked for, each once."""
    names = [formats] if isinstance(formats, str) else list(formats)
    if not names:
        raise ValueError(expected(f"formats to name at least one of {', '.join(sorted(FORMATS))}", "none"))
    for name in names:
        if name not in FORMATS:
            raise ValueError(unknown_name("format", name, FORMATS))
    entries = [FORMATS[name] for name in dict.fromkeys(names)]
    for entry in entries:
        if entry.needs_calibration and calibration_data is None:
            fix = "Pass calibration_data: some hundred samples of the training data."
            raise ValueError(expected(f"calibration_data for format {entry.name!r}", "None", fix))
        require(entry.runtime)
    return entries


def _check_student(student):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(expected("Keras to run on its tensorflow backend", keras.backend.backend()))
    if not isinstance(student, keras.Model):
        raise TypeError(expected("student to be a keras.Model", type(student).__name__))
    if not student.built:
        fix = "Call it on a batch, or give it a keras.Input."
        raise ValueError(expected("student to be built", f"{student.name!r}, which has no weights yet", fix))


def _check_counts(calibration_samples):
    if calibration_samples < 1:
        raise ValueError(expected("calibration_samples to be at least 1", calibration_samples))


def _data(student, calibration_data, evaluation_data, calibration_samples):
    """Check the data and read the student's signature with it."""
    if evaluation_data is None and calibration_data is None:
        fix = "No file is kept that was not compared with the student on data."
        raise ValueError(expected("evaluation_data, or calibration_data to use in its place", "None", fix))
    what = "calibration_data" if evaluation_data is None else "evaluation_data"
    data = calibration_data if evaluation_data is None else evaluation_data
    found = _signature(student, data, what)
    calibration = None
    if calibration_data is not None:
        calibration = samples.Samples(calibration_data, found, "calibration_data").take(calibration_samples)
    if evaluation_data is None:
        return _Data(found, calibration[0], [calibration], samples.count(calibration[0]), what)
    evaluation = samples.Samples(evaluation_data, found, what)
    return _Data(found, calibration and calibration[0], evaluation, evaluation.check(), what)


def _signature(student, data, what):
    example, _ = next(samples.raw_batches(data, what), (None, None))
    if example is None or not all(map(len, keras.tree.flatten(example))):
        raise ValueError(samples.empty(what))
    structure, inputs = signature.inputs_of(student, example)
    return signature.signature_of(student, structure, inputs, samples.named(example, inputs, what))


def _limits(entry, overrides):
    given = {name: value for name, value in overrides.items() if value is not None}
    return dataclasses.replace(entry.limits, **given)


def _row(entry, source, data, folder, target, limits):
    """Write one format and verify it; only a file that passed stays in the folder."""
    path = folder / entry.filename
    try:
        with quiet() as transcript:
            entry.write(source, path)
    except Exception as error:
        publishing.remove(path)
        log = getattr(error, "log", "") + transcript.text
        return Artifact(entry.name, f"{report.FAILED}: {_reason(error)}", log=log)
    figures, complaints, log = _verified(path, entry, source, data, limits)
    figures |= {"bytes": publishing.size(path), "samples": data.count}
    if complaints:
        publishing.remove(path)
        return Artifact(entry.name, f"{report.FAILED_VERIFICATION}: {'; '.join(complaints)}", log=log, **figures)
    return Artifact(entry.name, report.PASSED, path=str(target / entry.filename), **figures)


def _verified(path, entry, source, data, limits):
    """Return figures, complaints and what the runtime printed; a file that cannot be run is one complaint."""
    try:
        figures, complaints = verification.verify(path, entry, source, data.evaluation, limits)
    except Exception as error:
        return {}, [f"it cannot be run: {_reason(error)}"], getattr(error, "log", "")
    return figures, complaints, ""


def _reason(error):
    """Return an error as one line of bearable length; the log has the rest."""
    line = " ".join(_TERMINAL_COLOURS.sub("", f"{error}").split()) or type(error).__name__
    return line if len(line) <= _REASON_LENGTH else f"{line[:_REASON_LENGTH]}…"


def _manifest(student, data, rows):
    return {
        "student": {"name": student.name, "dtype_policy": student.dtype_policy.name},
        "inputs": [tensor.to_dict() for tensor in data.signature.inputs],
        "outputs": [tensor.to_dict() for tensor in data.signature.outputs],
        "calibrated_on": {"samples": samples.count(data.calibration) if data.calibration else 0},
        "verified_on": {"argument": data.what, "samples": data.count},
        "versions": {name: _version(name) for name in _RECORDED_VERSIONS},
        "artifacts": [_portable(row) for row in rows],
    }


def _portable(row):
    """Return a row without what is true on this machine only."""
    content = row.to_dict() | {"path": FORMATS[row.format].filename if row.passed else None}
    del content["log"]
    return content


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
