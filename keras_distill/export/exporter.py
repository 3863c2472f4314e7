"""The one call: check everything, write beside, verify, and only then put in place."""

import dataclasses
import errno
import importlib.metadata
import os
import re

from keras_distill._core.backend import check_tensorflow
from keras_distill.export import gates, publishing, request, samples, verification
from keras_distill.export.conversion.converter import Converter
from keras_distill.export.formats import FORMATS, Source
from keras_distill.export.quiet import quiet
from keras_distill.export.reporting import card, report
from keras_distill.export.reporting.report import Artifact
from keras_distill.export.tflite import flatbuffer, metadata

_RECORDED_VERSIONS = (
    "keras_distill",
    "keras",
    "tensorflow",
    "ai-edge-litert",
    "litert-quantizer",
    "onnxruntime",
    "tf2onnx",
    "tflite-micro",
    "numpy",
)
_REASON_LENGTH = 400
_TERMINAL_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def export(
    student,
    directory,
    formats=("saved_model", "tflite"),
    calibration_data=None,
    evaluation_data=None,
    *,
    labels=None,
    input_spec=None,
    preprocessing=None,
    targets=(),
    calibration="min_max",
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
    | `"saved_model"` | SavedModel, any batch size | ≥ 0.99 | ≤ 1e-4 · 1e-5 |
    | `"tflite"` | TFLite, float32 | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"tflite_float16"` | weights in float16 | ≥ 0.98 | ≤ 0.03 · 0.005 |
    | `"tflite_dynamic_range"` | large layers in int8, activations quantized on the fly | ≥ 0.95 | any · 0.03 |
    | `"tflite_int8"` | int8 throughout, in and out; calibrated | ≥ 0.95 | any · 0.05 |
    | `"tflite_int8_float_io"` | int8 inside, float32 in and out; calibrated | ≥ 0.95 | any · 0.05 |
    | `"tflite_int16x8"` | activations in int16, weights in int8; calibrated; slow | ≥ 0.95 | any · 0.03 |
    | `"tflite_weights_int8"` | weights in int8, computing in float32 | ≥ 0.95 | any · 0.03 |
    | `"tflite_weights_int4"` | weights in int4, computing in float32 | ≥ 0.9 | any · 0.1 |
    | `"tflite_dynamic_batch"` | TFLite, float32, any batch size | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"onnx"` | ONNX, float32, any batch size | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"c_array"` | C++ source and header of the float32 file | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"c_array_int8"` | C++ source and header of the int8 file; calibrated | ≥ 0.95 | any · 0.05 |

    TFLite files and C arrays are of batch 1 unless the table says otherwise. Each conversion and each run happens in
    another process: a crash or a hang of a converter or a runtime costs one row. Calibrated formats take int8 ranges
    from `calibration_data`, but for quantization-aware students (`keras_distill.quantization`), which have learned
    theirs; the other formats of such a student are written from `keras_distill.quantization.float_student(student)`.

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
        calibration_data: samples from which int8 ranges are taken; needed by calibrated formats. Defaults to None.
        evaluation_data: samples on which files and student are compared, all of them. Defaults to the calibration
            samples.
        labels: class names, to be written into the files and their model card: list of str, or a dict of output name
            to list. Defaults to None.
        input_spec: sizes of one sample where the student leaves them free: a shape without the batch, or a list or
            dict of shapes for several inputs. Defaults to None, the sizes of the data.
        preprocessing: `Preprocessing`, or a dict of input name to it, to be part of the files: the data is then what
            a camera gives. Defaults to None.
        targets: names of devices, `"android"`, `"microcontroller"`, `"web"`, `"arm64"`: each file meant for one is
            run by its runtime too, where that is a Python package, and the report says plainly where it is not.
            Defaults to none.
        calibration: str, how int8 ranges are taken from the data: `"min_max"`, or `"percentile"`, which leaves out
            one value in ten thousand at each end. Defaults to `"min_max"`.
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
        FullDiskError: an `OSError`, if the disk has no room; what was there is as it was.
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
    check_tensorflow("export")
    asked = request.checked(
        student,
        formats,
        calibration_data,
        evaluation_data,
        labels,
        input_spec,
        preprocessing,
        targets,
        calibration,
        calibration_samples,
    )
    target = publishing.checked(directory, [publishing.MANIFEST, *(entry.filename for entry in asked.entries)])
    overrides = {
        "min_agreement": min_agreement,
        "max_difference": max_difference,
        "max_mean_difference": max_mean_difference,
    }
    overrides = {name: value for name, value in overrides.items() if value is not None}
    with publishing.beside(target) as temporary, Converter(temporary, time_limit) as converter:
        staged = temporary / "files"
        staged.mkdir()
        plain = _source(asked, asked.plain_student, temporary / "plain", converter, time_limit)
        learned = plain
        if asked.student is not asked.plain_student:
            learned = _source(asked, asked.student, temporary / "learned", converter, time_limit)
        rows = [
            _row(entry, asked, learned if entry.takes_learned_ranges else plain, staged, target, overrides)
            for entry in asked.entries
        ]
        missing = gates.missing(asked.targets, rows)
        if not any(row.passed for row in rows):
            return report.ExportReport(None, rows, missing)
        manifest = _manifest(student, asked, rows)
        name = publishing.card_name(target)
        card.write(staged, rows, asked.signature, asked.preprocessing, asked.labels, manifest, name)
        publishing.write_manifest(staged, manifest)
        publishing.replace(target, staged)
    return report.ExportReport(str(target), rows, missing)


def _source(asked, student, work, converter, time_limit):
    """Return what formats of a student are written from."""
    work.mkdir()
    return Source(student, asked.signature, asked.calibration, work, converter, time_limit, asked.calibration_method)


def _row(entry, asked, source, folder, target, overrides):
    """Write one format and verify it; only a file that passed stays in the folder."""
    path, limits = folder / entry.filename, dataclasses.replace(entry.limits, **overrides)
    try:
        with quiet() as transcript:
            entry.write(source, path)
    except Exception as error:
        _raise_if_full(error)
        publishing.remove(path)
        log = getattr(error, "log", "") + transcript.text
        return Artifact(entry.name, f"{report.FAILED}: {_reason(error)}", log=log)
    figures, complaints, log = _verified(path, entry, asked, source, limits)
    figures |= {"bytes": publishing.size(path), "samples": asked.count}
    if complaints:
        publishing.remove(path)
        return Artifact(entry.name, f"{report.FAILED_VERIFICATION}: {'; '.join(complaints)}", log=log, **figures)
    targets, facts = gates.pass_through(asked.targets, path, entry, source, asked.evaluation, limits)
    figures = facts | figures | {"targets": targets, "path": str(target / entry.filename)}
    return Artifact(entry.name, report.PASSED, **figures)


def _verified(path, entry, asked, source, limits):
    """Return figures, complaints and what the runtime printed; a file that cannot be run is one complaint."""
    try:
        if path.suffix == ".tflite":
            # Before it is verified: what is verified is what ships.
            metadata.attach(path, metadata.describe(asked.signature, asked.labels, asked.preprocessing))
        figures, complaints = verification.verify(path, entry, source, asked.evaluation, limits)
        if path.suffix == ".tflite":
            complaints += metadata.complaints(path, asked.signature, asked.labels)
            figures["operators"] = flatbuffer.describe(path)["operators"]
    except Exception as error:
        _raise_if_full(error)
        return {}, [f"it cannot be run: {_reason(error)}"], getattr(error, "log", "")
    return figures, complaints, ""


def _raise_if_full(error):
    """A full disk is no fault of a format, and the next one would find it full as well."""
    if publishing.is_full_disk(error):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _reason(error):
    """Return an error as one line of bearable length; the log has the rest."""
    line = " ".join(_TERMINAL_COLOURS.sub("", f"{error}").split()) or type(error).__name__
    return line if len(line) <= _REASON_LENGTH else f"{line[:_REASON_LENGTH]}…"


def _manifest(student, asked, rows):
    return {
        "student": {"name": student.name, "dtype_policy": student.dtype_policy.name},
        **metadata.describe(asked.signature, asked.labels, asked.preprocessing),
        "calibrated_on": {
            "samples": samples.count(asked.calibration) if asked.calibration else 0,
            "method": asked.calibration_method,
        },
        "verified_on": {"argument": asked.evaluated_on, "samples": asked.count},
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
