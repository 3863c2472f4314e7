"""A C array, read back from its source and run as a microcontroller would."""

import pathlib
import tempfile

from keras_distill.export.runtimes.litert import ReferenceRuntime
from keras_distill.export.runtimes.micro import MicroRuntime
from keras_distill.export.runtimes.runtime import Runtime
from keras_distill.export.tflite.flatbuffer import content_of


class CArrayRuntime(Runtime):
    """The bytes in the source, in the microcontroller's interpreter or, where that is not installed, the like of it.

    LiteRT's reference kernels are those that the microcontroller's were made from.
    """

    @staticmethod
    def require():
        """Import LiteRT, which is what there is if tflite-micro is not."""
        ReferenceRuntime.require()

    def __init__(self, path, threads=1):
        self._folder = tempfile.TemporaryDirectory()
        file = pathlib.Path(self._folder.name, "model.tflite")
        file.write_bytes(content_of(path))
        self._runtime = _kind()(file)
        self.input_dtypes, self.output_dtypes = self._runtime.input_dtypes, self._runtime.output_dtypes

    def __call__(self, inputs):
        """Run a batch, sample by sample."""
        return self._runtime(inputs)

    def prepared(self, inputs):
        """Return a function of no arguments that runs these inputs and nothing else, for timing."""
        return self._runtime.prepared(inputs)


def _kind():
    try:
        MicroRuntime.require()
    except ImportError:
        return ReferenceRuntime
    return MicroRuntime
