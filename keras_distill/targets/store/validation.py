"""What a manifest must hold, whatever its checksum: entries that fit each other, and names inside the folder."""

import math
import re
from typing import Any

from keras_distill._core.checks import check_choice, check_number, check_whole_number
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
    _check_shards(record, encoding)
    views = check_whole_number("views", record["replay"]["views"]) if "replay" in record else 1
    _check_equal("examples without a view", record["examples"] % views, 0)
    _check_digest(record["dataset"]["keys"], 32)
    if record["class_names"] is not None:
        _check_equal("the number of class names", len(record["class_names"]), encoding.classes)
    for each in record["inputs"]:
        _check_equal("the entries of an input", sorted(each), ["dtype", "name", "shape"])
        tuple(each["shape"])
    _check_equal("the entries of the key", sorted(record["key"]), ["kind", "name", "padding"])
    check_choice("the kind of the key", record["key"]["kind"], ("content", "column", "function"))
    for name in ("weights", "configuration"):
        _check_digest(record["teacher"][name], 64)
    _ = record["preprocessing"]


def _check_shards(record: dict[str, Any], encoding: Encoding) -> None:
    # A name could lead out of the folder, or to a file of something else.
    names = sorted({KEYS, *record["fields"], *([OFFSETS] if encoding.ragged else [])})
    generation = check_whole_number("generation", manifest.generation_of(record), 0)
    for index, shard in enumerate(record["shards"]):
        _check_equal("the name of a shard", shard["name"], name_of(index, generation))
        _check_equal("the files of a shard", sorted(shard["files"]), names)
        check_whole_number("examples", shard["examples"])
        for each in shard["files"].values():
            check_whole_number("bytes", each["bytes"])
            _check_digest(each["sha256"], 64)
    _check_equal("examples", record["examples"], sum(shard["examples"] for shard in record["shards"]))
    largest = max(check_number("error", shard["error"], 0.0, math.inf) for shard in record["shards"])
    _check_equal("error", record["error"], largest)


def _check_fields(record: dict[str, Any], encoding: Encoding) -> None:
    """Raise a `ValueError` unless the fields are those of the encoding and of the stored layers."""
    wanted: dict[str, list] = {}
    wanted |= {name: [dtype, [*encoding.shape, *shape]] for name, (dtype, shape) in encoding.fields.items()}
    for number, shape in enumerate(record["features"].values()):
        dtype = "float32" if encoding.dtype == "float32" else "float16"
        wanted[FEATURE.format(number)] = [dtype, list(shape)]
    _check_equal("fields", record["fields"], wanted)


def _check_digest(text: str, digits: int) -> None:
    if re.fullmatch(f"[0-9a-f]{{{digits}}}", text) is None:
        raise ValueError(f"{text!r} in place of a digest of {digits} digits")


def _check_equal(what: str, found: Any, wanted: Any) -> None:
    if found != wanted:
        raise ValueError(f"{what} {found!r} in place of {wanted!r}")
