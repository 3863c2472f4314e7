"""A SavedModel as one graph of constants, without calls of other functions."""

import contextlib
import os
import pathlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

_KEPT_APART = ("_XlaMustCompile", "_noinline")


@contextlib.contextmanager
def frozen_graph(saved_model: str | os.PathLike) -> Iterator[tuple[Any, dict[str, str], dict[str, str]]]:
    """Open a SavedModel's signature `serving_default` as a frozen graph in which every function is inlined.

    tf2onnx freezes graphs too, but it keeps the calls of functions that Keras marks for XLA, such as grouped
    convolutions, and loses constants that a function has captured, such as the mean of a `Normalization`.

    Args:
        saved_model: Folder of the SavedModel, which stays unchanged.

    Yields:
        Tuple of the `GraphDef`, and of dicts of the names of inputs and outputs in the signature to the names of their
        tensors in the graph.
    """
    import tensorflow as tf
    from tensorflow.python.framework import convert_to_constants

    with tempfile.TemporaryDirectory() as work:
        unmarked = pathlib.Path(work) / "unmarked"
        shutil.copytree(saved_model, unmarked)
        _unmark(unmarked / "saved_model.pb")
        loaded: Any = tf.saved_model.load(str(unmarked))
        function = loaded.signatures["serving_default"]
        # Loops stay loops, so that tf2onnx can recognise an LSTM in them.
        frozen = convert_to_constants.convert_variables_to_constants_v2(
            function, lower_control_flow=False, aggressive_inlining=True
        )
        held = {tensor.name.split(":")[0]: tensor.name for tensor in frozen.inputs}
        inputs = {name: held[name] for name in sorted(function.structured_input_signature[1])}
        outputs = {
            name: tensor.name for name, tensor in zip(sorted(function.structured_outputs), frozen.outputs, strict=True)
        }
        yield frozen.graph.as_graph_def(), inputs, outputs


def _unmark(file: pathlib.Path) -> None:
    """Remove the attributes that keep a function from being inlined."""
    from tensorflow.core.protobuf import saved_model_pb2

    model = saved_model_pb2.SavedModel.FromString(file.read_bytes())
    for meta_graph in model.meta_graphs:
        for function in meta_graph.graph_def.library.function:
            for holder in (function, *function.node_def):
                for name in _KEPT_APART:
                    holder.attr.pop(name, None)
    file.write_bytes(model.SerializeToString())
