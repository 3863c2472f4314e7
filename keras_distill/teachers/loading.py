"""Loading a teacher, whatever it is: a model, a file, a function, a store."""

import math
import os
from typing import Any, NoReturn

import keras

from keras_distill._core.checked import checked
from keras_distill._core.messages import expected
from keras_distill.teachers.foreign import OUTPUTS
from keras_distill.teachers.kinds import KINDS, Request, file_with, is_path, kind
from keras_distill.teachers.reading import HALF_A_KERAS_FILE, check_archive, explain_old_keras, explain_unreadable

_KINDS = "a keras.Model, a path (a SavedModel folder, .keras, .tflite or .onnx, or a store of soft targets), or a "
_KINDS += "callable on NumPy arrays"


@checked(
    outputs=OUTPUTS,
    retries=(0, math.inf),
    backoff=(0.0, math.inf),
    signature=str | None,
    signature_output=str | int | None,
    like=keras.Model | None,
)
def as_teacher(
    teacher: Any,
    *,
    outputs: str = "logits",
    input_shape: Any = None,
    input_dtype: Any = "float32",
    classes: Any = None,
    batch_size: Any = None,
    retries: int = 3,
    backoff: float = 0.5,
    signature: Any = None,
    signature_output: Any = None,
    like: Any = None,
    name: str | None = None,
) -> Any:
    """Return a `keras.Model` that returns logits, given anything that can teach.

    | teacher | result |
    |---|---|
    | a `keras.Model` | itself |
    | a `.keras` file (or `.h5`) | the model in it |
    | the folder of a SavedModel | `SavedModelTeacher`, in the graph |
    | a `.tflite` file | `TFLiteTeacher`, needs the extra `edge` |
    | a `.onnx` file | `ONNXTeacher`, needs the extra `onnx` |
    | a callable on NumPy arrays | `CallableTeacher` |
    | a store of soft targets (`keras_distill.targets.TargetStore`), or its folder | `StoredTeacher`, runs nothing |

    If a Keras model ends in a softmax, its logits are used. For a SavedModel, a `.tflite` or an `.onnx` file with a
    softmax, or a service that returns probabilities, pass `outputs="probabilities"`: without it, probabilities are
    refused, since they are no logits.

    Args:
        teacher: A `keras.Model`, a path, or a callable.
        outputs: What a file or a callable returns: `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to
            `"logits"`.
        input_shape: Shape of one sample, or a dict or list of shapes for several inputs, if the teacher does not
            know it. Defaults to `None`.
        input_dtype: Dtype of the inputs, one or as many as there are shapes. Defaults to `"float32"`.
        classes: Number of classes, if it cannot be determined. Defaults to `None`.
        batch_size: Largest number of samples that a file or a callable takes at once. Defaults to `None`, any.
        retries: Number of times a callable is called again if it raises an exception. Defaults to 3.
        backoff: Seconds before the first further call, doubled for each that follows. Defaults to 0.5.
        signature: Name of the signature of a SavedModel. Defaults to `None`: `serving_default`, `serve`, or the only
            one.
        signature_output: Name of the output to learn from, if a file has several. Defaults to `None`.
        like: A Keras model with the same inputs, which sets `input_shape` and `input_dtype` if they are not given.
            Defaults to `None`.
        name: Name of the returned model. Defaults to `None`: Keras chooses one.

    Returns:
        A `keras.Model` that returns logits.

    Raises:
        ValueError: If `teacher` is nothing that can teach, or its outputs are invalid.
        ImportError: If the runtime of the file is not installed.
        RuntimeError: If a callable raises an exception in every call.

    Example:

    >>> import numpy as np
    >>> teacher = as_teacher(lambda x: np.full((len(x), 2), 0.5), outputs="probabilities", input_shape=(4,))
    >>> bool(np.allclose(teacher(np.ones((1, 4))), np.log([[0.5, 0.5]])))
    True
    """
    found = next((each for each in KINDS if each.recognises(teacher)), None)
    if found is None:
        _refuse(teacher)
    if like is not None and input_shape is None:
        input_shape, input_dtype = _inputs_of(like)
    request = Request(
        outputs=outputs,
        input_shape=input_shape,
        input_dtype=input_dtype,
        classes=classes,
        batch_size=batch_size,
        retries=retries,
        backoff=backoff,
        signature=signature,
        signature_output=signature_output,
        name=name,
    )
    return found.load(teacher, request)


@kind(lambda given: isinstance(given, keras.Model) or file_with(".keras", ".h5", ".hdf5")(given))
def _load_teacher(teacher, request):
    if request.outputs != "logits":
        fix = "If it ends in a softmax, its logits are used: leave `outputs` out."
        raise ValueError(expected('outputs="logits" of a Keras model', f"outputs={request.outputs!r}", fix))
    if isinstance(teacher, keras.Model):
        return teacher
    path = os.fspath(teacher)
    with explain_unreadable(path, "Keras file", HALF_A_KERAS_FILE), explain_old_keras(path):
        check_archive(path)
        return keras.saving.load_model(path, compile=False)


def _refuse(teacher: Any) -> NoReturn:
    if not is_path(teacher):
        raise ValueError(expected(f"teacher to be {_KINDS}", f"teacher={teacher!r} of type {type(teacher).__name__}"))
    path = os.fspath(teacher)
    if not os.path.exists(path):
        raise ValueError(expected(f"teacher to be {_KINDS}", f"{path!r}, which does not exist"))
    if os.path.isdir(path):
        found = ", ".join(sorted(os.listdir(path))[:10]) or "nothing"
        what = "the folder of a SavedModel, with a saved_model.pb, or of stored soft targets, with a manifest.json"
        raise ValueError(expected(what, f"{path!r}, which has {found}"))
    raise ValueError(expected(f"teacher to be {_KINDS}", f"{path!r}"))


def _inputs_of(model):
    """Return shapes and dtypes of one sample of a model's inputs; `None` if the model is not built."""
    structure = getattr(model, "input", None)
    structure = getattr(model, "inputs", None) if structure is None else structure
    if structure is None:
        return None, "float32"
    if isinstance(structure, (list, tuple)) and len(structure) == 1:
        structure = structure[0]
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), structure)
    return shapes, [tensor.dtype for tensor in keras.tree.flatten(structure)]
