"""The plan of a store: written before the first shard, and turned into the manifest after the last."""

import importlib.metadata
import re
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints, manifest, records, shards, validation
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.keys import Keying, digest, names_of, text_of
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
    names = [name for name in found if not is_shard(name) and name.removesuffix(files.BESIDE) not in ours]
    if names:
        received = f"{path} with {', '.join(names[:5])}"
        raise FileExistsError(expected("a folder that is new, empty or a store", received, "Choose another path."))


def begin(path: str, plan: dict[str, Any], overwrite: bool) -> dict[str, Any] | None:
    """Prepare the folder of a store, whether it is new or an earlier writer has begun it.

    A finished store that is overwritten stays whole until the new one is: the new shards have names of their own, and
    the new manifest takes the place of the old one in one step.

    Args:
        path: Folder of the store.
        plan: The return value of `make_plan`.
        overwrite: Whether an existing store may be replaced.

    Returns:
        The plan to carry out, `None` if the store is finished.

    Raises:
        FileExistsError: If the folder holds a store with another plan.
        ValueError: If the plan or the manifest in the folder is damaged.
    """
    if overwrite:
        return _begin_anew(path, plan)
    begun, finished = (_read_if_there(path, name) for name in (manifest.PLAN, manifest.MANIFEST))
    if finished is None and begun is None:
        return _write_plan(path, plan, 0)
    current = -1 if finished is None else manifest.generation_of(finished)
    if begun is not None and manifest.generation_of(begun) > current:
        found = _find_differences(begun, plan)
        if not found:
            return {**plan, **_name_generation(manifest.generation_of(begun))}
        if finished is None:
            raise FileExistsError(_describe_other_plan(path, "begun", found))
    elif begun is not None:  # The writer was killed when all was done but this.
        _clean_up(path, current)
    if found := _find_differences(finished or {}, plan):
        raise FileExistsError(_describe_other_plan(path, "finished", found))
    return None


def _begin_anew(path: str, plan: dict[str, Any]) -> dict[str, Any]:
    """Remove everything but a finished store, and return the plan of the store that is to replace it."""
    try:
        finished = _read_if_there(path, manifest.MANIFEST)
    except ValueError:  # It is damaged, or of another version: nothing that could be kept.
        finished = None
    if finished is None:
        # The manifest first: what is left of a store must not look finished.
        files.remove(files.join(path, manifest.MANIFEST))
    kept = None if finished is None else manifest.generation_of(finished)
    _clean_up(path, kept)
    return _write_plan(path, plan, 0 if kept is None else kept + 1)


def _write_plan(path: str, plan: dict[str, Any], generation: int) -> dict[str, Any]:
    plan = {**plan, **_name_generation(generation)}
    records.write(files.join(path, manifest.PLAN), plan)
    return plan


def _name_generation(generation: int) -> dict[str, int]:
    """Return the entry of a plan, empty for a store that was never overwritten, as in version 0.1.0."""
    return {manifest.GENERATION: generation} if generation else {}


def _read_if_there(path: str, name: str) -> dict[str, Any] | None:
    return manifest.read(path, name) if files.exists(files.join(path, name)) else None


def _find_differences(before: dict[str, Any], plan: dict[str, Any]) -> str:
    before = {name: value for name, value in before.items() if name in plan}
    before["dataset"] = {"name": before.get("dataset", {}).get("name")}
    return manifest.differences(before, plan)


def _describe_other_plan(path: str, state: str, found: str) -> str:
    what = f"the teacher and settings that {path} was {state} with"
    return expected(what, f"other ones: {found}", _OVERWRITE)


def _clean_up(path: str, kept: int | None) -> None:
    """Remove the shards of every generation but one, then the plan."""
    for name in filter(is_shard, files.list_folder(path)):
        if kept is None or not is_shard(name, kept):
            files.remove(files.join(path, name))
    files.remove(files.join(path, manifest.PLAN))


def check_same_start(path: str, first: dict[str, Any]) -> None:
    """Raise a `FileExistsError` unless a finished store begins with the examples of a first batch."""
    record = validation.read_manifest(path)["shards"][0]
    keys = shards.Shard(path, record).keys[: len(first["key"])]
    if keys.shape != first["key"].shape or (keys != first["key"].numpy()).any():
        what = f"the examples that {path} was written from"
        raise FileExistsError(expected(what, "other examples in the first batch", _OVERWRITE))


def finish(path: str, plan: dict[str, Any], found: Sequence[dict[str, Any]]) -> None:
    """Write the manifest of a store whose shards are all written; remove the plan, and the store that it replaces.

    Args:
        path: Folder of the store.
        plan: The return value of `begin`.
        found: Records of the shards, in order.

    Raises:
        ValueError: If two examples have the same id.
    """
    keys = np.concatenate([shards.Shard(path, record).keys for record in found])
    if plan["key"]["kind"] != "content":
        _check_unique(keys)
    facts = {
        "examples": len(keys),
        "dataset": {**plan["dataset"], "keys": digest(keys)},
        "error": max(record["error"] for record in found),
        "shards": list(found),
    }
    records.write(files.join(path, manifest.MANIFEST), {**plan, **facts})
    _clean_up(path, manifest.generation_of(plan))


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


def is_shard(name: str, generation: int | None = None) -> bool:
    """Return whether a name is that of a shard, of any generation or of one."""
    found = re.fullmatch(r"shard-\d{5,}(?:-(\d+))?", name)
    return found is not None and generation in (None, int(found[1] or 0))


def _find_version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None
