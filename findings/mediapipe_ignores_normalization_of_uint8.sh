#!/usr/bin/env bash
# MediaPipe's ImageClassifier ignores the normalization in the metadata of a uint8 model.
#
# Versions: mediapipe 1.2.3, tensorflow 2.21.0, flatbuffers 25.12.19, numpy 2.4.6; Python 3.11, Linux on x86-64.
#
# The schema of the metadata says that a quantized model shares the normalization of its float model, and that the
# normalized image is then quantized by the parameters of the input tensor. For a float model, MediaPipe normalizes. A
# uint8 model gets the bytes of the image as they are, which is right only if the calibrated range is that of all bytes,
# 0 to 255. Here the calibration images have bytes of 64 to 191 and, for the second model, each channel has its own
# mean. No warning is given. A float model with a mean per channel raises an error; the uint8 model with the same
# metadata opens.
#
# Output seen:
#     one mean, float: largest error of MediaPipe's probabilities 0.000
#     one mean, uint8: largest error of MediaPipe's probabilities 0.218
#     one mean, uint8, normalized and quantized as the file says: largest error 0.003
#     a mean per channel, float: NotImplementedError: Per-channel image normalization is not available.
#     a mean per channel, uint8: largest error of MediaPipe's probabilities 0.081
#     a mean per channel, uint8, normalized and quantized as the file says: largest error 0.002
#
# Exits with an error if the behaviour changes. Needs about 2 GB in the temporary folder.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet 'mediapipe==1.2.3' 'tensorflow==2.21.0' 'flatbuffers==25.12.19' 'numpy==2.4.6'

cd "$work"
export KERAS_BACKEND=tensorflow KERAS_HOME="$work" CUDA_VISIBLE_DEVICES="" TF_CPP_MIN_LOG_LEVEL=3
"$work/venv/bin/python" - <<'PYTHON'
import sys

import flatbuffers
import mediapipe as mp
import numpy as np
import tensorflow as tf
from mediapipe.tasks.metadata import metadata_schema_py_generated as metadata
from mediapipe.tasks.metadata import schema_py_generated as schema
from mediapipe.tasks.python import BaseOptions, vision

# Photographs of low contrast, so the calibrated range of the input is not that of all bytes.
images = np.random.default_rng(0).integers(64, 192, size=(50, 8, 8, 3), dtype=np.uint8)
images[:3] = np.uint8([[[[190, 70, 120]]], [[[70, 180, 70]]], [[[90, 120, 185]]]])
model = tf.Module()
model.f = tf.function(
    lambda x: tf.nn.softmax(4 * tf.reduce_mean(x, (1, 2))),
    input_signature=[tf.TensorSpec((1, 8, 8, 3), tf.float32, name="x")],
)
tf.saved_model.save(model, "saved", {"serving_default": model.f})


def normalized(image, mean, std):
    return ((image[None] - np.float32(mean)) / np.float32(std)).astype("float32")


def converted(quantized, mean, std):
    converter = tf.lite.TFLiteConverter.from_saved_model("saved")
    if quantized:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([normalized(image, mean, std)] for image in images)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    return converter.convert()


def packed(content, identifier):
    builder = flatbuffers.Builder(0)
    builder.Finish(content.Pack(builder), identifier)
    return bytes(builder.Output())


def with_metadata(file, mean, std):
    step, image, scores = metadata.ProcessUnitT(), metadata.TensorMetadataT(), metadata.TensorMetadataT()
    step.optionsType, step.options = metadata.ProcessUnitOptions.NormalizationOptions, metadata.NormalizationOptionsT()
    step.options.mean, step.options.std = mean, std
    image.name, scores.name = "image", "scores"
    image.content, image.processUnits = metadata.ContentT(), [step]
    image.content.contentPropertiesType = metadata.ContentProperties.ImageProperties
    image.content.contentProperties = metadata.ImagePropertiesT()
    image.content.contentProperties.colorSpace = metadata.ColorSpaceType.RGB
    graph, whole = metadata.SubGraphMetadataT(), metadata.ModelMetadataT()
    graph.inputTensorMetadata, graph.outputTensorMetadata, whole.subgraphMetadata = [image], [scores], [graph]
    parsed, buffer, entry = schema.ModelT.InitFromPackedBuf(file, 0), schema.BufferT(), schema.MetadataT()
    buffer.data = np.frombuffer(packed(whole, b"M001"), "uint8")
    entry.name, entry.buffer = "TFLITE_METADATA", len(parsed.buffers)
    parsed.buffers.append(buffer)
    parsed.metadata = [*(parsed.metadata or []), entry]
    return packed(parsed, b"TFL3")


def interpret(file, image, mean, std):
    """Run a file of uint8 as its quantization parameters say, without MediaPipe."""
    interpreter = tf.lite.Interpreter(model_content=file)
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    (scale_in, zero_in), (scale_out, zero_out) = source["quantization"], target["quantization"]
    steps = np.round(normalized(image, mean, std) / scale_in) + zero_in
    interpreter.set_tensor(source["index"], np.clip(steps, 0, 255).astype("uint8"))
    interpreter.invoke()
    return (interpreter.get_tensor(target["index"])[0].astype("float32") - zero_out) * scale_out


def classify(file):
    options = vision.ImageClassifierOptions(base_options=BaseOptions(model_asset_buffer=file))
    with vision.ImageClassifier.create_from_options(options) as classifier:
        for image in images[:3]:
            answer = classifier.classify(mp.Image(image_format=mp.ImageFormat.SRGB, data=image))
            scores = {each.index: each.score for each in answer.classifications[0].categories}
            yield np.float32([scores[index] for index in range(3)])


found, correct = {}, []
for name, mean, std in (
    ("one mean", [127.5], [127.5]),
    ("a mean per channel", [123.7, 116.3, 103.5], [58.4, 57.1, 57.4]),
):
    wanted = np.concatenate([model.f(normalized(image, mean, std)) for image in images[:3]])
    for kind in ("float", "uint8"):
        file = with_metadata(converted(kind == "uint8", mean, std), mean, std)
        try:
            found[name, kind] = float(np.abs(np.stack(list(classify(file))) - wanted).max())
            print(f"{name}, {kind}: largest error of MediaPipe's probabilities {found[name, kind]:.3f}")
        except NotImplementedError as error:
            found[name, kind] = "raises"
            print(f"{name}, {kind}: NotImplementedError: {error}")
    # The last file is that of uint8.
    answers = np.stack([interpret(file, image, mean, std) for image in images[:3]])
    correct.append(float(np.abs(answers - wanted).max()))
    print(f"{name}, uint8, normalized and quantized as the file says: largest error {correct[-1]:.3f}")
unchanged = (
    found["one mean", "float"] < 1e-3
    and found["a mean per channel", "float"] == "raises"
    and min(found["one mean", "uint8"], found["a mean per channel", "uint8"]) > 0.05 > 10 * max(correct)
)
sys.exit(0 if unchanged else "The behaviour has changed.")
PYTHON
