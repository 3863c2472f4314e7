"""The arguments of an export, checked: nothing is written before all of them are known to fit together."""

import dataclasses
import math
import warnings
from collections.abc import Callable, Iterable
from typing import Any

import keras

from keras_distill._core.checks import check_choice, check_model, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.export import labels as labels_
from keras_distill.export import preprocessing as preprocessing_
from keras_distill.export import samples, scaling, signature
from keras_distill.export.arrays import Arrays
from keras_distill.export.comparison import kinds as kinds_
from keras_distill.export.conversion import calibration as calibration_
from keras_distill.export.devices import check_devices
from keras_distill.export.formats import FORMATS, Format, needs_calibration
from keras_distill.export.rebuilding import check_rebuilt, convert_to_float32
from keras_distill.quantization.aware import check_trained, is_quantize_aware
from keras_distill.quantization.stripping import float_student as remove_ranges
from keras_distill.quantization.stripping import restore_first_student

_COMPARED = 256


@dataclasses.dataclass(frozen=True)
class Request:
    """An export to be made.

    Attributes:
        student: Float32 `keras.Model`, with the preprocessing that goes into the files.
        plain_student: The same model without its ranges if it is quantization-aware, for formats that do not use them;
            else the student itself.
        first_student: The float student that a quantization-aware one was made from; `None` if that is not known.
        signature: `Signature` of the student.
        entries: Rows of `FORMATS` to write.
        devices: Names in `DEVICES`.
        class_names: Dict of output name to tuple of str.
        preprocessing: Dict of input name to `Preprocessing`.
        calibration: Dict of input name to array, or `None`.
        calibration_method: Name in `calibration.METHODS`.
        evaluation: `(inputs, labels)` batches, which can be iterated several times.
        evaluated_on: Name of the argument that holds these batches.
        count: Number of samples in them.
        kinds: Dict of output name to one of `comparison.kinds.KINDS`.
        ranges: Dict of input name to the least and the largest number in the first batch.
        scaling_layers: Dict of input name to the layer of the student that scales it.
    """

    student: keras.Model
    plain_student: keras.Model
    first_student: keras.Model | None
    signature: signature.Signature
    entries: list[Format]
    devices: list[str]
    class_names: dict[str, tuple[str, ...]]
    preprocessing: dict[str, preprocessing_.Preprocessing]
    calibration: Arrays | None
    calibration_method: str
    evaluation: Iterable[tuple[Arrays, Arrays]]
    evaluated_on: str
    count: int
    kinds: dict[str, str]
    ranges: dict[str, list[float]]
    scaling_layers: dict[str, str]


def make_request(
    student: keras.Model,
    formats: str | Iterable[str],
    calibration_data: Any,
    evaluation_data: Any,
    labels: Any,
    input_spec: Any,
    preprocessing: Any,
    devices: str | Iterable[str],
    calibration: str,
    calibration_samples: int,
    kinds: Any = None,
) -> Request:
    """Check the arguments of `exporter.export` and return them as a `Request`; raise as documented there."""
    entries, devices = _find_entries(formats), check_devices(devices)
    _check_student(student)
    calibration_.check_method(calibration)
    check_whole_number("calibration_samples", calibration_samples)
    _check_data(entries, student, calibration_data, evaluation_data)
    float_student = convert_to_float32(student)
    wrapped = plain = _wrap(float_student, preprocessing)
    first = None
    if is_quantize_aware(student):
        plain = _wrap(remove_ranges(student), preprocessing)
        first = restore_first_student(student)
        first = first and _wrap(first, preprocessing)
    what = "calibration_data" if evaluation_data is None else "evaluation_data"
    data = calibration_data if evaluation_data is None else evaluation_data
    found = _read_signature(wrapped, data, what)
    fixed = signature.fix_sizes(found, input_spec)
    declared = fixed if any(not entry.free_sizes for entry in entries) else found
    chosen = _take_calibration(calibration_data, declared, found, calibration_samples)
    evaluation: Any = [chosen]
    if evaluation_data is not None:
        evaluation = samples.Samples(data, declared, what)
    count = samples.count_samples(chosen[0]) if evaluation_data is None else _explain_sizes(found, evaluation.check)
    if chosen is not None and evaluation_data is not None:
        _warn_if_scaled_differently(chosen[0], evaluation.take(_COMPARED)[0])
    first_inputs, first_labels = next(iter(evaluation))
    steps = preprocessing_.match_inputs(preprocessing, found.inputs)
    if wrapped is not float_student:
        scaling.check_scaled_once(float_student, steps, found, first_inputs)
        scaling.check_needed(float_student, wrapped, steps, found, first_inputs, first_labels)
    if float_student is not student and wrapped is float_student:
        check_rebuilt(student, float_student, found, first_inputs)
    return Request(
        student=wrapped,
        plain_student=plain,
        first_student=first,
        signature=dataclasses.replace(found, example_shapes=fixed.example_shapes),
        entries=entries,
        devices=devices,
        class_names=labels_.match_class_names(labels, found.outputs),
        preprocessing=steps,
        calibration=chosen and chosen[0],
        calibration_method=calibration,
        evaluation=evaluation,
        evaluated_on=what,
        count=count,
        kinds=kinds_.find_kinds(wrapped, found, first_inputs, first_labels, kinds_.match_kinds(kinds, found.outputs)),
        ranges={name: [float(array.min()), float(array.max())] for name, array in first_inputs.items()},
        scaling_layers=_name_scaling_layers(float_student, found),
    )


