"""Code that runs a file, in each language of the model card, with the file's own names, shapes and dtypes."""

import dataclasses
import json
import keyword
import math
from collections.abc import Callable

from keras_distill.export.tflite.flatbuffer import End

_TAKEN = frozenset("np runner interpreter predict outputs model path it image_size labels LABELS Tensor Data".split())
_NUMPY = {"int8": (-128, 127), "int16": (-32768, 32767), "uint8": (0, 255)}
_KOTLIN = {
    "float32": ("FloatArray", "Float"),
    "int32": ("IntArray", "Int"),
    "uint8": ("ByteArray", "Int8"),
    "int8": ("ByteArray", "Int8"),
}
_SWIFT = {"float32": "Float", "int32": "Int32", "int64": "Int64", "uint8": "UInt8"}
_JAVASCRIPT = {"float32": "Float32Array", "int32": "Int32Array"}


@dataclasses.dataclass(frozen=True)
class Language:
    """A language and its runtime.

    Attributes:
        title: Heading of the section.
        tag: Language tag of the fenced code.
        write: Function of a file name, inputs and outputs that returns the code.
        dtypes: Dtypes that the runtime supports. Defaults to `None`, all.
    """

    title: str
    tag: str
    write: Callable[[str, list[End], list[End]], str]
    dtypes: frozenset[str] | None = None

    def takes(self, ends: list[End]) -> bool:
        """Return whether the runtime supports these tensors with batch 1."""
        return all(end.shape[:1] == (1,) and min(end.shape) > 0 for end in ends) and (
            self.dtypes is None or {end.dtype for end in ends} <= self.dtypes
        )


def _python(file: str, inputs: list[End], outputs: list[End]) -> str:
    call = ", ".join(_argument(end) for end in inputs)
    fit = [f"    {_name(end)} = {_to_integers(end)}" for end in inputs if end.quantized]
    back = [f"    {_name(end)} = {_to_numbers(end)}" for end in outputs]
    return _lines(
        "import numpy as np",
        "from ai_edge_litert.interpreter import Interpreter  # pip install ai-edge-litert",
        "",
        f"interpreter = Interpreter(model_path={json.dumps(file)})",
        'runner = interpreter.get_signature_runner("serving_default")',
        "",
        "",
        f"def predict({', '.join(map(_name, inputs))}):",
        *[f"    # {_name(end)}: array of {_shape(end)}, {_outside_dtype(end)}" for end in inputs],
        *fit,
        f"    outputs = runner({call})",
        *back,
        f"    return {', '.join(map(_name, outputs))}",
    )


def _argument(end: End) -> str:
    value = f"np.asarray({_name(end)}, np.{end.dtype})[None]"
    return f"**{{{json.dumps(end.name)}: {value}}}" if keyword.iskeyword(end.name) else f"{end.name}={value}"


def _to_integers(end: End) -> str:
    low, high = _NUMPY[end.dtype]
    return f"np.clip(np.round(np.asarray({_name(end)}) / {end.scale!r}) + {end.zero_point}, {low}, {high})"


def _to_numbers(end: End) -> str:
    value = f"outputs[{json.dumps(end.name)}][0]"
    return f"({value}.astype(np.float32) - {end.zero_point}) * {end.scale!r}" if end.quantized else value


def _kotlin(file: str, inputs: list[End], outputs: list[End]) -> str:
    writes = []
    for end in inputs:
        if end.quantized:
            low, high = _NUMPY[end.dtype]
            number = f"({_name(end)}[it] / {end.scale!r}f + {end.zero_point}).roundToInt().coerceIn({low}, {high})"
            writes.append(f"    {_name(end)}Buffer.writeInt8(ByteArray({_count(end)}) {{ {number}.toByte() }})")
        else:
            writes.append(f"    {_name(end)}Buffer.write{_KOTLIN[end.dtype][1]}({_name(end)})")
    given = [f"{_name(end)}: {'FloatArray' if end.quantized else _KOTLIN[end.dtype][0]}" for end in inputs]
    return _lines(
        '// build.gradle.kts: implementation("com.google.ai.edge.litert:litert:2.1.0")',
        "import com.google.ai.edge.litert.Accelerator",
        "import com.google.ai.edge.litert.CompiledModel",
        *["import kotlin.math.roundToInt"] * any(end.quantized for end in inputs),
        "",
        f"val model = CompiledModel.create(context.assets, {json.dumps(file)}, CompiledModel.Options(Accelerator.CPU))",
        *[f"val {_name(end)}Buffer = model.createInputBuffer({json.dumps(end.name)})" for end in inputs],
        *[f"val {_name(end)}Buffer = model.createOutputBuffer({json.dumps(end.name)})" for end in outputs],
        "",
        *[f"// {_name(end)}: {_count(end)} numbers, {_shape(end)}, {_outside_dtype(end)}" for end in inputs],
        f"fun predict({', '.join(given)}): List<FloatArray> {{",
        *writes,
        f"    model.run({_kotlin_map(inputs)}, {_kotlin_map(outputs)})",
        f"    return listOf({', '.join(map(_kotlin_read, outputs))})",
        "}",
    )


