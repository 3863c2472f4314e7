"""What was asked of an export, checked: nothing is written before all of it is known to fit together."""

import dataclasses
import math
import warnings

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill.export import gates, preprocessing, samples, signature
from keras_distill.export.conversion import calibration as calibration_
from keras_distill.export.formats import FORMATS, needs_calibration
from keras_distill.export.precision import check_rebuilt, in_float32
from keras_distill.export.tflite import metadata
from keras_distill.quantization.aware import check_trained, is_quantize_aware
from keras_distill.quantization.stripping import float_student as without_ranges

_COMPARED = 256


@dataclasses.dataclass(frozen=True)
class Request:
    """An export to be made.

    Attributes:
        student: float32 `keras.Model`, with its preprocessing if that is to be in the files.
        plain_student: the same without its ranges, for formats that have no use for them, if it is
            quantization-aware; else the student itself.
        signature: `signature.Signature` of it.
        entries: list of `formats.Format`.
        targets: list of str, names in `gates.TARGETS`.
        labels: dict of output name to tuple of str.
        preprocessing: dict of input name to `preprocessing.Preprocessing`.
        calibration: dict of input name to array, or None.
        calibration_method: str, name in `calibration.METHODS`.
        evaluation: iterable of `(inputs, labels)` batches, as often as needed.
        evaluated_on: str, the argument that they came by.
        count: int, how many samples they are.
    """

    student: keras.Model
    plain_student: keras.Model
    signature: signature.Signature
    entries: list
    targets: list
    labels: dict
    preprocessing: dict
    calibration: dict | None
    calibration_method: str
    evaluation: object
    evaluated_on: str
    count: int


def checked(
    student,
    formats,
    calibration_data,
    evaluation_data,
    labels,
    input_spec,
    preprocessing_,
    targets,
    calibration,
    calibration_samples,
):
    """Return the `Request` that the arguments of `exporter.export` make, or raise as documented there."""
    entries, targets = _entries(formats), gates.checked(targets)
    _check_student(student)
    calibration_.check_method(calibration)
    if calibration_samples < 1:
        raise ValueError(expected("calibration_samples to be at least 1", calibration_samples))
    _check_data(entries, student, calibration_data, evaluation_data)
    float_student = in_float32(student)
    wrapped = plain = _wrapped(float_student, preprocessing_)
    if is_quantize_aware(student):
        plain = _wrapped(without_ranges(student), preprocessing_)
    what = "calibration_data" if evaluation_data is None else "evaluation_data"
    data = calibration_data if evaluation_data is None else evaluation_data
    found = _signature(wrapped, data, what)
    sizes = signature.pinned(found, input_spec)
    read = sizes if any(not entry.free_sizes for entry in entries) else found
    chosen = None
    if calibration_data is not None:
        chosen = _explained(
            found, samples.Samples(calibration_data, read, "calibration_data").take, calibration_samples
        )
    evaluation = [chosen] if evaluation_data is None else samples.Samples(data, read, what)
    count = samples.count(chosen[0]) if evaluation_data is None else _explained(found, evaluation.check)
    if chosen is not None and evaluation_data is not None:
        _warn_of_ranges(chosen[0], evaluation.take(_COMPARED)[0])
    if float_student is not student and wrapped is float_student:
        check_rebuilt(student, float_student, found, next(iter(evaluation))[0])
    return Request(
        student=wrapped,
        plain_student=plain,
        signature=dataclasses.replace(found, example_shapes=sizes.example_shapes),
        entries=entries,
        targets=targets,
        labels=metadata.labels_by_output(labels, found.outputs),
        preprocessing=preprocessing.by_input(preprocessing_, found.inputs),
        calibration=chosen and chosen[0],
        calibration_method=calibration,
        evaluation=evaluation,
        evaluated_on=what,
        count=count,
    )


def _wrapped(student, steps):
    return student if steps is None else preprocessing.wrap(student, steps)


def _entries(formats):
    """Return the rows of the table that were asked for, each once."""
    names = [formats] if isinstance(formats, str) else list(formats)
    if not names:
        raise ValueError(expected(f"formats to name at least one of {', '.join(sorted(FORMATS))}", "none"))
    for name in names:
        if name not in FORMATS:
            raise ValueError(unknown_name("format", name, FORMATS))
    return [FORMATS[name] for name in dict.fromkeys(names)]


def _check_student(student):
    if keras.backend.backend() != "tensorflow":
        raise ValueError(expected("Keras to run on its tensorflow backend", keras.backend.backend()))
    if not isinstance(student, keras.Model):
        raise TypeError(expected("student to be a keras.Model", type(student).__name__))
    if not student.built:
        fix = "Call it on a batch, or give it a keras.Input."
        raise ValueError(expected("student to be built", f"{student.name!r}, which has no weights yet", fix))


def _check_data(entries, student, calibration_data, evaluation_data):
    if is_quantize_aware(student):
        check_trained(student)
    for entry in entries:
        if calibration_data is None and needs_calibration(entry, student):
            fix = "Pass calibration_data: some hundred samples of the training data."
            raise ValueError(expected(f"calibration_data for format {entry.name!r}", "None", fix))
        entry.require()
    if evaluation_data is None and calibration_data is None:
        fix = "No file is kept that was not compared with the student on data."
        raise ValueError(expected("evaluation_data, or calibration_data to use in its place", "None", fix))


def _signature(student, data, what):
    example, _ = next(samples.raw_batches(data, what), (None, None))
    if example is None or not all(map(len, keras.tree.flatten(example))):
        raise ValueError(samples.empty(what))
    structure, inputs = signature.inputs_of(student, example)
    return signature.signature_of(student, structure, inputs, samples.named(example, inputs, what))


def _explained(found, read, *arguments):
    """Return `read(*arguments)`; where the student leaves a size free, say why the data must not."""
    try:
        return read(*arguments)
    except ValueError as error:
        free = [tensor.keras_name for tensor in found.inputs if None in tensor.shape[1:]]
        if not free or "to have shape" not in str(error):
            raise
        fix = f"Files have one size of input {free[0]!r}: pad the data to it, and give it by input_spec."
        raise ValueError(f"{error} {fix}") from error


def _warn_of_ranges(calibration, evaluation):
    """Warn if int8 would be fitted to other numbers than it will meet, as bytes in the place of shares of one."""
    for name, array in calibration.items():
        if array.dtype.kind != "f":
            continue
        low, high, least, most = map(float, (array.min(), array.max(), evaluation[name].min(), evaluation[name].max()))
        width, other = high - low, most - least
        apart = max(width, other) > 2 * min(width, other) or max(low - least, most - high) > max(width, other) / 2
        if apart and not math.isclose(width, other):
            ranges = (
                f"from {low:.4g} to {high:.4g} in calibration_data, from {least:.4g} to {most:.4g} in evaluation_data"
            )
            warnings.warn(
                expected(f"input {name!r} to have the same scale in both", ranges, "One may be scaled otherwise."),
                stacklevel=5,
            )
