"""Labels and normalization inside a TFLite file, so that the file alone is enough to use it.

They are written as JSON in an entry of this package, and as TensorFlow's own table, which readers on Android and
MediaPipe look for. Two packages write that table: `tflite-support`, which has had no release since 2023, and MediaPipe,
which installs a vision library too. The table is small and the numbers of its fields never change, so it is written
here with flatbuffers; MediaPipe's reader reads it.
"""

import io
import json
import os
import pathlib
import zipfile
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.export.labels import match_class_names
from keras_distill.export.preprocessing import Preprocessing
from keras_distill.export.signature import Signature
from keras_distill.export.tflite import flatbuffer

NAME = b"KERAS_DISTILL_METADATA"
TABLE_NAME = b"TFLITE_METADATA"
_VERSION = 1
_FIXED_TIME = (1980, 1, 1, 0, 0, 0)
# Constants of TensorFlow's table.
_IDENTIFIER = b"M001"
_AXIS_LABELS = 2
_FEATURE, _IMAGE = 1, 2
_NORMALIZATION = 1
_COLOUR_SPACES = {3: 1, 1: 2}


def describe(
    signature: Signature, labels: Any = None, preprocessing: dict[str, Preprocessing] | None = None
) -> dict[str, Any]:
    """Return the metadata for the files of a student as JSON types.

    Args:
        signature: `Signature` of the student.
        labels: Class names, as `match_class_names` takes them. Defaults to `None`.
        preprocessing: Dict of input name to `Preprocessing`. Defaults to `None`.
    """
    labels = match_class_names(labels, signature.outputs)
    steps = preprocessing or {}
    return {
        "metadata_version": _VERSION,
        "inputs": [
            tensor.to_dict() | {"preprocessing": steps[tensor.name].to_dict() if tensor.name in steps else None}
            for tensor in signature.inputs
        ],
        "outputs": [
            tensor.to_dict() | {"labels": list(labels[tensor.name]) if tensor.name in labels else None}
            for tensor in signature.outputs
        ],
    }


def make_label_files(metadata: dict[str, Any]) -> dict[str, bytes]:
    """Return the label files that readers of TFLite metadata expect, by name: one class per line.

    Args:
        metadata: Metadata that `describe` returned.
    """
    names = _name_label_files(metadata)
    texts = {output["name"]: "\n".join(output["labels"]) + "\n" for output in metadata["outputs"] if output["labels"]}
    return {names[name]: text.encode() for name, text in texts.items()}


def attach(path: str | os.PathLike, metadata: dict[str, Any], files: dict[str, bytes] | None = None) -> None:
    """Put metadata and files into a TFLite file, whose outputs stay the same.

    Files are appended as a zip archive, so the TFLite file is a zip archive too. What an earlier call attached is
    replaced. Attach last: quantizers drop the archive.

    Args:
        path: The TFLite file.
        metadata: Metadata that `describe` returned.
        files: Dict of file name to bytes. Defaults to `None`, the label files.

    Raises:
        ValueError: If it is not a complete TFLite file, or holds weights outside the flatbuffer.
    """
    path = pathlib.Path(path)
    model = flatbuffer.parse(path.read_bytes())
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ValueError(expected("a TFLite file of less than 2 GB, to attach metadata to", f"{path.name}, larger"))
    _set(model, NAME, json.dumps(metadata, ensure_ascii=False, sort_keys=True).encode())
    _set(model, TABLE_NAME, _make_table(model, metadata))
    model_bytes = flatbuffer.serialize(model)
    content = model_bytes + _make_archive(make_label_files(metadata) if files is None else files, model_bytes)
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path: str | os.PathLike) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Read the metadata and the files that `attach` put into a TFLite file.

    Args:
        path: The TFLite file.

    Returns:
        Tuple of the metadata, a dict that is empty if the file has no metadata, and a dict of file name to bytes.

    Raises:
        ValueError: If it is not a complete TFLite file, or its metadata is damaged.
    """
    data = pathlib.Path(path).read_bytes()
    model = flatbuffer.parse(data)
    found = [entry for entry in model.metadata or () if entry.name == NAME]
    try:
        content = json.loads(bytes(model.buffers[found[0].buffer].data)) if found else {}
        return dict(content), _read_archive(data)
    except (ValueError, TypeError, IndexError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(expected(f"readable metadata in {pathlib.Path(path).name}", error)) from error


def find_complaints(path: str | os.PathLike, signature: Signature, labels: Any = None) -> list[str]:
    """Return what is wrong with the labels in a file, an empty list if they are right.

    Args:
        path: The TFLite file.
        signature: `Signature` of the student.
        labels: Class names, as `match_class_names` takes them; `None` if the file need not have labels. Defaults to
            `None`.
    """
    try:
        metadata, files = read(path)
        _, outputs = flatbuffer.read_ends(flatbuffer.load_model(path))
    except ValueError as error:
        return [f"its metadata cannot be read: {error}"]
    wanted = match_class_names(labels, signature.outputs)
    held = {output["name"]: output["labels"] for output in metadata.get("outputs", ()) if output.get("labels")}
    found = [f"labels of output {name!r} are missing" for name in wanted if name not in held]
    classes = {end.name: end.shape[-1] if end.shape else 1 for end in outputs}
    for name, names in held.items():
        if len(names) != classes.get(name):
            held_and_wanted = f"{len(names)} labels for output {name!r}, which has {classes.get(name, 'no')} classes"
            found.append(f"it holds {held_and_wanted}")
        elif name in wanted and tuple(names) != wanted[name]:
            found.append(f"its labels of output {name!r} differ from the given ones")
    written = make_label_files(metadata) if metadata else {}
    return found + [f"its file {name} is damaged" for name, content in written.items() if files.get(name) != content]


def _name_label_files(metadata: dict[str, Any]) -> dict[str, str]:
    labelled = [output["name"] for output in metadata.get("outputs", ()) if output.get("labels")]
    return {name: "labels.txt" if len(labelled) == 1 else f"{name}_labels.txt" for name in labelled}


def _make_table(model: Any, metadata: dict[str, Any]) -> bytes:
    """Return TensorFlow's own table, with tensors in the order of the graph."""
    import flatbuffers

    inputs, outputs = flatbuffer.read_ends(model)
    steps = {entry["name"]: entry.get("preprocessing") for entry in metadata.get("inputs", ())}
    files = _name_label_files(metadata)
    builder = flatbuffers.Builder(1024)
    taken = [_add_tensor(builder, end.name, end.shape, _find_normalization(steps.get(end.name))) for end in inputs]
    inputs_vector = _add_vector(builder, taken)
    given = [_add_tensor(builder, end.name, file=files.get(end.name)) for end in outputs]
    graph = _add_table(builder, 10, [(2, inputs_vector), (3, _add_vector(builder, given))])
    fields = [(0, builder.CreateString("student")), (3, _add_vector(builder, [graph]))]
    builder.Finish(_add_table(builder, 8, fields), _IDENTIFIER)
    return bytes(builder.Output())


