"""The other end of `conversion.Converter`: a process that converts SavedModels until its standard input ends.

One request per line on standard input, one reply per line on standard output, both JSON.
"""

import json
import os
import sys


def main():
    """Answer requests until there are no more."""
    # The converter prints on descriptor 1 too, where only replies may stand.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        print(json.dumps(_answer(json.loads(line))), file=replies, flush=True)


def _answer(request):
    try:
        convert(**request)
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}
    return {"error": None}


def convert(saved_model, output, settings, calibration):
    """Convert one SavedModel to one TFLite file.

    Args:
        saved_model: str, folder of a SavedModel with static shapes and the signature `serving_default`.
        output: str, file to write.
        settings: dict of names of TensorFlow's, see `formats.tflite`.
        calibration: None, or str, an .npz file of one array per input, samples first, each called `input.<name>`.
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
    import numpy as np

    with np.load(path, allow_pickle=False) as archive:
        arrays = {name.removeprefix("input."): archive[name] for name in archive.files}
    count = len(next(iter(arrays.values())))

    def samples():
        for row in range(count):
            yield "serving_default", {name: array[row : row + 1] for name, array in arrays.items()}

    return samples


if __name__ == "__main__":
    main()
