"""A judge of exported files that shares no code with `keras_distill.export`: it runs and compares them by own rules.

A file is `wrong` if it fails its user beyond doubt, `right` if nobody would notice a difference, and `between` if
people could disagree, such as a file of 8 bits that decides 95 % of the samples as its student does.

`wrong`     It is not finite where the student is; finds less than half of a class, or of a label's yes or no, of which
            there are ten; decides less than 80 % as the student; moves the mean of a unit by more than 10 % of its
            range; or holds a unit nearly still.
`right`     It decides 97 % as the student and 90 % of every class; differences are at most half of what is allowed.
"""

import dataclasses
import pathlib
import re

import numpy as np

SUPPORT = 10
"""Samples of a class from which on its loss is beyond doubt."""

# Mean and largest difference that the documentation allows, as shares of the range of the output; None for any.
EIGHT_BITS = (0.05, None)
ALLOWED = {
    "saved_model": (1e-5, 1e-4),
    "tflite": (1e-4, 1e-3),
    "tflite_float16": (0.005, 0.03),
    "tflite_dynamic_range": (0.03, None),
    "tflite_int8": EIGHT_BITS,
    "tflite_int8_float_io": EIGHT_BITS,
    "tflite_uint8": EIGHT_BITS,
    "tflite_int16x8": (0.03, None),
    "tflite_weights_int8": (0.03, None),
    "tflite_weights_int4": (0.1, None),
    "tflite_dynamic_batch": (1e-4, 1e-3),
    "onnx": (1e-4, 1e-3),
    "c_array": (1e-4, 1e-3),
    "c_array_int8": EIGHT_BITS,
}
MEASURED = ("numbers", "picture")
INTEGERS = ("tflite_int8", "tflite_uint8", "tflite_int16x8", "tflite_int8_float_io", "c_array_int8")


@dataclasses.dataclass(frozen=True)
class Verdict:
    """What a file is, `"right"`, `"wrong"` or `"between"`, and why."""

    word: str
    why: str = ""


# Running files


def run(path, inputs):
    """Run a SavedModel, a TFLite file, an ONNX file or a folder of C source.

    Args:
        path: The file or folder.
        inputs: Dict of input name to array, samples first.

    Returns:
        Dict of output name to float64 array.
    """
    path = pathlib.Path(path)
    if path.suffix == ".onnx":
        return _run_onnx(path, inputs)
    if path.suffix == ".tflite":
        return _run_tflite(path.read_bytes(), inputs)
    if (path / "saved_model.pb").exists():
        return _run_saved_model(path, inputs)
    return _run_c_source(path, inputs)


def _run_saved_model(path, inputs):
    import tensorflow as tf

    with tf.device("CPU:0"):
        served = tf.saved_model.load(str(path)).signatures["serving_default"]
        found = served(**{name: tf.constant(array) for name, array in inputs.items()})
    return {name: np.asarray(array, np.float64) for name, array in found.items()}


def _run_onnx(path, inputs):
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    answers = session.run(names, {entry.name: inputs[entry.name] for entry in session.get_inputs()})
    return {name: np.asarray(answer, np.float64) for name, answer in zip(names, answers, strict=True)}


def _run_tflite(content, inputs):
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_content=content, num_threads=1)
    runner = interpreter.get_signature_runner()
    ends = runner.get_input_details()
    free = any(end["shape_signature"][0] == -1 for end in ends.values() if len(end["shape_signature"]))
    count = len(next(iter(inputs.values())))
    parts = [slice(None)] if free else [slice(row, row + 1) for row in range(count)]
    answers = [runner(**{name: _encode(inputs[name][part], end) for name, end in ends.items()}) for part in parts]
    outputs = runner.get_output_details()
    return {name: np.concatenate([_decode(answer[name], end) for answer in answers]) for name, end in outputs.items()}


def _run_c_source(folder, inputs):
    """Run the bytes of a C array with tflite-micro, whose inputs and outputs LiteRT names."""
    from ai_edge_litert.interpreter import Interpreter
    from tflite_micro import runtime

    content = _read_c_source(folder)
    named = Interpreter(model_content=content)
    signature = named.get_signature_runner()
    inward, outward = signature.get_input_details(), signature.get_output_details()
    places = [{end["index"]: at for at, end in enumerate(side)} for side in
              (named.get_input_details(), named.get_output_details())]  # fmt: skip
    micro = runtime.Interpreter.from_bytes(content, arena_size=2**22 + 20 * len(content))
    rows = []
    for row in range(len(next(iter(inputs.values())))):
        for name, end in inward.items():
            encoded = np.ascontiguousarray(_encode(inputs[name][row : row + 1], end))
            micro.set_input(encoded, places[0][end["index"]])
        micro.invoke()
        rows.append({
            name: _decode(micro.get_output(places[1][end["index"]]), end) for name, end in outward.items()
        })  # fmt: skip
    return {name: np.concatenate([each[name] for each in rows]) for name in outward}


