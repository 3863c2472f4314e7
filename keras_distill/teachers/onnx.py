"""An ONNX file as a teacher, run by ONNX Runtime."""

from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked
from keras_distill.teachers.files import FileTeacher, Port
from keras_distill.teachers.kinds import file_with, kind
from keras_distill.teachers.last_operation import find_in_onnx
from keras_distill.teachers.reading import explain_unreadable

_DTYPES = {"float": "float32", "double": "float64"}


@keras.saving.register_keras_serializable(package="keras_distill")
class ONNXTeacher(FileTeacher):
    """Wrap an ONNX file, which PyTorch and many other frameworks write.

    It runs outside XLA, on the devices that the installed ONNX Runtime has. Needs the extra `onnx`. Images are taken
    channels first by most of these files; what transposes them stands before the teacher:

        images = keras.Input((32, 32, 3))
        teacher = keras.Model(images, ONNXTeacher("teacher.onnx")(keras.ops.transpose(images, (0, 3, 1, 2))))

    Args:
        path: File.
        outputs: What it returns, `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to `"logits"`.
        providers: Names of ONNX Runtime's execution providers. Defaults to `None`, all available ones.
        **kwargs: As in `FileTeacher`: `signature_output`, `input_shape`, `input_dtype`, `classes`, `batch_size`,
            `name`, `dtype`.

    Raises:
        ImportError: If ONNX Runtime is not installed.
        ValueError: If an argument is not what it should be, or what the file gives is not.
    """

    def __init__(self, path: str, outputs: str = "logits", providers: Any = None, **kwargs: Any):
        self.providers = None if providers is None else list(providers)
        super().__init__(path, outputs, **kwargs)
        self.supports_jit = False

    def _open(self, path):
        runtime = _runtime()
        options = runtime.SessionOptions()
        options.log_severity_level = 3  # Its warnings are about how the file was exported.
        providers = self.providers or runtime.get_available_providers()
        with explain_unreadable(path, "ONNX file", _refusals(runtime)):
            self._session = Untracked(runtime.InferenceSession(path, options, providers=providers))
        session = self._session.content
        self._ordered = True
        return tuple(
            {each.name: _port(each) for each in ends} for ends in (session.get_inputs(), session.get_outputs())
        )

    def _find_last_operation(self):
        return find_in_onnx(self.file, self._output_name)

    def _run(self, tensors):
        names = list(tensors)

        def run(arrays: Any) -> Any:
            return self._session.content.run([self._output_name], dict(zip(names, arrays, strict=True)))[0]

        whole = self._fixed_batch is not None
        return self._in_numpy(run, list(tensors.values()), self._fixed_batch or self.batch_size, whole)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "providers": self.providers}


def _runtime():
    try:
        import onnxruntime
    except ImportError as error:
        fix = 'pip install "keras_distill[onnx]"'
        raise ImportError(expected("onnxruntime to be installed", str(error), fix)) from error
    return onnxruntime


def _refusals(runtime):
    """Return what ONNX Runtime raises for a file, rather than for an argument."""
    state = runtime.capi.onnxruntime_pybind11_state
    return state.InvalidProtobuf, state.InvalidGraph, state.InvalidArgument, state.Fail


def _port(end):
    element = end.type.removeprefix("tensor(").removesuffix(")")
    sizes = None if end.shape is None else tuple(size if isinstance(size, int) else None for size in end.shape)
    return Port(sizes or None, _DTYPES.get(element, element))


@kind(file_with(".onnx"))
def _load_teacher(path, request):
    return ONNXTeacher(path, request.outputs, **request.options("signature_output"))
