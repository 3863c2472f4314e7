"""Labels and normalisation inside a TFLite file, where whoever gets only the file finds them."""

import io
import json
import pathlib
import zipfile

from keras_distill._core.messages import expected
from keras_distill.export.tflite import flatbuffer, model_metadata, tensors

NAME = b"KERAS_DISTILL_METADATA"
_VERSION = 1
_LONG_AGO = (1980, 1, 1, 0, 0, 0)


def labels_by_output(labels, outputs):
    """Return the class names of each output that has any, checked.

    Args:
        labels: None; list of str, for a student of one output; or dict of output name to list of str.
        outputs: tuple of `signature.Tensor`.

    Returns:
        dict of str, the output's name in the files, to tuple of str.

    Raises:
        ValueError: if a name is of no output, a list is not as long as the output's last axis, or a class name is
            empty, not text, of several lines or there twice.

    Example:
        >>> from keras_distill.export.signature import Tensor
        >>> output = Tensor("species", "species", (None, 3), "float32")
        >>> labels_by_output(["setosa", "versicolor", "virginica"], (output,))
        {'species': ('setosa', 'versicolor', 'virginica')}
        >>> labels_by_output(["setosa", "versicolor"], (output,))
        Traceback (most recent call last):
        ValueError: Expected 3 labels of output 'species', as many as it has classes. Received: 2.
    """
    if labels is None:
        return {}
    if not isinstance(labels, dict):
        if len(outputs) != 1:
            names = ", ".join(output.keras_name for output in outputs)
            raise ValueError(expected(f"labels to be a dict by output ({names})", type(labels).__name__))
        labels = {outputs[0].keras_name: labels}
    keyed = {key: output for output in outputs for key in (output.keras_name, output.name)}
    for name in labels:
        if name not in keyed:
            raise ValueError(expected(f"labels of the outputs {', '.join(keyed)}", repr(name)))
    return {keyed[name].name: _checked(list(names), keyed[name]) for name, names in labels.items()}


def describe(signature, labels=None, preprocessing=None):
    """Return what is to stand in the files of a student.

    Args:
        signature: `signature.Signature` of what is exported.
        labels: as `labels_by_output` takes them. Defaults to None.
        preprocessing: dict of input name to `preprocessing.Preprocessing`. Defaults to None.

    Returns:
        dict of JSON types, for `attach`.
    """
    labels = labels_by_output(labels, signature.outputs)
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


def label_files(metadata):
    """Return the files of labels, one class per line, that readers of TFLite metadata look for.

    Args:
        metadata: dict, as `describe` returns it.

    Returns:
        dict of file name to bytes.
    """
    names = _file_names(metadata)
    texts = {output["name"]: "\n".join(output["labels"]) + "\n" for output in metadata["outputs"] if output["labels"]}
    return {names[name]: text.encode() for name, text in texts.items()}


def attach(path, metadata, files=None):
    """Put metadata and files into a TFLite file; what it computes stays the same.

    The metadata is written twice: as JSON in an entry of our own, whole, and as the table that readers of TFLite
    metadata know, see `model_metadata`. Files are appended as a zip archive, so that the TFLite file is one too. What
    an earlier call attached is replaced. Quantizers drop the archive: attach last.

    Args:
        path: str or path of the TFLite file.
        metadata: dict of JSON types, as `describe` returns it.
        files: dict of str to bytes. Defaults to None, the files of labels.

    Raises:
        ValueError: if it is no whole TFLite file, or one with weights outside the table.
    """
    path = pathlib.Path(path)
    model = tensors.opened(path.read_bytes())
    if any(buffer.offset > 1 for buffer in model.buffers):
        raise ValueError(expected("a TFLite file of less than 2 GB, to attach metadata to", f"{path.name}, larger"))
    _set(model, NAME, json.dumps(metadata, ensure_ascii=False, sort_keys=True).encode())
    _set(model, model_metadata.NAME, _table(model, metadata))
    packed = flatbuffer.packed(model)
    content = packed + _archive(label_files(metadata) if files is None else files, packed)
    beside = path.with_name(f"{path.name}.tmp")
    try:
        beside.write_bytes(content)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def read(path):
    """Read what `attach` put into a file.

    Args:
        path: str or path of the TFLite file.

    Returns:
        tuple of the metadata, a dict, empty if there is none, and the files, a dict of str to bytes.

    Raises:
        ValueError: if it is no whole TFLite file, or its metadata is damaged.
    """
    data = pathlib.Path(path).read_bytes()
    model = tensors.opened(data)
    found = [entry for entry in model.metadata or () if entry.name == NAME]
    try:
        content = json.loads(bytes(model.buffers[found[0].buffer].data)) if found else {}
        return dict(content), _files(data)
    except (ValueError, TypeError, IndexError, zipfile.BadZipFile, NotImplementedError) as error:
        raise ValueError(expected(f"metadata that can be read in {pathlib.Path(path).name}", error)) from error


