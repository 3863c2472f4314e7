"""Functions that write a format: each takes a `Source` and a path, and writes the file or folder there or raises."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any

from keras_distill.export.conversion.sources import Source
from keras_distill.export.rebuilding import returns_sequences
from keras_distill.export.tflite.c_array import write_c_array
from keras_distill.export.tflite.portability import replace_operators, take_signed_bytes
from keras_distill.quantization.aware import is_quantize_aware

_OPSET = 17

Writer = Callable[[Source, pathlib.Path], None]


def saved_model(source: Source, path: pathlib.Path) -> None:
    """Write a SavedModel."""
    shutil.copytree(source.free_saved_model, path)


def float32(source: Source, path: pathlib.Path) -> None:
    """Write a float32 TFLite file of batch 1."""
    shutil.copyfile(source.float_file, path)
    replace_operators(path)


def float32_for_microcontrollers(source: Source, path: pathlib.Path) -> None:
    """Write a float32 TFLite file of batch 1 in which no loop collects a sequence.

    tflite-micro (0.dev20261023182759) runs such loops without an error, and its answers are wrong.
    """
    shutil.copyfile(source.unrolled_file if returns_sequences(source.student) else source.float_file, path)


def tflite(**settings: Any) -> Writer:
    """Return a writer of TFLite files of batch 1 by TensorFlow's converter.

    Args:
        **settings: `optimizations` and `supported_types`, lists of TensorFlow's names, and `inference_type`, the dtype
            of the inputs and outputs.
    """

    def write(source: Source, path: pathlib.Path) -> None:
        source.converter.ask("convert", saved_model=str(source.static_saved_model), output=str(path), settings=settings)
        replace_operators(path)

    return write


def dynamic_batch(source: Source, path: pathlib.Path) -> None:
    """Write a float32 TFLite file of any batch."""
    source.converter.ask("convert", saved_model=str(source.batched_saved_model), output=str(path), settings={})
    replace_operators(path)


def int8(inference_type: str) -> Writer:
    """Return a writer of TFLite files that compute in int8.

    Args:
        inference_type: Dtype of the inputs and outputs that are floats: `"int8"`, `"uint8"` or `"float32"`.
    """
    learned = tflite(optimizations=["DEFAULT"], inference_type=inference_type)

    def write(source: Source, path: pathlib.Path) -> None:
        if is_quantize_aware(source.student):
            # The graph holds the ranges; given samples, the converter would measure them again.
            learned(source, path)
        else:
            request = {"calibrated": str(source.calibrated_file), "output": str(path)}
            source.converter.ask("quantize_int8", inference_type=inference_type, **request)
            replace_operators(path)

    def shared(source: Source, path: pathlib.Path) -> None:
        shutil.copyfile(source.shared(f"int8_{inference_type}.tflite", lambda file: write(source, file)), path)

    return shared


def quantized(recipe: str, algorithm: str | None = None, calibrated: bool = False) -> Writer:
    """Return a writer of TFLite files of batch 1 by litert-quantizer; see `functions.quantize`."""

    def write(source: Source, path: pathlib.Path) -> None:
        model = source.calibrated_file if calibrated else source.float_file
        request = {"recipe": recipe, "algorithm": algorithm, "calibrated": calibrated}
        source.converter.ask("quantize", model=str(model), output=str(path), **request)
        replace_operators(path)

    return write


def onnx(source: Source, path: pathlib.Path) -> None:
    """Write an ONNX file."""
    source.converter.ask("convert_to_onnx", saved_model=str(source.free_saved_model), output=str(path), opset=_OPSET)


def c_array(write: Writer, name: str) -> Writer:
    """Return a writer of a folder with a TFLite file as C++ source and header.

    Args:
        write: Writer of the TFLite file.
        name: Name of the array and of both files.
    """

    def write_folder(source: Source, path: pathlib.Path) -> None:
        model = source.work / f"{name}.tflite"
        write(source, model)
        take_signed_bytes(model)
        path.mkdir()
        write_c_array(model, path / f"{name}.cc", name=name)

    return write_folder
