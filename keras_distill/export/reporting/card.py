"""The model card beside the files: their inputs and outputs, code that runs them, and how they were verified."""

import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

from keras_distill.drawing.numbers import percent
from keras_distill.export import publishing
from keras_distill.export.labels import match_class_names
from keras_distill.export.preprocessing import Preprocessing
from keras_distill.export.reporting import tables
from keras_distill.export.reporting.card_code import LANGUAGES
from keras_distill.export.reporting.card_cpp import write_cpp
from keras_distill.export.reporting.report import Artifact
from keras_distill.export.signature import Signature, Tensor
from keras_distill.export.tflite import flatbuffer

_SHOWN_LABELS = 100


def write(
    folder: str | os.PathLike,
    rows: Sequence[Artifact],
    signature: Signature,
    preprocessing: dict[str, Preprocessing] | None = None,
    labels: Any = None,
    manifest: dict[str, Any] | None = None,
    name: str = publishing.CARDS[0],
) -> pathlib.Path:
    """Write the model card of an export.

    Args:
        folder: Folder of the files.
        rows: `Artifact` of each format.
        signature: `Signature` of the student.
        preprocessing: Dict of input name to `Preprocessing`. Defaults to `None`.
        labels: Class names, as `match_class_names` takes them. Defaults to `None`.
        manifest: `student`, `verified_on`, `calibrated_on` and `versions` of the manifest. Defaults to `None`.
        name: File name of the card, see `publishing.card_name`. Defaults to `"README.md"`.

    Returns:
        Path of the card.
    """
    folder, manifest = pathlib.Path(folder), manifest or {}
    class_names = match_class_names(labels, signature.outputs)
    kept = {row.format: folder / pathlib.Path(row.path or "").name for row in rows if row.passed}
    files = _read_tflite_files(rows, kept)
    parts = [
        f"# {escape(manifest.get('student', {}).get('name', 'Student'))}",
        "A Keras student, exported to files by `keras_distill`. Another runtime than Keras ran each file on real data, "
        "and its outputs agreed with the student's.",
        "## Files\n\n" + _describe_files(rows, kept),
        "## Inputs\n\n" + _describe_inputs(signature, preprocessing or {}, manifest),
        "## Outputs\n\n" + _describe_outputs(signature, class_names),
        *_describe_quantization(files),
        *_write_code(files, _write_cpp(rows, kept)),
        "## How the files were verified\n\n" + _describe_verification(rows, manifest),
        "## Versions and hashes\n\n" + _describe_hashes(kept, manifest),
    ]
    path = folder / name
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def escape(text: str) -> str:
    """Return a text of one line that Markdown shows as it is.

    Example:

    >>> print(escape("<b>cat</b> | *dog* [x](y)"))
    \\<b\\>cat\\</b\\> \\| \\*dog\\* \\[x\\](y)
    """
    return re.sub(r"([\\`*_\[\]<>|~&#$])", r"\\\1", text)


Files = dict[str, tuple[list[flatbuffer.End], list[flatbuffer.End]]]


def _read_tflite_files(rows: Sequence[Artifact], kept: dict[str, pathlib.Path]) -> Files:
    """Return the TFLite files that passed, the smallest first: name to inputs and outputs."""
    rows = [row for row in rows if row.format in kept and kept[row.format].suffix == ".tflite"]
    paths = [kept[row.format] for row in sorted(rows, key=lambda row: row.bytes or 0)]
    return {path.name: flatbuffer.read_ends(flatbuffer.load_model(path)) for path in paths}


def _describe_files(rows: Sequence[Artifact], kept: dict[str, pathlib.Path]) -> str:
    names = [f"`{kept[row.format].name}`" if row.format in kept else row.format for row in rows]
    columns = tables.fill((tables.SIZE, *tables.AGREEMENT, *tables.COST, tables.ARENA), rows)
    table = tables.format_markdown(names, [row.status for row in rows], columns, "file")
    words = (
        "Agreement is the share of the student's decisions that the file shares, and the worst class that of the class "
        "where it shares the fewest. Latency is the time for one sample on one thread of the machine that exported."
    )
    if any(row.arena_bytes is not None for row in rows):
        words += " The size of C++ source is the flash memory that it takes, the arena its working memory."
    return f"{table}\n\n{words}"


def _describe_inputs(signature: Signature, preprocessing: dict[str, Preprocessing], manifest: dict[str, Any]) -> str:
    ranges = manifest.get("verified_on", {}).get("ranges", {})
    scaling = manifest.get("student", {}).get("scaling", {})
    lines = ["| input | shape | dtype | what to feed |", "|---|---|---|---|"]
    for tensor in signature.inputs:
        feed = _describe_feed(preprocessing.get(tensor.name), ranges.get(tensor.name), scaling.get(tensor.name))
        lines.append(f"| `{tensor.name}` | {_format_shape(tensor)} | {tensor.dtype} | {feed} |")
    note = "The batch comes first. TFLite files take one sample at a time, except the one named `dynamic_batch`."
    return "\n".join([*lines, "", note])


