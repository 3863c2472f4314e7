"""What a manifest must hold, whatever its checksum: entries that fit each other, and names inside the folder."""

from typing import Any

from keras_distill._core.checks import check_whole_number
from keras_distill._core.messages import expected
from keras_distill.targets.store import files, manifest
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.store.records import REPAIR
from keras_distill.targets.store.shards import KEYS, OFFSETS, name_of
from keras_distill.targets.writing.asking import FEATURE


def read_manifest(path: str) -> dict[str, Any]:
    """Return the manifest of a finished store.

    Args:
        path: Folder of the store.

    Raises:
        FileNotFoundError: If there is no store, or it is not finished.
        ValueError: If the manifest is damaged, of another version, or not one that `write` writes.
    """
    record = manifest.read(path)
    try:
        _check(record)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        file = files.join(path, manifest.MANIFEST)
        received = f"no entry {error}" if isinstance(error, KeyError) else str(error).rstrip(".")
        raise ValueError(expected(f"{file} to describe a store", received, REPAIR)) from error
    return record


def _check(record: dict[str, Any]) -> None:
    encoding = Encoding.from_dict(record["encoding"])
    _check_fields(record, encoding)
    # A name could lead out of the folder, or to a file of something else.
    names = {KEYS, *record["fields"], *([OFFSETS] if encoding.ragged else [])}
    for index, shard in enumerate(record["shards"]):
        wanted = name_of(index, check_whole_number("generation", manifest.generation_of(record), 0))
        _check_equal("the name of a shard", shard["name"], wanted)
        _check_equal("the files of a shard", sorted(shard["files"]), sorted(names))
        check_whole_number("examples", shard["examples"])
        for each in shard["files"].values():
            check_whole_number("bytes", each["bytes"])
            _check_equal("a checksum of 64 digits", len(each["sha256"]), 64)
    _check_equal("examples", record["examples"], sum(shard["examples"] for shard in record["shards"]))
    views = check_whole_number("views", record["replay"]["views"]) if "replay" in record else 1
    _check_equal("examples without a view", record["examples"] % views, 0)
    _check_equal("a length of the digest of all keys", len(record["dataset"]["keys"]), 32)
    for name in ("teacher", "key", "inputs", "preprocessing", "error"):
        record[name]
    if record["class_names"] is not None:
        _check_equal("the number of class names", len(record["class_names"]), encoding.classes)


def _check_fields(record: dict[str, Any], encoding: Encoding) -> None:
    """Raise a `ValueError` unless the fields are those of the encoding and of the stored layers."""
    wanted: dict[str, list] = {}
    wanted |= {name: [dtype, [*encoding.shape, *shape]] for name, (dtype, shape) in encoding.fields.items()}
    for number, shape in enumerate(record["features"].values()):
        dtype = "float32" if encoding.dtype == "float32" else "float16"
        wanted[FEATURE.format(number)] = [dtype, list(shape)]
    _check_equal("fields", record["fields"], wanted)


def _check_equal(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ValueError(f"{what} {found!r} in place of {wanted!r}")
