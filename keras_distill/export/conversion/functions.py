"""The functions that a converter's process runs: arguments are JSON types, data is in files."""

import pathlib
from collections.abc import Iterator
from typing import Any

from keras_distill.export.conversion import calibration
from keras_distill.export.conversion.biases import are_cut_off, fit_biases
from keras_distill.export.conversion.freezing import frozen_graph
from keras_distill.export.conversion.reversing import requantize_copies
from keras_distill.export.tflite import flatbuffer

_ATTEMPTS = 8


def convert(saved_model: str, output: str, settings: dict[str, Any]) -> None:
    """Convert a SavedModel to a TFLite file by TensorFlow's converter.

    Args:
        saved_model: Folder of a SavedModel with static shapes and the signature `serving_default`.
        output: File to write.
        settings: Settings of the converter, see `writers.tflite`.
    """
    content = _run_converter(saved_model, settings)
    if "inference_type" in settings:
        model = flatbuffer.parse(content)
        cut_off = are_cut_off(model)
        if cut_off:
            # The same graph without integers holds the same biases in the same order.
            fit_biases(model, flatbuffer.parse(_run_converter(saved_model, {})))
        if requantize_copies(model) or cut_off:
            content = flatbuffer.serialize(model)
    pathlib.Path(output).write_bytes(content)


def _run_converter(saved_model: str, settings: dict[str, Any]) -> bytes:
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize[name] for name in settings.get("optimizations", ())]
    # Flex operators are not allowed, since small runtimes cannot run them.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.target_spec.supported_types = [tf.as_dtype(name) for name in settings.get("supported_types", ())]
    if "inference_type" in settings:
        converter.inference_input_type = tf.as_dtype(settings["inference_type"])
        converter.inference_output_type = tf.as_dtype(settings["inference_type"])
    return converter.convert()


calibrate = calibration.calibrate


def quantize_int8(calibrated: str, output: str, inference_type: str) -> None:
    """Quantize a calibrated TFLite file to int8 by the quantizer inside TensorFlow's converter.

    Args:
        calibrated: File that `calibrate` wrote.
        output: File to write.
        inference_type: Dtype of the inputs and outputs that are floats: `"int8"`, `"uint8"` or `"float32"`.
    """
    import tensorflow as tf

    # No public function takes ranges that the converter did not measure itself.
    from tensorflow.lite.python.convert import mlir_quantize

    dtype, content = tf.as_dtype(inference_type), pathlib.Path(calibrated).read_bytes()
    # Operators with outputs that nothing uses are left in floating point in some runs, and quantized in others.
    attempts = _ATTEMPTS if any(unused for _, unused in _split_outputs(flatbuffer.parse(content))) else 1
    options: dict[str, Any] = {"input_data_type": dtype, "output_data_type": dtype}
    files: set[Any] = {mlir_quantize(content, **options) for _ in range(attempts)}
    smallest = min(files, key=lambda file: (len(file), file))
    model = flatbuffer.parse(smallest)
    pathlib.Path(output).write_bytes(flatbuffer.serialize(model) if requantize_copies(model) else smallest)


def quantize(model: str, output: str, recipe: str, algorithm: str | None = None, calibrated: bool = False) -> None:
    """Quantize a float TFLite file by litert-quantizer.

    Args:
        model: The float file; with ranges, as `calibrate` writes it, if the recipe needs them.
        output: File to write.
        recipe: Name of a function of `litert_quantizer.recipe`.
        algorithm: Name of the litert-quantizer algorithm that finds scales. Defaults to `None`, the recipe's own.
        calibrated: Whether the recipe needs ranges. Defaults to `False`.
    """
    from litert_quantizer import quantizer
    from litert_quantizer import recipe as recipes

    options = {} if algorithm is None else {"algorithm_key": quantizer.AlgorithmName[algorithm]}
    worker = quantizer.Quantizer(bytearray(pathlib.Path(model).read_bytes()))
    worker.load_quantization_recipe(getattr(recipes, recipe)(**options))
    # Its own calibration is a moving average, which clips silently.
    ranges: dict[str, Any] = {"calibration_result": calibration.read_ranges(model) if calibrated else None}
    result: Any = worker.quantize(**ranges, enable_progress_bar=False, enable_progress_report=False)
    quantized = flatbuffer.parse(bytes(result.quantized_model))
    _quantize_unused(quantized)
    if calibrated:
        fit_biases(quantized, flatbuffer.load_model(model))
    pathlib.Path(output).write_bytes(flatbuffer.serialize(quantized))


def _quantize_unused(model: Any) -> None:
    """Quantize outputs that nothing uses, which litert-quantizer leaves in floating point.

    The first step of an unrolled LSTM has such outputs, and no kernel splits a tensor into two types.
    """
    for used, unused in _split_outputs(model):
        for tensor in unused if used else ():
            tensor.type, tensor.quantization = used[0].type, used[0].quantization


def _split_outputs(model: Any) -> Iterator[tuple[list, list]]:
    """Yield, for each operator, the outputs that something uses and those that nothing uses."""
    for graph in model.subgraphs:
        in_use = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
        for operator in graph.operators:
            sides: tuple[list, list] = ([], [])
            for index in operator.outputs:
                sides[index not in in_use].append(graph.tensors[index])
            yield sides


def convert_to_onnx(saved_model: str, output: str, opset: int) -> None:
    """Convert a SavedModel to an ONNX file by tf2onnx, and check it.

    Args:
        saved_model: Folder of a SavedModel with the signature `serving_default`.
        output: File to write.
        opset: Version of ONNX's operators.

    Raises:
        onnx.checker.ValidationError: If the file is not valid.
    """
    import onnx
    import tf2onnx

    with frozen_graph(saved_model) as (graph, inputs, outputs):
        names = {tensor: name for side in (inputs, outputs) for name, tensor in side.items()}
        model, _ = tf2onnx.convert.from_graph_def(
            graph, None, list(inputs.values()), list(outputs.values()), opset, tensors_to_rename=names
        )
    _replace_erfc(model.graph)
    for value in (*model.graph.input, *model.graph.output):
        sizes = value.type.tensor_type.shape.dim
        if sizes and not sizes[0].HasField("dim_value"):
            sizes[0].dim_param = "batch"
    onnx.checker.check_model(model)
    pathlib.Path(output).write_bytes(model.SerializeToString())


def _replace_erfc(graph: Any) -> None:
    """Replace erfc(x) by 1 - erf(x): tf2onnx passes it on from exact GELU, but ONNX has no such operator."""
    from onnx import helper

    found = [node for node in graph.node if node.op_type == "Erfc"]
    for node in found:
        erf, one = f"{node.name}/erf", f"{node.name}/one"
        place = list(graph.node).index(node)
        graph.node.remove(node)
        graph.initializer.append(helper.make_tensor(one, 1, (), [1.0]))
        graph.node.insert(place, helper.make_node("Erf", list(node.input), [erf], name=erf))
        graph.node.insert(place + 1, helper.make_node("Sub", [one, erf], list(node.output), name=f"{node.name}/sub"))