def _name_scaling_layers(student: keras.Model, found: signature.Signature) -> dict[str, str]:
    layers = scaling.find_scaling(student)
    return {tensor.name: layers[tensor.keras_name][0] for tensor in found.inputs if tensor.keras_name in layers}


def _wrap(student: keras.Model, steps: Any) -> keras.Model:
    return student if steps is None else preprocessing_.wrap(student, steps)


def _find_entries(formats: str | Iterable[str]) -> list[Format]:
    """Return the requested rows of the table of formats, each once."""
    names = [formats] if isinstance(formats, str) else list(formats)
    if not names:
        known = ", ".join(sorted(FORMATS))
        raise ValueError(expected(f"formats to name at least one of {known}", f"formats={formats!r}"))
    return [FORMATS[check_choice("format", name, FORMATS)] for name in dict.fromkeys(names)]


def _check_student(student: keras.Model) -> None:
    check_model("student", student)
    if not student.built:
        fix = "Call it on a batch, or give it a keras.Input."
        raise ValueError(expected("student to be built", f"{student.name!r}, which has no weights yet", fix))
    for layer in student._flatten_layers():
        if getattr(layer, "quantization_mode", None):
            received = f"layer {layer.name!r}, quantized by Keras to {layer.quantization_mode}"
            fix = "Export the float student that you quantized; 'tflite_int8' and others quantize it."
            raise ValueError(expected("a student of floats", received, fix))
        if getattr(layer, "stateful", False):
            received = f"layer {layer.name!r} with stateful=True, whose answers depend on the calls before"
            fix = "Build it with stateful=False and the same weights; or make its state an input and an output."
            raise ValueError(expected("a student without a state between calls", received, fix))


def _check_data(entries: list[Format], student: keras.Model, calibration_data: Any, evaluation_data: Any) -> None:
    if is_quantize_aware(student):
        check_trained(student)
    for entry in entries:
        if calibration_data is None and needs_calibration(entry, student):
            fix = "Pass calibration_data: some hundred samples of the training data."
            raise ValueError(expected(f"calibration_data for format {entry.name!r}", "None", fix))
        entry.require()
    if evaluation_data is None and calibration_data is None:
        fix = "A file is kept only if it was compared with the student on data."
        raise ValueError(expected("evaluation_data, or calibration_data to use in its place", "None", fix))


def _read_signature(student: keras.Model, data: Any, what: str) -> signature.Signature:
    example, *_ = next(samples.iterate_batches(data, what), (None,))
    if example is None or not all(map(len, keras.tree.flatten(example))):
        raise ValueError(samples.no_samples_message(what))
    structure, inputs = signature.read_inputs(student, example)
    return signature.read_signature(student, structure, inputs, samples.name_arrays(example, inputs, what))


def _take_calibration(data: Any, declared: signature.Signature, found: signature.Signature, count: int) -> Any:
    """Return a batch of samples and labels to calibrate on, or `None` without data."""
    if data is None:
        return None
    held = samples.Samples(data, declared, "calibration_data")
    return _explain_sizes(found, lambda: held.take(count))


def _explain_sizes(found: signature.Signature, read: Callable[[], Any]) -> Any:
    """Return `read()`; where the student leaves a size free, explain why the data must not."""
    try:
        return read()
    except ValueError as error:
        free = [tensor.keras_name for tensor in found.inputs if None in tensor.shape[1:]]
        if not free or "to have shape" not in str(error):
            raise
        fix = f"A file has one size of input {free[0]!r}: pad the data to it, and pass it as input_spec."
        raise ValueError(f"{error} {fix}") from error


def _warn_if_scaled_differently(calibration: Arrays, evaluation: Arrays) -> None:
    """Warn if int8 ranges would be taken from numbers of another scale, such as bytes instead of shares of one."""
    for name, array in calibration.items():
        if array.dtype.kind != "f":
            continue
        low, high, least, most = map(float, (array.min(), array.max(), evaluation[name].min(), evaluation[name].max()))
        width, other = high - low, most - least
        apart = max(width, other) > 2 * min(width, other) or max(low - least, most - high) > max(width, other) / 2
        if apart and not math.isclose(width, other):
            received = f"{low:.4g} to {high:.4g} in calibration_data, {least:.4g} to {most:.4g} in evaluation_data"
            warnings.warn(
                expected(f"input {name!r} to have the same scale in both", received, "Check how both are scaled."),
                stacklevel=5,
            )
