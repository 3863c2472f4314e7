"""The plan of a store: written before the first shard, and turned into the manifest after the last."""

import hashlib
import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints, manifest, shards
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.keys import Keying, names_of, text_of
from keras_distill.targets.writing.asking import FEATURE, Asker
from keras_distill.targets.writing.locking import LOCK

_SHARD_BYTES = 64 << 20
_LARGEST_SHARD = 1 << 16
_VERSIONS = ("keras_distill", "keras", "tensorflow", "numpy")
_OVERWRITE = "Choose another path, or replace it with `overwrite=True`."


def check_counts(**counts: Any) -> list[int | None]:
    """Return the arguments as ints or `None`; raise a `ValueError` unless each is a whole number >= 1 or `None`."""
    return [None if value is None else check_whole_number(name, value) for name, value in counts.items()]


def make_plan(
    asker: Asker,
    encoding: Encoding,
    shapes: Mapping[str, tuple[int | None, ...]],
    keying: Keying,
    first: dict[str, Any],
    shard_size: int | None,
    facts: dict[str, Any],
    replay: Any = None,
) -> dict[str, Any]:
    """Return the part of the manifest that is known before the first shard.

    Args:
        asker: The `Asker`, settled.
        encoding: Its `Encoding`.
        shapes: Dict of the name of each feature to its shape for one example.
        keying: The `Keying`.
        first: The first batch, with its keys.
        shard_size: Examples in a shard, or `None`.
        facts: Dict of the arguments `name`, `preprocessing`, `class_names` and `batch_size` of `write`.
        replay: The `Replay` that makes the views. Defaults to `None`.

    Returns:
        A dict of plain values.
    """
    fields: dict[str, tuple[Any, tuple]]
    fields = {name: (dtype, (*encoding.shape, *shape)) for name, (dtype, shape) in encoding.fields.items()}
    for number, shape in enumerate(shapes.values()):
        fields[FEATURE.format(number)] = (asker.feature_dtype, shape)
    names = facts["class_names"]
    if names is not None and len(names) != encoding.classes:
        raise ValueError(expected(f"{encoding.classes} class names", f"{len(names)}"))
    return manifest.header(
        teacher=fingerprints.fingerprint_teacher(asker.teacher),
        encoding=encoding.to_dict(),
        features={name: list(shape) for name, shape in shapes.items()},
        fields=fields,
        key=keying.to_dict(),
        inputs=_describe_inputs(first["x"], keying),
        dataset={"name": facts["name"]},
        preprocessing=facts["preprocessing"],
        class_names=None if names is None else list(names),
        batch_size=facts["batch_size"],
        shard_size=shard_size or _choose_shard_size(fields, first),
        versions={name: _find_version(name) for name in _VERSIONS},
        **({} if replay is None else {"replay": replay.to_dict()}),
    )


def ragged_fields(plan: dict[str, Any]) -> frozenset[str]:
    """Return the names of the fields in which the length differs from example to example."""
    return frozenset(name for name, (_, shape) in plan["fields"].items() if shape[:1] == [None])


def check_place(path: str) -> None:
    """Raise a `FileExistsError` if there is anything but a store at a path."""
    ours = (LOCK, manifest.PLAN, manifest.MANIFEST)
    found = files.list_folder(path)
    if files.exists(path) and not found and files.size(path) >= 0:
        raise FileExistsError(expected("a folder to write a store to", f"the file {path}"))
    names = [name for name in found if not _is_shard(name) and name.removesuffix(files.BESIDE) not in ours]
    if names:
        received = f"{path} with {', '.join(names[:5])}"
        raise FileExistsError(expected("a folder that is new, empty or a store", received, "Choose another path."))


