"""What is settled before the first shard: the plan of a store, and whether its place is free."""

import importlib.metadata
import re

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints, manifest, shards
from keras_distill.targets.store.keys import names_of
from keras_distill.targets.writing.asking import FEATURE
from keras_distill.targets.writing.locking import LOCK

_SHARD_BYTES = 64 << 20
_LARGEST_SHARD = 1 << 16
_VERSIONS = ("keras_distill", "keras", "tensorflow", "numpy")


def ragged_fields(plan):
    """Return the names of the fields of which each example has a length of its own."""
    names = [name for name, (_, shape) in plan["fields"].items() if shape[:1] == [None]]
    return frozenset(names)


def plan_of(asker, encoding, shapes, keying, first, shard_size, facts, replay=None):
    """Return all that a store will say of itself and that is known before its first shard.

    Args:
        asker: The `Asker`, settled.
        encoding: Its `Encoding`.
        shapes: Shape of each feature of one example, by name.
        keying: The `Keying`.
        first: The first batch, with its keys.
        shard_size: Examples in a shard, or `None`.
        facts: Dict of `name`, `preprocessing`, `class_names` and `batch_size`, as they were given to `write`.
        replay: The `Replay` whose views are asked about. Defaults to `None`.

    Returns:
        A dict of plain values.
    """
    fields = {name: (dtype, (*encoding.shape, *shape)) for name, (dtype, shape) in encoding.fields.items()}
    for number, shape in enumerate(shapes.values()):
        fields[FEATURE.format(number)] = (asker.feature_dtype, shape)
    names = facts["class_names"]
    if names is not None and len(names) != encoding.classes:
        raise ValueError(expected(f"{encoding.classes} class names", f"{len(names)}"))
    return manifest.header(
        teacher=fingerprints.of_teacher(asker.teacher),
        encoding=encoding.to_dict(),
        features={name: list(shape) for name, shape in shapes.items()},
        fields=fields,
        key=keying.to_dict(),
        inputs=_inputs(first["x"], keying),
        dataset={"name": facts["name"]},
        preprocessing=facts["preprocessing"],
        class_names=None if names is None else list(names),
        batch_size=facts["batch_size"],
        shard_size=shard_size or _shard_size(fields, first),
        versions={name: _version(name) for name in _VERSIONS},
        **({} if replay is None else {"replay": replay.to_dict()}),
    )


def _inputs(x, keying):
    leaf, padding = keying.padded_leaf(x)
    leaves = keras.tree.flatten(x)
    longest = leaves[leaf].shape[1] if padding is not None else None
    records = []
    for name, each in zip(names_of(x), leaves, strict=True):
        shape = list(each.shape[1:])
        open_ended = longest is not None and shape[:1] == [longest]
        records.append({"name": name, "shape": [None, *shape[1:]] if open_ended else shape, "dtype": each.dtype.name})
    return records


def _shard_size(fields, first):
    length = int(first["length"].numpy().max(initial=1)) if "length" in first else 1
    sizes = (
        np.dtype(dtype).itemsize * np.prod([length if each is None else each for each in shape])
        for dtype, shape in fields.values()
    )
    return int(np.clip(_SHARD_BYTES // (16 + sum(sizes)), 1, _LARGEST_SHARD))


def begin(path, plan, overwrite):
    """Prepare a folder for a plan, new or begun by an earlier writer.

    Args:
        path: Folder of the store.
        plan: What `plan_of` returned.
        overwrite: Whether what is there may be removed.

    Returns:
        Whether there is anything to be written: `False` for a store that is finished.

    Raises:
        FileExistsError: If it was begun, or written, with another plan.
    """
    if overwrite:
        # The manifest first: what is half removed is no store.
        for name in (manifest.MANIFEST, manifest.PLAN, *filter(_is_shard, files.listed(path))):
            files.remove(files.join(path, name))
    whole = files.exists(files.join(path, manifest.MANIFEST))
    if not whole and not files.exists(files.join(path, manifest.PLAN)):
        files.write_json(files.join(path, manifest.PLAN), plan)
        return True
    before = manifest.read(path, manifest.MANIFEST if whole else manifest.PLAN)
    before = {name: before[name] for name in plan if name in before}
    before["dataset"] = {"name": before["dataset"]["name"]}
    if found := manifest.differences(before, plan):
        kind = "finished" if whole else "begun"
        fix = "Choose another path, or replace it with `overwrite=True`."
        raise FileExistsError(expected(f"the teacher and settings that {path} was {kind} with", f"other {found}", fix))
    if whole:
        files.remove(files.join(path, manifest.PLAN))
    return not whole


def check_same_start(path, first):
    """Raise a `FileExistsError` unless a finished store begins with the examples of a first batch."""
    keys = shards.Shard(path, shards.read_record(path, 0)).keys[: len(first["key"])]
    if keys.shape != first["key"].shape or (keys != first["key"].numpy()).any():
        fix = "Choose another path, or replace it with `overwrite=True`."
        raise FileExistsError(expected(f"the examples that {path} was written from", "others in the first batch", fix))


def check_place(path):
    """Raise a `FileExistsError` where something else than a store is."""
    ours = (LOCK, manifest.PLAN, manifest.MANIFEST)
    found = files.listed(path)
    if files.exists(path) and not found and files.size(path) >= 0:
        raise FileExistsError(expected("a folder to write a store to", f"the file {path}"))
    names = [name for name in found if not _is_shard(name) and name.removesuffix(".beside") not in ours]
    if names:
        received = f"{path} with {', '.join(names[:5])}"
        raise FileExistsError(expected("a folder that is new, empty or a store", received, "Choose another path."))


def _is_shard(name):
    return re.fullmatch(r"shard-\d{5,}", name) is not None


def _version(name):
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