def complaints(path, signature, labels=None):
    """Return what is wrong with the labels in a file.

    Args:
        path: str or path of the TFLite file.
        signature: `signature.Signature` of what was exported.
        labels: as `labels_by_output` takes them; None if the file need not hold any. Defaults to None.

    Returns:
        list of str; the file is right if it is empty.
    """
    try:
        metadata, files = read(path)
        _, outputs = tensors.ends(tensors.opened(pathlib.Path(path).read_bytes()))
    except ValueError as error:
        return [f"its metadata cannot be read: {error}"]
    wanted = labels_by_output(labels, signature.outputs)
    held = {output["name"]: output["labels"] for output in metadata.get("outputs", ()) if output.get("labels")}
    found = [f"labels of output {name!r} are missing" for name in wanted if name not in held]
    classes = {end.name: end.shape[-1] if end.shape else 1 for end in outputs}
    for name, names in held.items():
        if len(names) != classes.get(name):
            found.append(
                f"it holds {len(names)} labels for output {name!r}, which has {classes.get(name, 'no')} classes"
            )
        elif name in wanted and tuple(names) != wanted[name]:
            found.append(f"its labels of output {name!r} are others than were given")
    written = label_files(metadata) if metadata else {}
    return found + [f"its file {name} is damaged" for name, content in written.items() if files.get(name) != content]


def _checked(names, output):
    what = f"labels of output {output.keras_name!r}"
    if len(names) != output.shape[-1]:
        raise ValueError(expected(f"{output.shape[-1]} {what}, as many as it has classes", len(names)))
    for name in names:
        if not isinstance(name, str) or not name.strip() or len(name.splitlines()) > 1:
            raise ValueError(expected(f"{what} to be text of one line each", repr(name)))
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(expected(f"{what} to differ from each other", f"{twice!r} twice"))
    return tuple(names)


def _file_names(metadata):
    labelled = [output["name"] for output in metadata.get("outputs", ()) if output.get("labels")]
    return {name: "labels.txt" if len(labelled) == 1 else f"{name}_labels.txt" for name in labelled}


def _table(model, metadata):
    """Return TensorFlow's own table, its tensors in the order of the graph."""
    inputs, outputs = tensors.ends(model)
    steps = {entry["name"]: entry.get("preprocessing") for entry in metadata.get("inputs", ())}
    files = _file_names(metadata)
    return model_metadata.packed(
        "student",
        [
            {"name": end.name, "shape": end.shape, "normalization": _normalization(steps.get(end.name))}
            for end in inputs
        ],
        [{"name": end.name, "file": files.get(end.name)} for end in outputs],
    )


def _normalization(step):
    """Return what the reader is to do with a pixel before it feeds it; nothing where the graph does it."""
    if step is None:
        return None
    return {"mean": [0.0], "std": [1.0]} if step["in_graph"] else step["feed"]


def _set(model, name, content):
    """Put an entry of metadata into a model, or other contents into the one that is there."""
    import numpy as np
    from ai_edge_litert import schema_py_generated as schema

    entry = next((entry for entry in model.metadata or () if entry.name == name), None)
    if entry is None:
        entry = schema.MetadataT(name, len(model.buffers))
        model.buffers.append(schema.BufferT())
        model.metadata = [*(model.metadata or ()), entry]
    model.buffers[entry.buffer].data = np.frombuffer(content, np.uint8)


def _archive(files, before):
    """Return a zip archive as it stands after those bytes; without compression, so that readers can map it."""
    stream = io.BytesIO()
    stream.write(before)
    with zipfile.ZipFile(stream, "a", zipfile.ZIP_STORED) as archive:
        for name, content in sorted(files.items()):
            archive.writestr(zipfile.ZipInfo(name, _LONG_AGO), content)
    return stream.getvalue()[len(before) :] if files else b""


def _files(data):
    if not zipfile.is_zipfile(io.BytesIO(data)):
        return {}
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        entries = archive.infolist()
        # An archive from elsewhere may claim any size.
        if sum(entry.file_size for entry in entries) > len(data):
            raise ValueError("files larger than the file that holds them")
        return {entry.filename: archive.read(entry) for entry in entries}
