"""Files written in this process: no worker starts, and no verification hides what a file computes."""

import warnings

import keras
import numpy as np

from keras_distill.export import samples, signature
from keras_distill.export.conversion import functions
from keras_distill.export.conversion.sources import Source
from keras_distill.export.formats import FORMATS
from keras_distill.export.runtimes.litert import LiteRTRuntime, ReferenceRuntime
from keras_distill.export.tflite import flatbuffer

RUNTIMES = {"default": LiteRTRuntime, "reference": ReferenceRuntime}


class InProcess:
    """Stands in for a `Converter`."""

    def ask(self, function, **arguments):
        with warnings.catch_warnings():
            # As in the converter's process, where warnings are not errors.
            warnings.simplefilter("ignore")
            return getattr(functions, function)(**arguments)


class Files:
    """Files of one student.

    Args:
        student: `keras.Model`.
        x: Array, list or dict of arrays, on which files are calibrated.
        work: Folder to write.
    """

    def __init__(self, student, x, work):
        structure, inputs = signature.read_inputs(student, x)
        self.student, self.folder = student, work / "files"
        self.folder.mkdir()
        self.inputs = samples.name_arrays(x, inputs, "x")
        self.signature = signature.read_signature(student, structure, inputs, self.inputs)
        self._source = Source(student, self.signature, self.inputs, work, InProcess(), 600.0)

    def write(self, name):
        """Write a format, and return the path of its file."""
        path = self.folder / FORMATS[name].filename
        if not path.exists():
            FORMATS[name].write(self._source, path)
        return path

    def complain(self, name):
        """Return what the format's inspection complains about."""
        return FORMATS[name].inspect(self.write(name), self.signature)

    def operators(self, name):
        """Return the names of a file's operators."""
        return {operator for operator, _ in flatbuffer.list_operators(flatbuffer.load_model(self.write(name)))}

    def expected(self, inputs=None):
        """Return what the student answers, one row per sample and output, in one array."""
        answers = self.signature.call(self.student, inputs or self.inputs)
        return join({name: keras.ops.convert_to_numpy(array) for name, array in answers.items()})

    def run(self, name, runtime="default", inputs=None):
        """Return what a file answers, in the same form."""
        if runtime == "micro":
            from keras_distill.export.runtimes.micro import MicroRuntime as opened
        else:
            opened = RUNTIMES[runtime]
        return join(opened(self.write(name))(inputs or self.inputs))


def join(answers):
    """Return a dict of arrays as one array of a row per sample."""
    return np.concatenate([np.reshape(answers[name], (len(answers[name]), -1)) for name in sorted(answers)], -1)


def correlate(one, other):
    """Return the correlation of two arrays."""
    return np.corrcoef(np.ravel(one), np.ravel(other))[0, 1]
