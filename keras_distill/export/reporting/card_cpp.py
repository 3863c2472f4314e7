"""C++ that runs the file of a C array on a microcontroller, with TensorFlow Lite for Microcontrollers."""

import math

from keras_distill.export.tflite.flatbuffer import End

# Where the method of the resolver is not the operator's name with capitals at the start of words.
_METHODS = {
    "BATCH_MATMUL": "BatchMatMul",
    "CUMSUM": "CumSum",
    "PADV2": "PadV2",
    "UNIDIRECTIONAL_SEQUENCE_LSTM": "UnidirectionalSequenceLSTM",
}
_TYPES = {"float32": "float", "int8": "int8_t", "uint8": "uint8_t", "int16": "int16_t", "int32": "int32_t"}


def write_cpp(name: str, inputs: list[End], outputs: list[End], operators: list[str], arena_bytes: int | None) -> str:
    """Return the code of a program that runs a C array.

    Args:
        name: Name of the constant, as `write_c_array` wrote it; the header has the same name.
        inputs: Inputs of the file.
        outputs: Outputs of the file.
        operators: Names of the operators that the file needs.
        arena_bytes: Working memory that it needs; `None` if that is unknown.

    Example:
        >>> name_method("DEPTHWISE_CONV_2D"), name_method("CUMSUM"), name_method("SPACE_TO_BATCH_ND")
        ('AddDepthwiseConv2D', 'AddCumSum', 'AddSpaceToBatchNd')
    """
    operators = sorted(set(operators))
    # A little more than was measured, since it grows with the size of pointers and between versions.
    arena = "32 * 1024;  // Not measured: raise it until Start() returns true."
    if arena_bytes is not None:
        arena = f"{-(-arena_bytes * 11 // 160) * 16};  // Measured on x86-64: {arena_bytes}."
    lines = [
        '#include "tensorflow/lite/micro/micro_interpreter.h"',
        '#include "tensorflow/lite/micro/micro_mutable_op_resolver.h"',
        '#include "tensorflow/lite/schema/schema_generated.h"',
        f'#include "{name}.h"',
        "",
        f"constexpr int kArenaSize = {arena}",
        "alignas(16) static uint8_t arena[kArenaSize];",
        f"static tflite::MicroMutableOpResolver<{len(operators)}> resolver;",
        "static tflite::MicroInterpreter* interpreter;",
        "",
        "bool Start() {",
        *[f"  resolver.{name_method(operator)}();" for operator in operators],
        f"  static tflite::MicroInterpreter made(tflite::GetModel({name}), resolver, arena, kArenaSize);",
        "  interpreter = &made;",
        "  return made.AllocateTensors() == kTfLiteOk;",
        "}",
        "",
        "bool Run() {",
        *[line for end in inputs for line in _write_end(end, "input")],
        "  if (interpreter->Invoke() != kTfLiteOk) return false;",
        *[line for end in outputs for line in _write_end(end, "output")],
        "  return true;",
        "}",
    ]
    return "\n".join(lines)


def name_method(operator: str) -> str:
    """Return the name of the resolver's method that adds an operator."""
    words = (word if word[:1].isdigit() else word.capitalize() for word in operator.split("_"))
    return "Add" + _METHODS.get(operator, "".join(words))


def _write_end(end: End, side: str) -> list[str]:
    dtype = _TYPES.get(end.dtype, end.dtype)
    count = math.prod(end.shape)
    number = "one number" if count == 1 else f"{count} numbers, {' × '.join(map(str, end.shape[1:]))}"
    verb = "Fill" if side == "input" else "Read"
    rule = ""
    if end.quantized:
        fill = f"integer = round(number / {end.scale:.9g}) {_format_signed(end.zero_point)}, clipped to {dtype}"
        read = f"number = (integer {_format_signed(-end.zero_point)}) * {end.scale:.9g}"
        rule = "; " + (fill if side == "input" else read)
    name = end.name.lstrip("_") or "value"
    return [
        f"  {dtype}* {name} = interpreter->typed_{side}_tensor<{dtype}>({end.place});",
        f"  // {verb} {number}{rule}.",
    ]


def _format_signed(number: int) -> str:
    return f"{'-' if number < 0 else '+'} {abs(number)}"
