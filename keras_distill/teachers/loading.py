"""One door for every kind of teacher: models, files, functions."""

import os

import keras

from keras_distill._core.messages import expected, unknown_name
from keras_distill.teachers.foreign import OUTPUTS
from keras_distill.teachers.kinds import KINDS, Request, file_with, is_path, kind

_KINDS = "a keras.Model, a path (a SavedModel folder, .keras, .tflite or .onnx, or a store of soft targets), or a "
_KINDS += "callable on NumPy arrays"


def as_teacher(
    teacher,
    *,
    outputs="logits",
    input_shape=None,
    input_dtype="float32",
    classes=None,
    batch_size=None,
    retries=3,
    backoff=0.5,
    signature=None,
    signature_output=None,
    like=None,
    name=None,
):
    """Make a `keras.Model` that gives logits of whatever can teach.

    | teacher | what it becomes |
    |---|---|
    | a `keras.Model` | itself |
    | a `.keras` file (or `.h5`) | the model in it |
    | the folder of a SavedModel | `SavedModelTeacher`, in the graph |
    | a `.tflite` file | `TFLiteTeacher`, needs the extra `edge` |
    | a `.onnx` file | `ONNXTeacher`, needs the extra `onnx` |
    | a callable on NumPy arrays | `CallableTeacher` |
    | a store of soft targets (`keras_distill.targets.TargetStore`), or its folder | `StoredTeacher`, runs nothing |

    A teacher learnt on probabilities is only as soft as its probabilities: of a softmax in a Keras model the logits
    are found under it, but a SavedModel, a `.tflite` or an `.onnx` file with a softmax, or a service that returns
    probabilities, must be told by `outputs="probabilities"`; taken for logits they are refused.

    Args:
        teacher: A `keras.Model`, a path, or a callable.
        outputs: What a file or a callable gives: `"logits"`, `"probabilities"` or `"log_probabilities"`. Defaults to
            `"logits"`.
        input_shape: Shape of one sample, or a dict or list of shapes for several inputs, where it is not known by
            itself. Defaults to `None`.
        input_dtype: Dtype of the inputs, one or as many as there are shapes. Defaults to `"float32"`.
        classes: Number of classes, where it can not be found out. Defaults to `None`.
        batch_size: Number of samples that a file or a callable is given at most at once. Defaults to `None`, any.
        retries: Number of times a callable is called again when it raises an exception. Defaults to 3.
        backoff: Seconds before the first of these, doubled for each that follows. Defaults to 0.5.
        signature: Name of the signature of a SavedModel. Defaults to `None`: `serving_default`, `serve`, or the only
            one.
        signature_output: Name of the output of a file that has several. Defaults to `None`.
        like: A Keras model whose inputs it is given, of which `input_shape` and `input_dtype` are taken where they
            are not given. Defaults to `None`.
        name: Name of the model that is made. Defaults to `None`, one of Keras's.

    Returns:
        A `keras.Model` whose call returns logits.

    Raises:
        ValueError: If it is nothing that can teach, or does not do what it should.
        ImportError: If what runs the file is not installed.
        RuntimeError: If a callable raises an exception whenever it is tried.

    Example:

    >>> import numpy as np
    >>> teacher = as_teacher(lambda x: np.full((len(x), 2), 0.5), outputs="probabilities", input_shape=(4,))
    >>> bool(np.allclose(teacher(np.ones((1, 4))), np.log([[0.5, 0.5]])))
    True
    """
    if outputs not in OUTPUTS:
        raise ValueError(unknown_name("outputs", outputs, OUTPUTS))
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
    return teacher if isinstance(teacher, keras.Model) else keras.saving.load_model(os.fspath(teacher), compile=False)


def _refuse(teacher):
    if not is_path(teacher):
        raise ValueError(expected(f"teacher to be {_KINDS}", f"teacher={teacher!r} of type {type(teacher).__name__}"))
    path = os.fspath(teacher)
    if not os.path.exists(path):
        raise ValueError(expected(f"teacher to be {_KINDS}", f"{path!r}, where there is no file and no folder"))
    if os.path.isdir(path):
        found = ", ".join(sorted(os.listdir(path))[:10]) or "nothing"
        what = "the folder of a SavedModel, with a saved_model.pb, or of stored soft targets, with a manifest.json"
        raise ValueError(expected(what, f"{path!r}, which has {found}"))
    raise ValueError(expected(f"teacher to be {_KINDS}", f"{path!r}"))


def _inputs_of(model):
    """Return shapes and dtypes of one sample of a model's inputs; `None` where the model is not built."""
    structure = getattr(model, "input", None)
    structure = getattr(model, "inputs", None) if structure is None else structure
    if structure is None:
        return None, "float32"
    if isinstance(structure, (list, tuple)) and len(structure) == 1:
        structure = structure[0]
    shapes = keras.tree.map_structure(lambda tensor: tuple(tensor.shape[1:]), structure)
    return shapes, [tensor.dtype for tensor in keras.tree.flatten(structure)]
