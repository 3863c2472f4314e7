"""What every writer of a format works from, and the intermediate files that formats share."""

import dataclasses
import functools
import pathlib

from keras_distill.export import arrays
from keras_distill.export.conversion.converter import Converter
from keras_distill.export.conversion.graph import save_graph, without_negation
from keras_distill.export.conversion.unrolling import unrolled
from keras_distill.export.signature import Signature


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
        calibration_method: str, name in `calibration.METHODS`. Defaults to `"min_max"`.
    """

    student: object
    signature: Signature
    calibration: dict | None
    work: pathlib.Path
    converter: Converter
    time_limit: float
    calibration_method: str = "min_max"
    _outcomes: dict = dataclasses.field(default_factory=dict, init=False, repr=False, compare=False)

    def shared(self, name, write):
        """Return the path of an intermediate file or folder; it is written at the first request.

        What failed once is not tried again: it may have taken all of the time limit.

        Args:
            name: str, its name.
            write: function of the path, as a writer's second argument.

        Raises:
            Exception: what `write` raised the first time.
        """
        path = pathlib.Path(self.work) / name
        if name not in self._outcomes:
            try:
                write(path)
                self._outcomes[name] = None
            except Exception as error:
                self._outcomes[name] = error
        if self._outcomes[name] is not None:
            raise self._outcomes[name]
        return path

    @functools.cached_property
    def unrolled_student(self):
        """The student with the loops of its recurrent layers written out, which is what quantizers can handle."""
        return unrolled(self.student, self.signature)

    @property
    def free_saved_model(self):
        """Path of a SavedModel in which every size that the student leaves free is free."""
        shapes = {tensor.name: tensor.shape for tensor in self.signature.inputs}
        return self.shared("free", lambda path: save_graph(self.student, self.signature, shapes, path))

    @property
    def static_saved_model(self):
        """Path of a SavedModel of batch 1 and no free sizes, what small runtimes are converted from."""
        return self.shared("static", lambda path: self._save(self.student, 1, path))

    @property
    def batched_saved_model(self):
        """Path of a SavedModel of which the batch alone is free; no converter can do that to a loop."""
        return self.shared("batched", lambda path: self._save(self.unrolled_student, None, path))

    @property
    def float_file(self):
        """Path of the float32 TFLite file of batch 1."""
        return self.shared("float.tflite", lambda path: self._convert(self.static_saved_model, path))

    @property
    def calibrated_file(self):
        """Path of a float32 TFLite file that notes the ranges of its tensors over the calibration samples."""
        return self.shared("calibrated.tflite", self._calibrate)

    def _save(self, student, batch, path):
        shapes = {name: (batch, *shape[1:]) for name, shape in self.signature.example_shapes.items()}
        save_graph(student, self.signature, shapes, path)
        without_negation(path)

    def _convert(self, saved_model, path):
        self.converter.ask("convert", saved_model=str(saved_model), output=str(path), settings={})

    def _calibrate(self, path):
        model = self.float_file
        if self.unrolled_student is not self.student:
            saved_model = self.shared("unrolled", lambda folder: self._save(self.unrolled_student, 1, folder))
            model = self.shared("unrolled.tflite", lambda file: self._convert(saved_model, file))
        samples = self.shared("calibration.npz", lambda file: arrays.save(file, self.calibration))
        request = {"model": str(model), "samples": str(samples), "output": str(path)}
        self.converter.ask("calibrate", method=self.calibration_method, **request)
