"""The model card beside the files: what they are, what goes in and comes out, code, and how they were checked."""

import pathlib

from keras_distill.export import publishing
from keras_distill.export.reporting import tables
from keras_distill.export.reporting.card_code import LANGUAGES
from keras_distill.export.tflite import metadata, tensors

_SHOWN_LABELS = 100


def write(folder, rows, signature, preprocessing=None, labels=None, manifest=None, name=publishing.CARDS[0]):
    """Write the model card of an export.

    Args:
        folder: str or path, where the files are.
        rows: list of `report.Artifact`, in the order asked for.
        signature: `signature.Signature` of what was exported.
        preprocessing: dict of input name to `preprocessing.Preprocessing`. Defaults to None.
        labels: as `metadata.labels_by_output` takes them. Defaults to None.
        manifest: dict, what the manifest says beside the files: `student`, `verified_on`, `calibrated_on`, `versions`.
            Defaults to None.
        name: str, the card's file name, see `publishing.card_name`. Defaults to `"README.md"`.

    Returns:
        `pathlib.Path` of the card.
    """
    folder, manifest = pathlib.Path(folder), manifest or {}
    labels = metadata.labels_by_output(labels, signature.outputs)
    kept = {row.format: folder / pathlib.Path(row.path).name for row in rows if row.passed}
    files = _readable(rows, kept)
    parts = [
        f"# {manifest.get('student', {}).get('name', 'Student')}",
        "A Keras student, written to files by `keras_distill`. Each file was loaded and run by another runtime than "
        "Keras, on real data, and agreed with the student.",
        "## Files\n\n" + _files(rows, kept),
        "## Inputs\n\n" + _inputs(signature, preprocessing or {}),
        "## Outputs\n\n" + _outputs(signature, labels),
        *_quantization(files),
        *_code(files),
        "## How the files were checked\n\n" + _checks(rows, manifest),
        "## Versions and hashes\n\n" + _hashes(kept, manifest),
    ]
    path = folder / name
    path.write_text("\n\n".join(parts) + "\n", encoding="utf-8")
    return path


def _readable(rows, kept):
    """Return the TFLite files that passed, the smallest first: name to inputs and outputs."""
    rows = [row for row in rows if row.format in kept and kept[row.format].suffix == ".tflite"]
    paths = [kept[row.format] for row in sorted(rows, key=lambda row: row.bytes)]
    return {path.name: tensors.ends(tensors.opened(path.read_bytes())) for path in paths}


def _files(rows, kept):
    names = [f"`{kept[row.format].name}`" if row.format in kept else row.format for row in rows]
    columns = tables.filled((tables.SIZE, *tables.AGREEMENT, *tables.COST), rows)
    words = "Agreement is the share of samples with the student's answer; latency is of one sample on one thread of the"
    return f"{tables.markdown(names, [row.status for row in rows], columns, 'file')}\n\n{words} machine that exported."


def _inputs(signature, preprocessing):
    lines = ["| input | shape | dtype | what to feed |", "|---|---|---|---|"]
    for tensor in signature.inputs:
        feed = _feed(preprocessing.get(tensor.name))
        lines.append(f"| `{tensor.name}` | {_shape(tensor)} | {tensor.dtype} | {feed} |")
    return (
        "\n".join(lines)
        + "\n\nThe batch comes first; TFLite files take one sample at a time, unless their name says else."
    )


def _feed(step):
    if step is None:
        return "what the student was trained on"
    formula = f"(raw × {step.scale:.9g} + {step.offset:g} − {_list(step.mean)}) / {_list(step.std)}"
    if step.in_graph:
        return f"raw values; the file itself computes {formula}"
    return f"{formula}, computed from raw {step.input_dtype} values before"


def _list(numbers):
    return f"{numbers[0]:g}" if len(numbers) == 1 else f"[{', '.join(f'{number:g}' for number in numbers)}]"


def _outputs(signature, labels):
    lines = ["| output | shape | dtype | classes |", "|---|---|---|---|"]
    for tensor in signature.outputs:
        names = labels.get(tensor.name)
        classes = "" if names is None else f"{len(names)}, listed below and in each TFLite file"
        lines.append(f"| `{tensor.name}` | {_shape(tensor)} | {tensor.dtype} | {classes} |")
    for name, names in labels.items():
        shown = ", ".join(f"{place} {label}" for place, label in enumerate(names[:_SHOWN_LABELS]))
        more = f", and {len(names) - _SHOWN_LABELS} more" if len(names) > _SHOWN_LABELS else ""
        lines.append(f"\nLabels of `{name}`: {shown}{more}.")
    if labels:
        lines.append("\nA TFLite file is a zip archive of its labels too: `unzip -p student.tflite labels.txt`.")
    return "\n".join(lines)


def _quantization(files):
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


def _code(files):
    if not files:
        return []
    parts = ["## Code"]
    for language in LANGUAGES:
        found = next((item for item in files.items() if language.takes([*item[1][0], *item[1][1]])), None)
        parts.append(f"### {language.title}")
        if found is None:
            kinds = ", ".join(sorted(language.dtypes or ()))
            parts.append(f"No file here has only inputs and outputs that its runtime takes: batch 1, {kinds}.")
        else:
            parts.append(f"```{language.tag}\n{language.write(found[0], *found[1])}\n```")
    return parts


def _checks(rows, manifest):
    verified, calibrated = manifest.get("verified_on", {}), manifest.get("calibrated_on", {})
    lines = []
    if verified.get("samples"):
        lines.append(f"- Every file was run on {verified['samples']} samples of `{verified.get('argument')}`.")
    passed = [row for row in rows if row.passed and row.student_accuracy is not None]
    if passed:
        lines.append(f"- The student itself is right on {tables.percent(passed[0].student_accuracy)} of them.")
    if calibrated.get("samples"):
        lines.append(f"- Ranges of integers were taken from {calibrated['samples']} samples.")
    lines += [f"- {row.format}: {row.status}" for row in rows if not row.passed]
    lines += [f"- {row.format} on {target}: {status}" for row in rows for target, status in row.targets.items()]
    return "\n".join(lines)


def _hashes(kept, manifest):
    versions = [f"{name} {version}" for name, version in manifest.get("versions", {}).items() if version]
    files = [path for path in kept.values() if path.is_file()]
    lines = ["| file | SHA-256 |", "|---|---|", *(f"| `{path.name}` | `{publishing.sha256(path)}` |" for path in files)]
    more = f"All files are listed in `{publishing.MANIFEST}`."
    return "\n".join([*([f"Written with {', '.join(versions)}.\n"] if versions else []), *lines, "", more])


def _shape(tensor):
    return " × ".join("any" if size is None else str(size) for size in tensor.shape)