def _kotlin_map(ends: list[End]) -> str:
    return f"mapOf({', '.join(f'{json.dumps(end.name)} to {_name(end)}Buffer' for end in ends)})"


def _kotlin_read(end: End) -> str:
    if end.dtype == "float32":
        return f"{_name(end)}Buffer.readFloat()"
    kind, unsigned = ("Int", "") if end.dtype == "int32" else ("Int8", ".toUByte().toInt()" * (end.dtype == "uint8"))
    number = f"(it{unsigned} - {end.zero_point}) * {end.scale!r}f" if end.quantized else f"it{unsigned}.toFloat()"
    return f"{_name(end)}Buffer.read{kind}().map {{ {number} }}.toFloatArray()"


def _swift(file: str, inputs: list[End], outputs: list[End]) -> str:
    stem, _, suffix = file.rpartition(".")
    body = []
    for end in inputs:
        name = _name(end)
        if end.quantized:
            low, high = _NUMPY[end.dtype]
            number = f"max({low}, min({high}, ($0 / {end.scale!r}).rounded() + {end.zero_point}))"
            body.append(f"    let {name} = {name}.map {{ {_SWIFT[end.dtype]}({number}) }}")
        body.append(f"    try interpreter.copy({name}.withUnsafeBytes {{ Data($0) }}, toInputAt: {end.place})")
    body.append("    try interpreter.invoke()")
    for end in outputs:
        values = f"$0.bindMemory(to: {_SWIFT[end.dtype]}.self)"
        number = f"(Float($0) - {end.zero_point}) * {end.scale!r}" if end.quantized else "Float($0)"
        body.append(
            f"    let {_name(end)} = try interpreter.output(at: {end.place}).data.withUnsafeBytes {{ Array({values}) }}"
        )
        if end.dtype != "float32":
            body[-1] += f".map {{ {number} }}"
    given = [f"_ {_name(end)}: [{'Float' if end.quantized else _SWIFT[end.dtype]}]" for end in inputs]
    return _lines(
        "// Podfile: pod 'TensorFlowLiteSwift'",
        "import Foundation",
        "import TensorFlowLite",
        "",
        f"let path = Bundle.main.path(forResource: {json.dumps(stem)}, ofType: {json.dumps(suffix)})!",
        "let interpreter = try Interpreter(modelPath: path)",
        "try interpreter.allocateTensors()",
        "",
        *[f"// {_name(end)}: {_count(end)} numbers, {_shape(end)}, {_outside_dtype(end)}" for end in inputs],
        f"func predict({', '.join(given)}) throws -> [[Float]] {{",
        *body,
        f"    return [{', '.join(map(_name, outputs))}]",
        "}",
    )


def _javascript(file: str, inputs: list[End], outputs: list[End]) -> str:
    given = [
        f"    {json.dumps(end.name)}: new Tensor({_name(end)}, [{', '.join(map(str, end.shape))}])," for end in inputs
    ]
    return _lines(
        "import {loadAndCompile, loadLiteRt, Tensor} from '@litertjs/core';  // npm install @litertjs/core",
        "",
        "await loadLiteRt('/wasm/');  // where your site serves node_modules/@litertjs/core/wasm/",
        f"const model = await loadAndCompile({json.dumps('/' + file)}, {{accelerator: 'wasm'}});",
        "",
        *[
            f"// {_name(end)}: {_JAVASCRIPT[end.dtype]} of {_count(end)}, {_shape(end)}, {_outside_dtype(end)}"
            for end in inputs
        ],
        f"async function predict({', '.join(map(_name, inputs))}) {{",
        "  const given = {",
        *given,
        "  };",
        "  const outputs = await model.run(given);",
        f"  const answers = [{', '.join(f'outputs[{json.dumps(end.name)}].toTypedArray()' for end in outputs)}];",
        "  // Tensors are not garbage-collected.",
        "  for (const tensor of [...Object.values(given), ...Object.values(outputs)]) tensor.delete();",
        "  return answers;",
        "}",
    )


LANGUAGES = (
    Language("Python", "python", _python),
    Language("Kotlin (Android)", "kotlin", _kotlin, frozenset({"float32", "int32", "uint8", "int8"})),
    # TensorFlowLiteSwift has no int8 type, and throws on int8 tensors.
    Language("Swift (iOS)", "swift", _swift, frozenset(_SWIFT)),
    # LiteRT.js refuses int8 inputs.
    Language("JavaScript (browser)", "javascript", _javascript, frozenset(_JAVASCRIPT)),
)


def _lines(*lines: str) -> str:
    return "\n".join(lines)


def _name(end: End) -> str:
    """Return a variable name that is not reserved in any of the languages."""
    words = f"{end.name}_" if keyword.iskeyword(end.name) or end.name in _TAKEN else end.name
    return words.lstrip("_") or "value"


def _count(end: End) -> int:
    return math.prod(end.shape)


def _shape(end: End) -> str:
    return " × ".join(map(str, end.shape[1:])) or "one number"


def _outside_dtype(end: End) -> str:
    """Return the dtype that a user feeds, which the code quantizes if the file takes integers."""
    return "float32" if end.quantized else end.dtype