def _read_c_source(folder):
    (source,) = folder.glob("*.cc")
    return bytes(int(byte, 16) for byte in re.findall(r"0x([0-9a-fA-F]{2})\b", source.read_text(encoding="utf-8")))


def _encode(array, end):
    scale, zero_point = end["quantization"]
    if not scale or not np.issubdtype(end["dtype"], np.integer):
        return np.asarray(array).astype(end["dtype"])
    limits = np.iinfo(end["dtype"])
    return np.clip(np.rint(array / scale) + zero_point, limits.min, limits.max).astype(end["dtype"])


def _decode(array, end):
    scale, zero_point = end["quantization"]
    return scale * (array.astype(np.float64) - zero_point) if scale else array.astype(np.float64)


def find_excuse(path, name):
    """Return why a file is not what its format promises, whatever it computes; `""` if it is.

    Formats of integers must compute in integers, and formats of small weights must have some.
    """
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    path = pathlib.Path(path)
    if path.suffix != ".tflite" and name not in INTEGERS:
        return ""
    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    content = path.read_bytes() if path.suffix == ".tflite" else _read_c_source(path)
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=plain)
    tensors, operators = interpreter.get_tensor_details(), interpreter._get_ops_details()
    types = {tensor["index"]: np.dtype(tensor["dtype"]) for tensor in tensors}
    if name in INTEGERS:
        computing = [each for each in operators if each["op_name"] not in ("QUANTIZE", "DEQUANTIZE")]
        ends = [(each["op_name"], (*each["inputs"], *each["outputs"])) for each in computing]
        floats = [name for name, indices in ends if any(types.get(at) == np.float32 for at in indices)]
        return f"{floats[0]} computes in floating point" if floats else ""
    if name in ("tflite", "tflite_dynamic_batch"):
        return ""
    made = {at for each in operators for at in each["outputs"]} | {
        end["index"] for end in interpreter.get_input_details()
    }
    sizes = [(int(np.prod(each["shape"])), types[each["index"]]) for each in tensors if each["index"] not in made]
    # TensorFlow's converter is said to leave small layers as they are.
    sizes = [pair for pair in sizes if pair[0] >= (1024 if name == "tflite_dynamic_range" else 1)]
    in_floats = sum(size for size, kind in sizes if kind == np.float32)
    weights = sum(size for size, kind in sizes if kind not in (np.dtype(np.int32), np.dtype(np.int64)))
    return "most of its weights are floats" if in_floats > weights / 2 or not weights else ""


# Judging


def probe(inputs):
    """Return a few samples moved away from the middle of the data's range, or `None` if all inputs are integers."""
    if not any(array.dtype.kind == "f" for array in inputs.values()):
        return None

    def move(array):
        if array.dtype.kind != "f":
            return array[:8]
        middle = (array.max() + array.min()) / 2
        return (middle + 1.4 * (array[:8] - middle)).astype(array.dtype)

    return {name: move(array) for name, array in inputs.items()}


def judge(wanted, found, kinds, name, beyond=None):
    """Return the `Verdict` on a file of a format.

    Args:
        wanted: Dict of output name to the student's answers; files with one output may name it otherwise.
        found: Dict of output name to the file's answers.
        kinds: Dict of output name to `"classes"`, `"labels"` at a probability of one half, `"logits"` of labels,
            `"numbers"`, each a quantity of its own, `"picture"`, whose numbers are one quantity, or `"indices"`.
        name: Format of the file.
        beyond: The answers of both to `probe`, or `None`.
    """
    verdicts = [_judge_beyond(*beyond)] if beyond else []
    for output, answers in wanted.items():
        theirs = found[output] if len(wanted) > 1 else next(iter(found.values()))
        verdicts.append(_judge_output(answers.astype(np.float64), theirs, kinds[output], name))
    order = ("wrong", "between", "right")
    return min(verdicts, key=lambda each: order.index(each.word))


