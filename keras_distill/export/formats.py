"""The table of formats: a new format is one new entry here."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable

from keras_distill.export import arrays, flatbuffer
from keras_distill.export.conversion import Converter
from keras_distill.export.graph import without_negation
from keras_distill.export.signature import Signature
from keras_distill.export.verification import Limits


def _no_complaints(path, signature):
    return []


@dataclasses.dataclass(frozen=True)
class Format:
    """One kind of file.

    Attributes:
        name: str, what users write in `formats`.
        filename: str, the file or folder within the export.
        write: function of a `Source` and a path that writes the file there, or raises.
        runtime: str, name in `runtimes.RUNTIMES` of what runs it.
        limits: `verification.Limits` within which a file of this kind agrees with the student.
        inspect: function of a path and a `Signature` that returns a list of complaints about what the file is made of.
        needs_calibration: bool, whether it cannot be written without sample data. Defaults to False.
    """

    name: str
    filename: str
    write: Callable
    runtime: str
    limits: Limits
    inspect: Callable = _no_complaints
    needs_calibration: bool = False


@dataclasses.dataclass(frozen=True)
class Source:
    """What a writer works from.

    Attributes:
        student: float32 `keras.Model`.
        signature: `Signature` of the student.
        calibration: dict of str to array, samples along the first axis, or None.
        work: folder for intermediate files, deleted afterwards.
        converter: `Converter`.
        time_limit: float, seconds that one request to another process may take.
    """

    student: object
    signature: Signature
    calibration: dict | None
    work: pathlib.Path
    converter: Converter
    time_limit: float

    @functools.cached_property
    def static_saved_model(self):
        """Path of a SavedModel of batch 1 and no free sizes, what small runtimes are converted from."""
        path = self.work / "static"
        save_graph(self.student, self.signature, self.signature.example_shapes, path)
        without_negation(path)
        return path

    @functools.cached_property
    def calibration_file(self):
        """Path of the calibration samples as an .npz file."""
        path = self.work / "calibration.npz"
        arrays.save(path, self.calibration)
        return path


def save_graph(student, signature, shapes, path):
    """Write a SavedModel with the one signature `serving_default`, its inputs and outputs named.

    Args:
        student: `keras.Model`.
        signature: `Signature` of the student.
        shapes: dict of input name to shape; None where the size is free.
        path: folder to write.
    """
    import keras
    import tensorflow as tf

    specs = {
        tensor.name: tf.TensorSpec(shapes[tensor.name], tensor.dtype, name=tensor.name) for tensor in signature.inputs
    }
    archive = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serving_default", lambda inputs: signature.call(student, inputs), [specs])
    archive.write_out(str(path), verbose=False)


def _write_saved_model(source, path):
    shapes = {tensor.name: tensor.shape for tensor in source.signature.inputs}
    save_graph(source.student, source.signature, shapes, path)


def tflite(calibrate=False, **settings):
    """Return a writer of TFLite files.

    Args:
        calibrate: bool, whether to show the converter the calibration samples. Defaults to False.
        **settings: `optimizations`, `supported_ops` and `supported_types`, lists of names as TensorFlow has them, and
            `inference_type`, dtype of the inputs and outputs.

    Returns:
        Function for `Format.write`.
    """

    def write(source, path):
        source.converter.convert(
            saved_model=str(source.static_saved_model),
            output=str(path),
            settings=settings,
            calibration=str(source.calibration_file) if calibrate else None,
        )

    return write


FORMATS = {
    entry.name: entry
    for entry in (
        Format(
            name="saved_model",
            filename="saved_model",
            write=_write_saved_model,
            runtime="saved_model",
            limits=Limits(min_agreement=0.99, max_difference=1e-4, max_mean_difference=1e-5),
        ),
        Format(
            name="tflite",
            filename="student.tflite",
            write=tflite(),
            runtime="litert",
            limits=Limits(min_agreement=0.99, max_difference=1e-3, max_mean_difference=1e-4),
            inspect=flatbuffer.no_flex,
        ),
        Format(
            name="tflite_int8",
            filename="student_int8.tflite",
            write=tflite(
                calibrate=True,
                optimizations=["DEFAULT"],
                supported_ops=["TFLITE_BUILTINS_INT8"],
                inference_type="int8",
            ),
            runtime="litert",
            # A few samples lie where one step of eight bits turns the answer; the mean says whether the rest does.
            limits=Limits(min_agreement=0.95, max_difference=None, max_mean_difference=0.05),
            inspect=flatbuffer.fully_int8,
            needs_calibration=True,
        ),
    )
}
