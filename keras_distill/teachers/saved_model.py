"""A SavedModel as a teacher, in the graph of the training step."""

import concurrent.futures
from typing import Any

import keras

from keras_distill._core.backend import has_accelerator
from keras_distill._core.messages import expected
from keras_distill._core.models import Untracked
from keras_distill.teachers.files import FileTeacher, Port
from keras_distill.teachers.kinds import folder_with, kind
from keras_distill.teachers.last_operation import find_in_function
from keras_distill.teachers.reading import explain_unreadable

_SIGNATURES = ("serving_default", "serve")


@keras.saving.register_keras_serializable(package="keras_distill")
class SavedModelTeacher(FileTeacher):
    """Wrap a SavedModel, written by Keras's `model.export`, `tf.saved_model.save` or an earlier TensorFlow.

    It runs in the graph and on the device of the step, and needs no Python code of the model.

    Args:
        path: Folder of the SavedModel.
        outputs: What it returns, `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to `"logits"`.
        signature: Name of the signature to run. Defaults to `None`: `serving_default`, `serve`, or the only one.
        **kwargs: As in `FileTeacher`: `signature_output`, `input_shape`, `input_dtype`, `classes`, `batch_size`,
            `name`, `dtype`.

    Raises:
        ValueError: If an argument is invalid, or the folder has no signature to run.

    Example:

    >>> import tempfile
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     model.export(folder, verbose=False)
    ...     teacher = SavedModelTeacher(folder)
    >>> x = keras.random.normal((5, 4))
    >>> bool(keras.ops.all(keras.ops.abs(teacher(x) - model(x)) < 1e-5))
    True
    """

    def __init__(self, path: str, outputs: str = "logits", signature: Any = None, **kwargs: Any):
        self.signature = signature
        super().__init__(path, outputs, **kwargs)
        self.supports_jit = not has_accelerator() or self.compiles()

    def compiles(self) -> bool:
        """Return whether XLA can compile it; true while the shape of its inputs is unknown."""
        import tensorflow as tf

        if self._specs is None:
            return True
        leaves = keras.tree.flatten(self._specs)
        zeros = [tf.zeros((2, *(size or 1 for size in spec.shape[1:])), spec.dtype) for spec in leaves]

        def run(*tensors: Any) -> Any:
            return self(keras.tree.pack_sequence_as(self._specs, tensors))

        try:
            tf.function(run, jit_compile=True).experimental_get_compiler_ir(*zeros)(stage="hlo")
        except Exception:
            return False
        return True

    def _open(self, path):
        with explain_unreadable(path, "SavedModel"):
            loaded = _load(path)
        function = self._function(loaded)
        # Keep the loaded object: it owns the variables, to which the function has weak references.
        self._loaded = Untracked((loaded, function))
        arguments, keywords = function.structured_input_signature
        specs = {**{spec.name: spec for spec in keras.tree.flatten(arguments)}, **keywords}
        # A signature is an unordered dict; the endpoint of Keras's exports has the inputs in the order of the model.
        listed = getattr(_endpoint(loaded), "structured_input_signature", ())
        names = [spec.name for spec in keras.tree.flatten(listed)]
        self._ordered = sorted(names) == sorted(specs)
        specs = {name: specs[name] for name in (names if self._ordered else sorted(specs))}
        ends = (specs, _named(function.structured_outputs))
        return tuple({name: _port(spec) for name, spec in each.items()} for each in ends)

    def _find_last_operation(self):
        _, function = self._loaded.content
        return find_in_function(function, sorted(_named(function.structured_outputs)).index(self._output_name))

    def _function(self, loaded):
        functions, endpoint = dict(loaded.signatures), _endpoint(loaded)
        if endpoint is not None:
            functions.setdefault("serve", endpoint)
        only = list(functions) if len(functions) == 1 else []
        names = [name for name in ([self.signature] if self.signature else [*_SIGNATURES, *only]) if name in functions]
        if not names:
            wanted = repr(self.signature) if self.signature else "serving_default or serve"
            received = f"{', '.join(sorted(functions)) or 'no signature at all'}"
            fix = "Pass signature=, the name of one of them." if functions else "Write it with `model.export(path)`."
            raise ValueError(expected(f"a signature {wanted} in {self.label}", received, fix))
        return functions[names[0]]

    def _run(self, tensors):
        size = self._fixed_batch or self.batch_size
        answer = self._call_function(tensors) if size is None else self._in_portions(tensors, size)
        return keras.ops.cast(answer, self.compute_dtype)

    def _call_function(self, tensors):
        _, function = self._loaded.content
        arguments, keywords = function.structured_input_signature
        leaves = [tensors[spec.name] for spec in keras.tree.flatten(arguments)]
        arguments = keras.tree.pack_sequence_as(arguments, leaves)
        return _named(function(*arguments, **{name: tensors[name] for name in keywords}))[self._output_name]

    def _in_portions(self, tensors, size):
        import tensorflow as tf

        shape = self._output_port.shape
        spec = tf.TensorSpec(shape and (size, *shape[1:]), self._output_port.dtype)
        return _in_portions(self._call_function, tensors, size, spec)

    def get_config(self) -> dict[str, Any]:
        return {**super().get_config(), "signature": self.signature}


def _load(path):
    """Load a SavedModel outside any `tf.distribute` strategy: their scopes do not reach other threads.

    Mirrored variables would be out of reach of its functions where each replica calls them.
    """
    import tensorflow as tf

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(tf.saved_model.load, path).result()


def _endpoint(loaded):
    """Return the function `serve` of a SavedModel, or `None` if it has none or several signatures."""
    functions = getattr(getattr(loaded, "serve", None), "concrete_functions", ())
    return functions[0] if len(functions) == 1 else None


def _port(spec):
    return Port(None if spec.shape.rank is None else tuple(spec.shape), spec.dtype.name)


def _named(outputs):
    """Return outputs as a dict; unnamed ones get the names that TensorFlow gives them in a signature."""
    if isinstance(outputs, dict):
        return outputs
    return {f"output_{index}": output for index, output in enumerate(keras.tree.flatten(outputs))}


def _in_portions(function, tensors, size, signature):
    """Run a function with a fixed batch size on any number of rows, in portions; the last one is padded."""
    import tensorflow as tf

    def divided(tensor: Any) -> Any:
        portions = tf.reshape(tf.gather(tensor, rows), tf.concat([[count, size], tf.shape(tensor)[1:]], axis=0))
        portions.set_shape((None, size, *tensor.shape[1:]))
        return portions

    total = tf.shape(next(iter(tensors.values())))[0]
    count = -(-total // size)
    rows = tf.minimum(tf.range(count * size), total - 1)
    portions = {name: divided(tensor) for name, tensor in tensors.items()}
    answers = tf.map_fn(function, portions, fn_output_signature=signature)
    return tf.reshape(answers, tf.concat([[count * size], tf.shape(answers)[2:]], axis=0))[:total]


@kind(folder_with("saved_model.pb", "saved_model.pbtxt"))
def _load_teacher(path, request):
    return SavedModelTeacher(path, request.outputs, **request.options("signature", "signature_output"))
