"""Writing a student as a SavedModel."""

import os
from typing import Any

from keras_distill.export.signature import Signature


def save_graph(student: Any, signature: Signature, shapes: dict[str, tuple], path: str | os.PathLike) -> None:
    """Write a SavedModel with the single signature `serving_default` and named inputs and outputs.

    Args:
        student: `keras.Model`.
        signature: `Signature` of the student.
        shapes: Dict of input name to shape; `None` where the size is free.
        path: Folder to write.
    """
    import keras
    import tensorflow as tf

    specs = {
        tensor.name: tf.TensorSpec(shapes[tensor.name], tensor.dtype, name=tensor.name) for tensor in signature.inputs
    }
    archive: Any = keras.export.ExportArchive()
    archive.track(student)
    archive.add_endpoint("serving_default", lambda inputs: signature.call(student, inputs), [specs])
    archive.write_out(str(path), verbose=False)
