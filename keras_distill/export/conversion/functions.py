"""What a converter's process runs: one function per converter, all arguments JSON types, all data in files."""

import pathlib

from keras_distill.export.conversion import calibration, onnx_graph
from keras_distill.export.tflite import flatbuffer

_ATTEMPTS = 8


def convert(saved_model, output, settings):
    """Convert one SavedModel to one TFLite file by TensorFlow's converter.

    Args:
        saved_model: str, folder of a SavedModel with static shapes and the signature `serving_default`.
        output: str, file to write.
        settings: dict of names of TensorFlow's, see `writers.tflite`.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize[name] for name in settings.get("optimizations", ())]
    # Flex operators are never allowed: the small runtimes cannot run them.
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    converter.target_spec.supported_types = [tf.as_dtype(name) for name in settings.get("supported_types", ())]
    if "inference_type" in settings:
        converter.inference_input_type = tf.as_dtype(settings["inference_type"])
        converter.inference_output_type = tf.as_dtype(settings["inference_type"])
    pathlib.Path(output).write_bytes(converter.convert())


def calibrate(model, samples, method, output):
    """Copy a float TFLite file and note in the copy the range of every tensor.

    Args:
        model: str, the float file.
        samples: str, an .npz file of one array per input, samples first, as `arrays.save` writes it.
        method: str, name in `calibration.METHODS`.
        output: str, file to write.
    """
    calibration.calibrate(model, samples, method, output)


def quantize_int8(calibrated, output, inference_type):
    """Quantize a calibrated TFLite file to int8 by the quantizer inside TensorFlow's converter.

    Args:
        calibrated: str, file as `calibrate` writes it.
        output: str, file to write.
        inference_type: str, dtype of the inputs and outputs that are floats: `"int8"` or `"float32"`.
    """
    import tensorflow as tf

    # The converter has no public door for ranges that it did not measure itself.
    from tensorflow.lite.python.convert import mlir_quantize

    dtype, content = tf.as_dtype(inference_type), pathlib.Path(calibrated).read_bytes()
    # Operators with outputs that nothing uses are left in floating point in some runs, and not in others.
    attempts = _ATTEMPTS if any(unused for _, unused in _by_use(flatbuffer.opened(content))) else 1
    files = {mlir_quantize(content, input_data_type=dtype, output_data_type=dtype) for _ in range(attempts)}
    pathlib.Path(output).write_bytes(min(files, key=lambda file: (len(file), file)))


def quantize(model, output, recipe, algorithm=None, calibrated=False):
    """Quantize a float TFLite file by litert-quantizer.

    Args:
        model: str, the float file; with ranges, as `calibrate` writes it, if the recipe needs them.
        output: str, file to write.
        recipe: str, name of a function of `litert_quantizer.recipe`.
        algorithm: None, or str, how scales are found, by its name there.
        calibrated: bool, whether the recipe needs ranges.
    """
    from litert_quantizer import quantizer
    from litert_quantizer import recipe as recipes

    options = {} if algorithm is None else {"algorithm_key": quantizer.AlgorithmName[algorithm]}
    worker = quantizer.Quantizer(bytearray(pathlib.Path(model).read_bytes()))
    worker.load_quantization_recipe(getattr(recipes, recipe)(**options))
    # Ranges are always given: its own calibration is a moving average, which clips without a word.
    ranges = calibration.ranges_in(model) if calibrated else None
    result = worker.quantize(ranges, enable_progress_bar=False, enable_progress_report=False)
    quantized = flatbuffer.opened(bytes(result.quantized_model))
    _complete(quantized)
    pathlib.Path(output).write_bytes(flatbuffer.packed(quantized))


def _complete(model):
    """Quantize outputs that nothing uses, which litert-quantizer leaves in floating point.

    The first step of an unrolled LSTM has such outputs, and no kernel splits a tensor into two types.
    """
    for used, unused in _by_use(model):
        for tensor in unused if used else ():
            tensor.type, tensor.quantization = used[0].type, used[0].quantization


def _by_use(model):
    """Yield, for each operator, its outputs that something uses, and those that nothing uses."""
    for graph in model.subgraphs:
        in_use = {index for operator in graph.operators for index in operator.inputs} | set(graph.outputs)
        for operator in graph.operators:
            sides = ([], [])
            for index in operator.outputs:
                sides[index not in in_use].append(graph.tensors[index])
            yield sides


def convert_to_onnx(saved_model, output, opset):
    """Convert one SavedModel to one ONNX file by tf2onnx.

    Args:
        saved_model: str, folder of a SavedModel with the signature `serving_default`.
        output: str, file to write.
        opset: int, version of ONNX's operators.
    """
    import tensorflow as tf
    import tf2onnx

    loaded = tf.saved_model.load(saved_model)
    function = loaded.signatures["serving_default"]
    specs = [
        tf.TensorSpec(spec.shape, spec.dtype, name=name)
        for name, spec in sorted(function.structured_input_signature[1].items())
    ]

    @tf.function(input_signature=specs, autograph=False)
    def by_position(*inputs):
        return function(**{spec.name: tensor for spec, tensor in zip(specs, inputs, strict=True)})

    model, _ = tf2onnx.convert.from_function(by_position, input_signature=specs, opset=opset)
    onnx_graph.finish(model)
    pathlib.Path(output).write_bytes(model.SerializeToString())