def _describe_feed(step: Preprocessing | None, span: list[float] | None, layer: str | None) -> str:
    if step is None:
        feed = f"unscaled values, which its layer `{layer}` scales" if layer else "what the student was trained on"
        return feed if span is None else f"{feed}; {span[0]:.4g} to {span[1]:.4g} in the verified samples"
    formula = f"(raw × {step.scale:.9g} + {step.offset:g} − {_format_list(step.mean)}) / {_format_list(step.std)}"
    if step.in_graph:
        return f"raw values; the file itself computes {formula}"
    return f"{formula}, computed from raw {step.input_dtype} values before"


def _format_list(numbers: tuple[float, ...]) -> str:
    return f"{numbers[0]:g}" if len(numbers) == 1 else f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _describe_outputs(signature: Signature, labels: dict[str, tuple[str, ...]]) -> str:
    lines = ["| output | shape | dtype | classes |", "|---|---|---|---|"]
    for tensor in signature.outputs:
        names = labels.get(tensor.name)
        classes = "" if names is None else f"{len(names)}, listed below and in each TFLite file"
        lines.append(f"| `{tensor.name}` | {_format_shape(tensor)} | {tensor.dtype} | {classes} |")
    for name, names in labels.items():
        shown = ", ".join(f"{place} {escape(label)}" for place, label in enumerate(names[:_SHOWN_LABELS]))
        more = f", and {len(names) - _SHOWN_LABELS} more" if len(names) > _SHOWN_LABELS else ""
        lines.append(f"\nLabels of `{name}`: {shown}{more}.")
    if labels:
        lines.append("\nA TFLite file is also a zip archive of its labels: `unzip -p student.tflite labels.txt`.")
    return "\n".join(lines)


def _describe_quantization(files: Files) -> list[str]:
    lines = [
        f"| `{file}` | `{end.name}` | {end.dtype} | {end.scale:.9g} | {end.zero_point} |"
        for file, sides in files.items()
        for side in sides
        for end in side
        if end.quantized
    ]
    if not lines:
        return []
    rule = "An integer stands for (integer − zero point) × scale. The code below computes it."
    head = "| file | input or output | dtype | scale | zero point |\n|---|---|---|---|---|"
    return ["## Integers\n\n" + "\n".join([head, *lines]) + f"\n\n{rule}"]


def _write_cpp(rows: Sequence[Artifact], kept: dict[str, pathlib.Path]) -> list[str]:
    """Return the section for microcontrollers, with the smallest C array that passed."""
    arrays = [row for row in rows if row.format in kept and kept[row.format].is_dir() and "c_array" in row.format]
    if not arrays:
        return []
    row = min(arrays, key=lambda row: row.bytes or 0)
    folder = kept[row.format]
    model = flatbuffer.load_model(folder)
    operators = [name for name, _ in flatbuffer.list_operators(model)]
    (source,) = folder.glob("*.cc")
    code = write_cpp(source.stem, *flatbuffer.read_ends(model), operators, row.arena_bytes)
    return ["### C++ (microcontrollers)", f"With the files of `{folder.name}`:\n\n```cpp\n{code}\n```"]


def _write_code(files: Files, cpp: list[str]) -> list[str]:
    if not files:
        return ["## Code", *cpp] if cpp else []
    parts = ["## Code"]
    for language in LANGUAGES:
        found = next((item for item in files.items() if language.takes([*item[1][0], *item[1][1]])), None)
        parts.append(f"### {language.title}")
        if found is None:
            kinds = ", ".join(sorted(language.dtypes or ()))
            parts.append(f"No file here has only inputs and outputs that this runtime takes: batch 1, {kinds}.")
        else:
            parts.append(f"```{language.tag}\n{language.write(found[0], *found[1])}\n```")
    return parts + cpp


def _describe_verification(rows: Sequence[Artifact], manifest: dict[str, Any]) -> str:
    verified, calibrated = manifest.get("verified_on", {}), manifest.get("calibrated_on", {})
    lines = []
    if verified.get("samples"):
        lines.append(f"- Every file was run on {verified['samples']} samples of `{verified.get('argument')}`.")
    passed = [row for row in rows if row.passed and row.student_accuracy is not None]
    if passed:
        lines.append(f"- The student itself is right on {percent(passed[0].student_accuracy)} of them.")
    if calibrated.get("samples"):
        lines.append(f"- The ranges of integers were measured on {calibrated['samples']} samples.")
    lines += [f"- {row.format}: {row.status}" for row in rows if not row.passed]
    lines += [f"- {row.format} on {device}: {status}" for row in rows for device, status in row.devices.items()]
    return "\n".join(lines)


def _describe_hashes(kept: dict[str, pathlib.Path], manifest: dict[str, Any]) -> str:
    versions = [f"{name} {version}" for name, version in manifest.get("versions", {}).items() if version]
    files = [path for path in kept.values() if path.is_file()]
    lines = ["| file | SHA-256 |", "|---|---|", *(f"| `{path.name}` | `{publishing.sha256(path)}` |" for path in files)]
    more = f"All files are listed in `{publishing.MANIFEST}`."
    return "\n".join([*([f"Written with {', '.join(versions)}.\n"] if versions else []), *lines, "", more])


def _format_shape(tensor: Tensor) -> str:
    return " × ".join("any" if size is None else str(size) for size in tensor.shape)
