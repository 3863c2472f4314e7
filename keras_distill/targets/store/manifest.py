"""The description of a store: a plan while the store is being written, a manifest once it is finished."""

import json
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.targets.store import files, records
from keras_distill.targets.store.shards import name_of

FORMAT, VERSION = "keras_distill.targets", 1
MANIFEST, PLAN = "manifest.json", "plan.json"

GENERATION = "generation"
"""Entry with the number of times that the store was overwritten, if it was: shards are named after it."""

_FIRST = ("teacher", "encoding", "features", "key", "inputs", "dataset", "preprocessing", "class_names", "examples")
_OTHERS = ("format", "version", "fields", "batch_size", "shard_size", "versions", "replay", "error", "shards")


def header(**facts: Any) -> dict[str, Any]:
    """Return the part that is known before the first shard is written, a dict of plain values."""
    plain = json.loads(json.dumps(facts))  # Tuples become lists, as a reader finds them.
    return {"format": FORMAT, "version": VERSION, **plain}


def differences(plan: dict[str, Any], other: dict[str, Any]) -> str:
    """Return the differences between two plans as text, empty if the plans are equal.

    Example:

    >>> differences({"teacher": {"weights": "12"}, "k": 1}, {"teacher": {"weights": "34"}, "k": 1})
    'teacher weights (12, now 34)'
    """
    found = []
    for name in sorted(plan.keys() | other.keys()):
        before, now = plan.get(name), other.get(name)
        if isinstance(before, dict) and isinstance(now, dict):
            inner = differences(before, now)
            found += [f"{name} {each}" for each in inner.split("; ")] if inner else []
        elif before != now:
            found.append(f"{name} ({_shorten(before)}, now {_shorten(now)})")
    return "; ".join(found)


def read(path: str, name: str = MANIFEST) -> dict[str, Any]:
    """Read a plan or a manifest.

    Args:
        path: Folder of the store.
        name: Name of the file. Defaults to `"manifest.json"`.

    Returns:
        A dict of plain values, without the checksum of the file.

    Raises:
        FileNotFoundError: If the file does not exist.
        ValueError: If the file is damaged, or of another format or version.
    """
    file = files.join(path, name)
    if not files.exists(file):
        begun = name == MANIFEST and files.exists(files.join(path, PLAN))
        fix = "The store was begun and not finished: call `write` again." if begun else None
        raise FileNotFoundError(expected(f"a store of soft targets, with its {name}", path, fix))
    record = records.read(file)
    if record.get("format") != FORMAT:
        raise ValueError(expected(f"{file} of the format {FORMAT}", "another format"))
    if record.get("version") != VERSION:
        fix = "Read it with the version of keras_distill that wrote it, or write it anew."
        raise ValueError(expected(f"{file} of version {VERSION}", f"version {record.get('version')!r}", fix))
    return records.remove_checksum(file, record, (*_FIRST, *_OTHERS))


def generation_of(record: dict[str, Any]) -> int:
    """Return how many times the store of a plan or a manifest was overwritten."""
    return record.get(GENERATION, 0)


def without_generation(manifest: dict[str, Any]) -> dict[str, Any]:
    """Return the manifest of a store of the same content that was never overwritten."""
    shards = [{**record, "name": name_of(index)} for index, record in enumerate(manifest["shards"])]
    return {**{name: value for name, value in manifest.items() if name != GENERATION}, "shards": shards}


def describe(manifest: dict[str, Any]) -> str:
    """Return the content of a manifest as text, without the checksums of the files."""
    size = sum(file["bytes"] for shard in manifest["shards"] for file in shard["files"].values())
    examples = manifest["examples"]
    lines = [f"{examples:,} examples in {len(manifest['shards'])} shards, {size:,} bytes, {size / examples:.1f} each"]
    lines += [f"{name}: {_to_text(manifest[name])}" for name in _FIRST if manifest.get(name) not in (None, [], {})]
    rest = (name for name in sorted(manifest) if name not in (*_FIRST, "shards", "format"))
    return "\n".join(lines + [f"{name}: {_to_text(manifest[name])}" for name in rest if manifest[name] is not None])


def _to_text(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_to_text(each)}" for name, each in value.items() if each is not None)
    return ", ".join(map(_to_text, value)) if isinstance(value, list) else str(value)


def _shorten(value: Any) -> str:
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
