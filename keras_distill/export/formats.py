"""The table of formats: a new format is one new entry here."""

import dataclasses
import importlib.util
import pathlib
from collections.abc import Callable

import keras

from keras_distill._core.extras import missing
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.conversion import writers
from keras_distill.export.conversion.sources import Source
from keras_distill.export.runtimes.remote import require
from keras_distill.export.signature import Signature
from keras_distill.export.tflite import inspection
from keras_distill.quantization.aware import is_quantize_aware


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: What users write in `formats`.
        summary: One line for documentation and help.
        filename: The file or folder within the export.
        write: Function of a `Source` and a path that writes the file there, or raises.
        runtime: Name in `RUNTIMES` of the runtime that verifies the file.
        limits: `Limits` within which a file of this kind agrees with the student.
        inspect: Function of a path and a `Signature` that returns complaints about the file's operators, types and
            shapes, a list of str. Defaults to no inspection.
        needs_calibration: Whether the format cannot be written without sample data. Defaults to `False`.
        takes_learned_ranges: Whether quantization-aware students need no sample data. Defaults to `False`.
        packages: Pairs of module and extra that writing needs beyond TensorFlow. Defaults to `()`.
        free_sizes: Whether sizes that the student leaves free are free in the file. Defaults to `False`.
    """

    name: str
    summary: str
    filename: str
    write: Callable[[Source, pathlib.Path], None]
    runtime: str
    limits: Limits
    inspect: Callable[[pathlib.Path, Signature], list[str]] = lambda path, signature: []
    needs_calibration: bool = False
    takes_learned_ranges: bool = False
    packages: tuple[tuple[str, str], ...] = ()
    free_sizes: bool = False

    def require(self) -> None:
        """Raise an `ImportError` that says what to install if a package that writes or runs the format is missing."""
        for module, extra in self.packages:
            if importlib.util.find_spec(module) is None:
                raise missing(f"{module} for format {self.name!r}", ImportError(f"no module {module!r}"), extra)
        require(self.runtime)


def needs_calibration(entry: Format, student: keras.Model | None) -> bool:
    """Return whether writing a format of a student requires sample data.

    Args:
        entry: `Format`.
        student: `keras.Model`.

    Example:
        >>> needs_calibration(FORMATS["tflite_int8"], None), needs_calibration(FORMATS["tflite"], None)
        (True, False)
    """
    return entry.needs_calibration and not (entry.takes_learned_ranges and is_quantize_aware(student))


_EXACT = Limits(min_agreement=0.99, max_difference=1e-3, max_mean_difference=1e-4)
# On a few samples one step of eight bits changes the answer, so only the mean difference is limited.
_INT8 = Limits(min_agreement=0.95, max_difference=None, max_mean_difference=0.05)
_INT8_WEIGHTS = Limits(min_agreement=0.95, max_difference=None, max_mean_difference=0.03)
_FLOAT = inspection.every(inspection.portable, inspection.static)
_QUANTIZER = (("litert_quantizer", "edge"),)
_LARGE = 1024
_LARGE_ONLY = ": the converter leaves layers of less than 1,024 weights as they are; tflite_weights_int8 does not"

FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            name="saved_model",
            summary="SavedModel, any batch size, signature `serving_default`",
            filename="saved_model",
            write=writers.saved_model,
            runtime="saved_model",
            limits=Limits(min_agreement=0.99, max_difference=1e-4, max_mean_difference=1e-5),
            free_sizes=True,
        ),
        Format(
            name="tflite",
            summary="TFLite, float32, batch 1",
            filename="student.tflite",
            write=writers.float32,
            runtime="litert",
            limits=_EXACT,
            inspect=_FLOAT,
        ),
        Format(
            name="tflite_float16",
            summary="TFLite, weights in float16, computing in float32, batch 1",
            filename="student_float16.tflite",
            write=writers.tflite(optimizations=["DEFAULT"], supported_types=["float16"]),
            runtime="litert",
            limits=Limits(min_agreement=0.98, max_difference=0.03, max_mean_difference=0.005),
            inspect=inspection.every(_FLOAT, inspection.weights_in("FLOAT16")),
        ),
        # TensorFlow's converter: its file is up to three times as fast as litert-quantizer's and closer to the student,
        # at a tenth to a third more bytes. `tflite_weights_int8` is about as small as litert-quantizer's file.
        Format(
            name="tflite_dynamic_range",
            summary="TFLite, large layers' weights in int8, activations quantized on the fly, batch 1",
            filename="student_dynamic_range.tflite",
            write=writers.tflite(optimizations=["DEFAULT"]),
            runtime="litert",
            limits=_INT8_WEIGHTS,
            inspect=inspection.every(_FLOAT, inspection.weights_in("INT8", _LARGE_ONLY, _LARGE)),
        ),
        # TensorFlow's quantizer with ranges from `calibration`: equal to litert-quantizer if that knows all operators.
        # litert-quantizer leaves PReLU, LeakyReLU, ELU, exponentials, minima and global maxima in floating point.
        Format(
            name="tflite_int8",
            summary="TFLite, full-integer int8, int8 in and out, batch 1",
            filename="student_int8.tflite",
            write=writers.int8("int8"),
            runtime="litert",
            limits=_INT8,
            inspect=inspection.every(_FLOAT, inspection.fully_int8),
            needs_calibration=True,
            takes_learned_ranges=True,
        ),
        Format(
            name="tflite_int8_float_io",
            summary="TFLite, int8 inside, float32 in and out, batch 1",
            filename="student_int8_float_io.tflite",
            write=writers.int8("float32"),
            runtime="litert",
            limits=_INT8,
            inspect=inspection.every(_FLOAT, inspection.int8_within),
            needs_calibration=True,
            takes_learned_ranges=True,
        ),
        # For the Edge TPU of Coral and the tasks of MediaPipe, which know no int8 at the ends. Where the student takes
        # numbers from 0 to 1, the bytes of a camera are the file's input as they are.
        Format(
            name="tflite_uint8",
            summary="TFLite, int8 inside, uint8 in and out, batch 1",
            filename="student_uint8.tflite",
            write=writers.int8("uint8"),
            runtime="litert",
            limits=_INT8,
            inspect=inspection.every(_FLOAT, inspection.uint8_at_the_ends),
            needs_calibration=True,
            takes_learned_ranges=True,
        ),
        # litert-quantizer: TensorFlow's converter refuses tokens here, and its layer normalizations do not run.
        Format(
            name="tflite_int16x8",
            summary="TFLite, activations in int16, weights in int8, int16 in and out, batch 1; reference kernels, slow",
            filename="student_int16x8.tflite",
            write=writers.quantized("static_wi8_ai16", calibrated=True),
            runtime="litert",
            limits=_INT8_WEIGHTS,
            inspect=inspection.every(_FLOAT, inspection.int16_by_int8),
            needs_calibration=True,
            packages=_QUANTIZER,
        ),
        # litert-quantizer: TensorFlow's converter cannot quantize weights only, to eight or four bits.
        Format(
            name="tflite_weights_int8",
            summary="TFLite, weights in int8, computing in float32, batch 1",
            filename="student_weights_int8.tflite",
            write=writers.quantized("weight_only_wi8_afp32"),
            runtime="litert",
            limits=_INT8_WEIGHTS,
            inspect=inspection.every(_FLOAT, inspection.weights_in("INT8")),
            packages=_QUANTIZER,
        ),
        Format(
            name="tflite_weights_int4",
            summary="TFLite, weights in int4, computing in float32, batch 1",
            filename="student_weights_int4.tflite",
            # OCTAV finds better scales than plain minimum and maximum on a CNN, and equal ones on a transformer.
            write=writers.quantized("weight_only_wi4_afp32", algorithm="OCTAV"),
            runtime="litert",
            limits=Limits(min_agreement=0.9, max_difference=None, max_mean_difference=0.1),
            inspect=inspection.every(_FLOAT, inspection.weights_in("INT4")),
            packages=_QUANTIZER,
        ),
        Format(
            name="tflite_dynamic_batch",
            summary="TFLite, float32, any batch size",
            filename="student_dynamic_batch.tflite",
            write=writers.dynamic_batch,
            runtime="litert_batch",
            limits=_EXACT,
            inspect=inspection.every(inspection.portable, inspection.free_batch),
        ),
        # With a free batch one file serves any number of samples, and an LSTM stays one operator; with batch 1 it would
        # become a slow loop. A single sample costs small students up to 50 µs more.
        Format(
            name="onnx",
            summary="ONNX, float32, any batch size, named inputs and outputs",
            filename="student.onnx",
            write=writers.onnx,
            runtime="onnx",
            limits=_EXACT,
            packages=(("tf2onnx", "onnx"), ("onnx", "onnx")),
            free_sizes=True,
        ),
        Format(
            name="c_array",
            summary="C++ source and header for microcontrollers, float32, batch 1",
            filename="c_array",
            write=writers.c_array(writers.float32_for_microcontrollers, "student"),
            runtime="c_array",
            limits=_EXACT,
            inspect=_FLOAT,
        ),
        Format(
            name="c_array_int8",
            summary="C++ source and header for microcontrollers, full-integer int8, int8 in and out, batch 1",
            filename="c_array_int8",
            write=writers.c_array(writers.int8("int8"), "student_int8"),
            runtime="c_array",
            limits=_INT8,
            inspect=inspection.every(_FLOAT, inspection.fully_int8),
            needs_calibration=True,
            takes_learned_ranges=True,
        ),
    )
}
