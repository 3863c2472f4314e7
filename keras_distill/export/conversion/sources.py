"""What every writer of a format starts from, and the intermediate files that formats share."""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable
from typing import Any

from keras_distill.export import arrays
from keras_distill.export.conversion.graph import save_graph
from keras_distill.export.conversion.rewriting import rewrite
from keras_distill.export.rebuilding import unroll
from keras_distill.export.signature import Signature
from keras_distill.export.tflite.portability import replace_operators
from keras_distill.export.worker import Process

_FUNCTIONS = "keras_distill.export.conversion.functions"


class Converter(Process):
    """A process that runs the functions in `conversion.functions`.

    Some graphs crash a converter, others keep it busy forever, so converters run in a process of their own. Starting it
    imports TensorFlow, which takes seconds; the formats of one export share a process until it crashes.

    Args:
        work: Folder for the log of the process.
        time_limit: Seconds that a conversion may take. Defaults to 600.
        module: Module of the functions. Defaults to `conversion.functions`.
    """

    def __init__(self, work: str | os.PathLike, time_limit: float = 600.0, module: str = _FUNCTIONS):
        super().__init__(module, pathlib.Path(work) / "conversion.log", time_limit)


@dataclasses.dataclass(frozen=True)
class Source:
    """What a writer starts from.

    Attributes:
        student: Float32 `keras.Model`.
        signature: `Signature` of the student.
        calibration: Dict of input name to array, samples along the first axis, or `None`.
        work: Folder for intermediate files, deleted afterwards.
        converter: `Converter` that runs the conversions.
        time_limit: Seconds that one request to another process may take.
        calibration_method: Name in `calibration.METHODS`. Defaults to `"min_max"`.
        kinds: Dict of output name to one of `kinds.KINDS`, by which files are compared with the student.
        first_student: The float student before quantization-aware training, or `None`.
    """

    student: Any
    signature: Signature
    calibration: arrays.Arrays | None
    work: pathlib.Path
    converter: Converter
    time_limit: float
    calibration_method: str = "min_max"
    kinds: dict[str, str] = dataclasses.field(default_factory=dict)
    first_student: Any = None
    _outcomes: dict[str, Exception | None] = dataclasses.field(
        default_factory=dict, init=False, repr=False, compare=False
    )

    def shared(self, name: str, write: Callable[[pathlib.Path], None]) -> pathlib.Path:
        """Return the path of an intermediate file or folder, which is written at the first request.

        A failure is not tried again, since it may have taken all of the time limit.

        Args:
            name: Name of the file or folder.
            write: Function that writes it, given the path.

        Raises:
            Exception: What `write` raised the first time.
        """
        path = pathlib.Path(self.work) / name
        if name not in self._outcomes:
            try:
                write(path)
                self._outcomes[name] = None
            except Exception as error:
                self._outcomes[name] = error
        failure = self._outcomes[name]
        if failure is not None:
            raise failure
        return path

    @functools.cached_property
    def unrolled_student(self) -> Any:
        """The student with unrolled recurrent layers, since quantizers cannot handle loops."""
        return unroll(self.student, self.signature)

    @property
    def free_saved_model(self) -> pathlib.Path:
        """Path of a SavedModel with the free sizes of the student."""
        shapes = {tensor.name: tensor.shape for tensor in self.signature.inputs}
        return self.shared("free", lambda path: save_graph(self.student, self.signature, shapes, path))

    @property
    def static_saved_model(self) -> pathlib.Path:
        """Path of a SavedModel of batch 1 without free sizes, from which files for small runtimes are converted."""
        return self.shared("static", lambda path: self._save(self.student, 1, path))

    @property
    def batched_saved_model(self) -> pathlib.Path:
        """Path of a SavedModel in which only the batch is free; no converter supports that for a loop."""
        return self.shared("batched", lambda path: self._save(self.unrolled_student, None, path))

    @property
    def float_file(self) -> pathlib.Path:
        """Path of the float32 TFLite file of batch 1."""
        return self.shared("float.tflite", lambda path: self._convert(self.static_saved_model, path))

    @property
    def unrolled_file(self) -> pathlib.Path:
        """Path of a float32 TFLite file of batch 1 whose recurrent layers are unrolled."""
        if self.unrolled_student is self.student:
            return self.float_file
        saved_model = self.shared("unrolled", lambda folder: self._save(self.unrolled_student, 1, folder))
        return self.shared("unrolled.tflite", lambda file: self._convert(saved_model, file))

    @property
    def calibrated_file(self) -> pathlib.Path:
        """Path of a float32 TFLite file that holds the ranges of its tensors over the calibration samples."""
        return self.shared("calibrated.tflite", self._calibrate)

    def _save(self, student: Any, batch: int | None, path: pathlib.Path) -> None:
        shapes = {name: (batch, *shape[1:]) for name, shape in self.signature.example_shapes.items()}
        save_graph(student, self.signature, shapes, path)
        rewrite(path)

    def _convert(self, saved_model: pathlib.Path, path: pathlib.Path) -> None:
        self.converter.ask("convert", saved_model=str(saved_model), output=str(path), settings={})
        replace_operators(path)

    def _calibrate(self, path: pathlib.Path) -> None:
        model = self.unrolled_file
        samples = self.shared("calibration.npz", lambda file: arrays.save(file, self.calibration or {}))
        request = {"model": str(model), "samples": str(samples), "output": str(path)}
        self.converter.ask("calibrate", method=self.calibration_method, **request)
