"""What a converter's process runs: one function per converter, all arguments JSON types, all data in files."""

from keras_distill.export import arrays


def convert(saved_model, output, settings, calibration):
    """Convert one SavedModel to one TFLite file.

    Args:
        saved_model: str, folder of a SavedModel with static shapes and the signature `serving_default`.
        output: str, file to write.
        settings: dict of names of TensorFlow's, see `formats.tflite`.
        calibration: None, or str, an .npz file of one array per input, samples first, as `arrays.save` writes it.
    """
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(saved_model, signature_keys=["serving_default"])
    converter.optimizations = [tf.lite.Optimize[name] for name in settings.get("optimizations", ())]
    # Flex operators are never allowed: the small runtimes cannot run them.
    converter.target_spec.supported_ops = [
        tf.lite.OpsSet[name] for name in settings.get("supported_ops", ("TFLITE_BUILTINS",))
    ]
    converter.target_spec.supported_types = [tf.as_dtype(name) for name in settings.get("supported_types", ())]
    if "inference_type" in settings:
        converter.inference_input_type = tf.as_dtype(settings["inference_type"])
        converter.inference_output_type = tf.as_dtype(settings["inference_type"])
    if calibration is not None:
        converter.representative_dataset = _representative_dataset(calibration)
    with open(output, "wb") as file:
        file.write(converter.convert())


def _representative_dataset(path):
    inputs = arrays.load(path)
    count = len(next(iter(inputs.values())))

    def samples():
        for row in range(count):
            yield "serving_default", {name: array[row : row + 1] for name, array in inputs.items()}

    return samples