def _add_tensor(
    builder: Any,
    name: str,
    shape: tuple[int, ...] = (),
    normalization: dict[str, Any] | None = None,
    file: str | None = None,
) -> int:
    fields = [(0, builder.CreateString(name)), (3, _add_content(builder, shape))]
    if normalization is not None:
        sides = [_add_floats(builder, normalization[key]) for key in ("mean", "std")]
        options = _add_table(builder, 2, list(enumerate(sides)))
        fields.append((4, _add_vector(builder, [_add_union(builder, 2, _NORMALIZATION, options)])))
    if file is not None:
        labels = _add_table(builder, 5, [(0, builder.CreateString(file))], {2: _AXIS_LABELS})
        fields.append((6, _add_vector(builder, [labels])))
    return _add_table(builder, 7, fields)


def _add_content(builder: Any, shape: tuple[int, ...]) -> int:
    """Mark a tensor as an image, which readers scale and rotate for the model, or as anything else."""
    if len(shape) == 4 and shape[-1] in _COLOUR_SPACES:
        image = _add_table(builder, 2, [], {0: _COLOUR_SPACES[shape[-1]]})
        return _add_union(builder, 3, _IMAGE, image)
    return _add_union(builder, 3, _FEATURE, _add_table(builder, 0, []))


def _add_union(builder: Any, slots: int, kind: int, table: int) -> int:
    return _add_table(builder, slots, [(1, table)], {0: kind})


def _add_table(builder: Any, slots: int, fields: list[tuple[int, int]], small: dict[int, int] | None = None) -> int:
    """Add a table of references and of one-byte numbers, both by the number of their field."""
    builder.StartObject(slots)
    for slot, offset in fields:
        builder.PrependUOffsetTRelativeSlot(slot, offset, 0)
    for slot, value in (small or {}).items():
        builder.PrependUint8Slot(slot, value, 0)
    return builder.EndObject()


def _add_vector(builder: Any, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return builder.EndVector()


def _add_floats(builder: Any, numbers: list[float]) -> int:
    builder.StartVector(4, len(numbers), 4)
    for number in reversed(numbers):
        builder.PrependFloat32(number)
    return builder.EndVector()


def _find_normalization(step: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return how a reader has to normalize a pixel; the identity where the graph does it."""
    if step is None:
        return None
    return {"mean": [0.0], "std": [1.0]} if step["in_graph"] else step["feed"]


def _set(model: Any, name: bytes, content: bytes) -> None:
    """Add an entry of metadata to a model, or replace its contents."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    entry = next((entry for entry in model.metadata or () if entry.name == name), None)
    if entry is None:
        entry = schema.MetadataT(name, len(model.buffers))
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or ()), entry]
    model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)


def _make_archive(files: dict[str, bytes], before: bytes) -> bytes:
    """Return a zip archive to append to those bytes, without compression so that readers can map it."""
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _FIXED_TIME), content)
    return stream.getvalue()[len(before) :] if files else b""


def _read_archive(data: bytes) -> dict[str, bytes]:
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        # The archive may come from anyone, and may claim any size.
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("files larger than the file that holds them")
        return {entry.filename: archive.read(entry) for entry in entries}
