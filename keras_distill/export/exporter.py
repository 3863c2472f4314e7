"""The public call: check the arguments, write beside the target, verify, and only then put the files in place."""

import dataclasses
import errno
import importlib.metadata
import math
import os
import pathlib
import re
from collections.abc import Iterable
from typing import Any

import keras

from keras_distill._core.backend import check_tensorflow
from keras_distill._core.checked import SECONDS, checked
from keras_distill._core.deprecation import renamed_arguments
from keras_distill.export import devices as devices_
from keras_distill.export import publishing, reasons, samples, verification
from keras_distill.export.conversion.sources import Converter, Source
from keras_distill.export.formats import FORMATS, Format
from keras_distill.export.quiet import Transcript, quiet
from keras_distill.export.reporting import card, report
from keras_distill.export.reporting.report import Artifact, ExportReport
from keras_distill.export.request import Request, make_request
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


@renamed_arguments(targets="devices")
@checked(
    calibration=Any,
    calibration_samples=Any,
    min_agreement=(0.0, 1.0),
    max_difference=(0.0, math.inf),
    max_mean_difference=(0.0, math.inf),
    time_limit=SECONDS,
)
def export(
    student: keras.Model,
    directory: str | os.PathLike,
    formats: str | Iterable[str] = ("saved_model", "tflite"),
    calibration_data: Any = None,
    evaluation_data: Any = None,
    *,
    labels: Any = None,
    input_spec: Any = None,
    preprocessing: Any = None,
    devices: str | Iterable[str] = (),
    calibration: str = "min_max",
    calibration_samples: int = 500,
    kinds: str | dict[str, str] | None = None,
    min_agreement: float | None = None,
    max_difference: float | None = None,
    max_mean_difference: float | None = None,
    time_limit: float = 600.0,
) -> ExportReport:
    """Write a student to files, run each in another runtime, and keep those that agree with the student.

    Files are written beside `directory` and put in place when all are done. The directory is replaced as a whole. If
    the export is interrupted, or if no file passes, the earlier contents stay. So do files that users added to an
    earlier export. A format that cannot be converted, or whose file does not agree with the student, is a row of the
    report and leaves no file. Students of half or mixed precision are rebuilt and compared in float32.

    | format | what is written | agreement | largest · mean difference |
    |---|---|---|---|
    | `"saved_model"` | SavedModel, any batch size | ≥ 0.99 | ≤ 1e-4 · 1e-5 |
    | `"tflite"` | TFLite, float32 | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"tflite_float16"` | weights in float16 | ≥ 0.98 | ≤ 0.03 · 0.005 |
    | `"tflite_dynamic_range"` | large layers in int8, activations quantized on the fly | ≥ 0.95 | any · 0.03 |
    | `"tflite_int8"` | int8 throughout, in and out; calibrated | ≥ 0.95 | any · 0.05 |
    | `"tflite_int8_float_io"` | int8 inside, float32 in and out; calibrated | ≥ 0.95 | any · 0.05 |
    | `"tflite_uint8"` | int8 inside, uint8 in and out; calibrated | ≥ 0.95 | any · 0.05 |
    | `"tflite_int16x8"` | activations in int16, weights in int8; calibrated; slow | ≥ 0.95 | any · 0.03 |
    | `"tflite_weights_int8"` | weights in int8, computing in float32 | ≥ 0.95 | any · 0.03 |
    | `"tflite_weights_int4"` | weights in int4, computing in float32 | ≥ 0.9 | any · 0.1 |
    | `"tflite_dynamic_batch"` | TFLite, float32, any batch size | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"onnx"` | ONNX, float32, any batch size | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"c_array"` | C++ source and header of the float32 file | ≥ 0.99 | ≤ 1e-3 · 1e-4 |
    | `"c_array_int8"` | C++ source and header of the int8 file; calibrated | ≥ 0.95 | any · 0.05 |

    TFLite files and C arrays have batch 1 unless the table says otherwise. Each conversion and each run happens in
    another process, so a crash or a hang of a converter or a runtime costs one row. Calibrated formats take int8
    ranges from `calibration_data`. Quantization-aware students (`keras_distill.quantization`) have learned theirs; the
    other formats of such a student are written from `keras_distill.quantization.float_student(student)`. Its files are
    compared with the float student that training began from as well, if this process made the copy.

    Agreement is the share of samples on which file and student decide the same: the largest of the scores of classes,
    or each of several labels at a probability of one half. Every class, and every label's yes and no, is checked by
    itself: it may lose twice the share that the table allows, at least one sample, but never all. Differences are
    limited as shares of the range of the student's output over the data; those of numbers unit by unit, each by its own
    range. At the ends of the data's range and half a range beyond, a file has to be finite where the student is.

    Data may be NumPy arrays `x` (a list or dict of them for several inputs), a tuple `(x, y)` or
    `(x, y, sample_weight)`, a batched `tf.data.Dataset` or a `keras.utils.PyDataset` of these. Labels may be class
    indices, one-hot vectors, or targets of the output's own shape. Samples with a label of -1, of 255 where there are
    fewer classes, or with a weight of 0 do not count in the accuracy.

    Args:
        student: Built `keras.Model`, with a linear or softmax head, any number of inputs and outputs.
        directory: Folder to write, a str or path: new, empty, or an earlier export.
        formats: Names in `FORMATS`. Defaults to `("saved_model", "tflite")`.
        calibration_data: Samples from which int8 ranges are taken; required by calibrated formats. Defaults to `None`.
        evaluation_data: Samples on which files and student are compared, all of them. Defaults to the calibration
            samples.
        labels: Class names to write into the files and their model card: a list of str, or a dict of output name to
            list. Defaults to `None`.
        input_spec: Sizes of one sample where the student leaves them free: a shape without the batch, or a list or
            dict of shapes for several inputs. Defaults to `None`, the sizes of the data.
        preprocessing: `Preprocessing`, or a dict of input name to `Preprocessing`, that becomes part of the files.
            The data is then raw, as a camera gives it. Defaults to `None`.
        devices: Names of devices: `"android"`, `"microcontroller"`, `"web"`, `"arm64"`. Each file meant for a device
            is run by its runtime too, if that is a Python package; the report says so if it is not. Defaults to `()`.
        calibration: How int8 ranges are taken from the data: `"min_max"`, or `"percentile"`, which leaves out one
            value in ten thousand at each end. Defaults to `"min_max"`.
        calibration_samples: Number of samples of `calibration_data` to use: spread evenly over arrays, the first ones
            of a dataset. Defaults to 500.
        kinds: What the outputs are, for all or as a dict by output: `"classes"`, scores of which the largest counts;
            `"labels"`, which apply independently; or `"numbers"`, such as a regression or an embedding. Defaults to
            `None`: taken from the labels, the activation and the shape. Several linear units without labels are then
            taken for classes.
        min_agreement: Smallest agreement, in place of the table's, for every format; 0 for any. Defaults to `None`, the
            table's.
        max_difference: Largest difference, in place of the table's, for every format. Defaults to `None`, the table's.
        max_mean_difference: Largest mean difference, in place of the table's, for every format. Defaults to `None`, the
            table's.
        time_limit: Seconds that one conversion, or one batch in another runtime, may take before its process is
            stopped and the format has failed. Defaults to 600.

    Returns:
        `ExportReport`: a row per format; `print` it for a table.

    Raises:
        ValueError: If the student is not a built Keras model, a format is unknown, or data is missing, empty or does
            not fit.
        TypeError: If data is of an unknown kind.
        FileExistsError: If `directory` holds something other than an export.
        NotADirectoryError: If a parent of `directory` is a file.
        FullDiskError: An `OSError`, if the disk is full; the earlier contents are unchanged.
        ImportError: If a runtime that checks a format is not installed.

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
    request = make_request(
        student,
        formats,
        calibration_data,
        evaluation_data,
        labels,
        input_spec,
        preprocessing,
        devices,
        calibration,
        calibration_samples,
        kinds,
    )
    target = publishing.check_directory(
        directory, [publishing.MANIFEST, *(entry.filename for entry in request.entries)]
    )
    given = {
        "min_agreement": min_agreement,
        "max_difference": max_difference,
        "max_mean_difference": max_mean_difference,
    }
    limits = {name: value for name, value in given.items() if value is not None}
    with publishing.temporary_folder(target) as temporary, Converter(temporary, time_limit) as converter:
        staged = temporary / "files"
        staged.mkdir()
        plain = _make_source(request, request.plain_student, temporary / "plain", converter, time_limit)
        learned = plain
        if request.student is not request.plain_student:
            learned = _make_source(request, request.student, temporary / "learned", converter, time_limit)
        rows = [
            _export_format(entry, request, learned if entry.takes_learned_ranges else plain, staged, target, limits)
            for entry in request.entries
        ]
        missing = devices_.find_missing(request.devices, rows)
        if not any(row.passed for row in rows):
            return ExportReport(None, rows, missing)
        manifest = _make_manifest(student, request, rows)
        name = publishing.card_name(target)
        card.write(staged, rows, request.signature, request.preprocessing, request.class_names, manifest, name)
        publishing.write_manifest(staged, manifest)
        publishing.replace(target, staged)
    return ExportReport(str(target), rows, missing)


def _make_source(
    request: Request, student: keras.Model, work: pathlib.Path, converter: Converter, time_limit: float
) -> Source:
    work.mkdir()
    return Source(
        student,
        request.signature,
        request.calibration,
        work,
        converter,
        time_limit,
        request.calibration_method,
        request.kinds,
        request.first_student,
    )


def _export_format(
    entry: Format,
    request: Request,
    source: Source,
    folder: pathlib.Path,
    target: pathlib.Path,
    overrides: dict[str, float],
) -> Artifact:
    """Write one format and verify it; only a file that passed stays in the folder."""
    path, limits = folder / entry.filename, dataclasses.replace(entry.limits, **overrides)
    transcript = Transcript()
    try:
        with quiet() as transcript:
            entry.write(source, path)
    except Exception as error:
        _raise_if_full(error, folder)
        publishing.remove(path)
        log = getattr(error, "log", "") + transcript.text
        return Artifact(entry.name, f"{report.FAILED}: {_shorten(error)}", log=log)
    figures, complaints, log = _verify(path, entry, request, source, limits)
    figures |= {"bytes": _measure_size(path, entry), "samples": request.count}
    if complaints:
        publishing.remove(path)
        return Artifact(entry.name, f"{report.FAILED_VERIFICATION}: {'; '.join(complaints)}", log=log, **figures)
    passed_on, facts = devices_.run_on_devices(
        request.devices, path, entry, source, request.evaluation, request.count, limits
    )
    figures = facts | figures | {"devices": passed_on, "path": str(target / entry.filename)}
    return Artifact(entry.name, report.PASSED, **figures)


def _measure_size(path: pathlib.Path, entry: Format) -> int:
    """Return the bytes of a file or folder; of C++ source, those that it puts into flash memory."""
    return len(flatbuffer.read_content(path)) if entry.runtime == "c_array" else publishing.size(path)


def _verify(path, entry, request, source, limits) -> tuple[dict[str, Any], list[str], str]:
    """Return figures, complaints and what the runtime printed; a file that cannot be run is one complaint."""
    try:
        if path.suffix == ".tflite":
            # Before the verification, so that the verified bytes are those that ship.
            metadata.attach(path, metadata.describe(request.signature, request.class_names, request.preprocessing))
        names = request.class_names
        figures, complaints = verification.verify(path, entry, source, request.evaluation, limits, names)
        if path.suffix == ".tflite":
            complaints += metadata.find_complaints(path, request.signature, request.class_names)
            figures["operators"] = flatbuffer.describe(path)["operators"]
    except Exception as error:
        _raise_if_full(error, path.parent)
        return {}, [f"it cannot be run: {_shorten(error)}"], getattr(error, "log", "")
    return figures, complaints, ""


def _raise_if_full(error: Exception, folder: pathlib.Path) -> None:
    """Raise an `OSError` for a full disk, which is no fault of the format and would fail the next one as well."""
    if publishing.is_full_disk(error) or publishing.has_no_space(folder):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)) from error


def _shorten(error: Exception) -> str:
    """Return an error as one line of limited length; the log has the rest."""
    line = " ".join(reasons.explain(_TERMINAL_COLOURS.sub("", f"{error}")).split()) or type(error).__name__
    return line if len(line) <= _REASON_LENGTH else f"{line[:_REASON_LENGTH]}…"


def _make_manifest(student: keras.Model, request: Request, rows: list[Artifact]) -> dict[str, Any]:
    return {
        "student": {
            "name": student.name,
            "dtype_policy": student.dtype_policy.name,
            "scaling": request.scaling_layers,
        },
        **metadata.describe(request.signature, request.class_names, request.preprocessing),
        "calibrated_on": {
            "samples": samples.count_samples(request.calibration) if request.calibration else 0,
            "method": request.calibration_method,
        },
        "verified_on": {"argument": request.evaluated_on, "samples": request.count, "ranges": request.ranges},
        "versions": {name: _find_version(name) for name in _RECORDED_VERSIONS},
        "artifacts": [_make_portable(row) for row in rows],
    }


def _make_portable(row: Artifact) -> dict[str, Any]:
    """Return a row as JSON types, without what is true on this machine only."""
    content = row.to_dict() | {"path": FORMATS[row.format].filename if row.passed else None}
    del content["log"]
    return content


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