def _judge_beyond(wanted, found):
    for output, answers in wanted.items():
        theirs = found[output] if len(wanted) > 1 else next(iter(found.values()))
        if not np.isfinite(theirs[np.isfinite(answers)]).all():
            return Verdict("wrong", "not finite a little beyond the data")
    return Verdict("right")


def _judge_output(ours, theirs, kind, name):
    if ours.shape != theirs.shape:
        return Verdict("wrong", f"shape {theirs.shape} in place of {ours.shape}")
    if not np.isfinite(theirs[np.isfinite(ours)]).all():
        return Verdict("wrong", "not finite")
    groups = count_decisions(ours, theirs, kind)
    units = measure_units(ours, theirs)
    bad = _find_wrong(groups, units, kind)
    if bad:
        return Verdict("wrong", bad)
    doubt = _find_doubt(groups, units, kind, name, ours, theirs)
    return Verdict("between", doubt) if doubt else Verdict("right")


def count_decisions(ours, theirs, kind):
    """Return `(words, support, recall)` of every decision that the student takes."""
    if kind in MEASURED:
        return []
    decided = [_decide(array, kind) for array in (ours, theirs)]
    if kind in ("labels", "logits"):
        width = decided[0].shape[-1]
        decided = [array.reshape(-1, width) for array in decided]
        pairs = [(f"label {unit} {bool(side)}", decided[0][:, unit] == side, decided[1][:, unit] == side)
                 for unit in range(width) for side in (0, 1)]  # fmt: skip
    else:
        pairs = [(f"class {each}", decided[0] == each, decided[1] == each) for each in np.unique(decided[0])]
    return [(words, int(mine.sum()), float(other[mine].mean())) for words, mine, other in pairs if mine.any()]


def _decide(array, kind):
    if kind == "classes":
        return array.argmax(-1)
    return np.rint(array).astype(int) if kind == "indices" else (array >= (0.5 if kind == "labels" else 0.0))


def measure_units(ours, theirs):
    """Return a dict of arrays with a number for each unit: its range, its spread, and how far the file is from it."""
    width = ours.shape[-1] if ours.ndim > 1 else 1
    ours, theirs = ours.reshape(-1, width), theirs.reshape(-1, width)
    return {
        "range": np.ptp(ours, axis=0),
        "size": np.abs(ours).max(axis=0),
        "std": ours.std(axis=0),
        "file_std": theirs.std(axis=0),
        "shift": np.abs((theirs - ours).mean(axis=0)),
        "mean": np.abs(theirs - ours).mean(axis=0),
        "largest": np.abs(theirs - ours).max(axis=0),
    }


def _find_wrong(groups, units, kind):
    for words, support, recall in groups:
        if support >= SUPPORT and recall < 0.5:
            return f"{words}: {recall:.0%} of {support} found"
    if kind not in MEASURED:
        agreement = _agree(groups)
        return f"agreement {agreement:.3f}" if agreement < 0.8 else ""
    varies = units["std"] > 1e-3 * units["size"]
    if kind == "picture":
        varies &= units["std"] > 0.25 * np.median(units["std"])
    for place in np.flatnonzero(varies):
        if units["shift"][place] > 0.1 * units["range"][place]:
            return f"unit {place} moved by {units['shift'][place] / units['range'][place]:.0%} of its range"
        if units["file_std"][place] < 0.2 * units["std"][place]:
            return f"unit {place} hardly moves"
    return ""


def _find_doubt(groups, units, kind, name, ours, theirs):
    mean, largest = ALLOWED[name]
    spread = float(np.ptp(ours)) or 1.0
    if groups and _agree(groups) < 0.97:
        return f"agreement {_agree(groups):.3f}"
    low = [words for words, _, recall in groups if recall < 0.9]
    if low:
        return f"{low[0]} loses samples"
    if kind == "indices":
        return ""
    ranges = np.maximum(units["range"], 1e-12 if kind != "picture" else 0.25 * np.median(units["range"]))
    relative = (units["mean"] if kind in MEASURED else units["shift"] / 2) / ranges
    if np.abs(theirs - ours).mean() > mean / 2 * spread or relative.max() > mean / 2:
        return f"mean difference {relative.max():.3g}"
    if largest is None:
        return ""
    relative = (units["largest"] / ranges).max() if kind in MEASURED else units["largest"].max() / spread
    return f"largest difference {relative:.3g}" if relative > largest / 2 else ""


def _agree(groups):
    return sum(support * recall for _, support, recall in groups) / max(sum(support for _, support, _ in groups), 1)