def begin(path: str, plan: dict[str, Any], overwrite: bool) -> bool:
    """Prepare the folder of a store, whether it is new or an earlier writer has begun it.

    Args:
        path: Folder of the store.
        plan: The return value of `make_plan`.
        overwrite: Whether an existing store may be removed.

    Returns:
        Whether anything is left to write: `False` for a finished store.

    Raises:
        FileExistsError: If the folder holds a store with another plan.
    """
    if overwrite:
        # The manifest first: what is left of a store must not look finished.
        for name in (manifest.MANIFEST, manifest.PLAN, *filter(_is_shard, files.list_folder(path))):
            files.remove(files.join(path, name))
    whole = files.exists(files.join(path, manifest.MANIFEST))
    if not whole and not files.exists(files.join(path, manifest.PLAN)):
        files.write_json(files.join(path, manifest.PLAN), plan)
        return True
    before = manifest.read(path, manifest.MANIFEST if whole else manifest.PLAN)
    before = {name: before[name] for name in plan if name in before}
    before["dataset"] = {"name": before["dataset"]["name"]}
    if found := manifest.differences(before, plan):
        what = f"the teacher and settings that {path} was {'finished' if whole else 'begun'} with"
        raise FileExistsError(expected(what, f"other ones: {found}", _OVERWRITE))
    if whole:
        files.remove(files.join(path, manifest.PLAN))
    return not whole


def check_same_start(path: str, first: dict[str, Any]) -> None:
    """Raise a `FileExistsError` unless a finished store begins with the examples of a first batch."""
    record = manifest.read(path)["shards"][0]
    keys = shards.Shard(path, record).keys[: len(first["key"])]
    if keys.shape != first["key"].shape or (keys != first["key"].numpy()).any():
        what = f"the examples that {path} was written from"
        raise FileExistsError(expected(what, "other examples in the first batch", _OVERWRITE))


def finish(path: str, plan: dict[str, Any], records: Sequence[dict[str, Any]]) -> None:
    """Write the manifest of a store whose shards are all written, and remove the plan.

    Args:
        path: Folder of the store.
        plan: Content of `plan.json`.
        records: Records of the shards, in order.

    Raises:
        ValueError: If two examples have the same id.
    """
    keys = np.concatenate([shards.Shard(path, record).keys for record in records])
    if plan["key"]["kind"] != "content":
        _check_unique(keys)
    digest = hashlib.blake2b(np.ascontiguousarray(keys).tobytes(), digest_size=16).hexdigest()
    facts = {
        "examples": len(keys),
        "dataset": {**plan["dataset"], "keys": digest},
        "error": max(record["error"] for record in records),
        "shards": records,
    }
    files.write_json(files.join(path, manifest.MANIFEST), {**plan, **facts})
    files.remove(files.join(path, manifest.PLAN))


def _check_unique(keys: np.ndarray) -> None:
    _, first, counts = np.unique(keys, axis=0, return_index=True, return_counts=True)
    if (counts > 1).any():
        key = keys[first[counts > 1].min()]
        places = np.flatnonzero((keys == key).all(1))[:2]
        received = f"the same id for examples {places[0]} and {places[1]} (key {text_of(key)})"
        raise ValueError(expected("a different id for each example", received))


def _describe_inputs(x: Any, keying: Keying) -> list[dict[str, Any]]:
    leaf, padding = keying.padded_leaf(x)
    leaves = keras.tree.flatten(x)
    longest = leaves[leaf].shape[1] if padding is not None else None
    records = []
    for name, each in zip(names_of(x), leaves, strict=True):
        shape = list(each.shape[1:])
        ragged = longest is not None and shape[:1] == [longest]
        records.append({"name": name, "shape": [None, *shape[1:]] if ragged else shape, "dtype": each.dtype.name})
    return records


def _choose_shard_size(fields: dict[str, tuple], first: dict[str, Any]) -> int:
    length = int(first["length"].numpy().max(initial=1)) if "length" in first else 1
    sizes = (
        np.dtype(dtype).itemsize * np.prod([length if each is None else each for each in shape])
        for dtype, shape in fields.values()
    )
    return int(np.clip(_SHARD_BYTES // (16 + sum(sizes)), 1, _LARGEST_SHARD))


def _is_shard(name: str) -> bool:
    return re.fullmatch(r"shard-\d{5,}", name) is not None


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
