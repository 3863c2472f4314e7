"""What a store says of itself: a plan while it is written, a manifest once it is whole."""

import json

from keras_distill._core.messages import expected
from keras_distill.targets.store import files

FORMAT, VERSION = "keras_distill.targets", 1
MANIFEST, PLAN = "manifest.json", "plan.json"

_TOLD = ("teacher", "encoding", "features", "key", "inputs", "dataset", "preprocessing", "class_names", "examples")


def header(**facts):
    """Return the part that is known before the first shard is written, a dict of plain values."""
    plain = json.loads(json.dumps(facts))  # Tuples as lists, as they will be read.
    return {"format": FORMAT, "version": VERSION, **plain}


def differences(plan, other):
    """Return what two plans differ in, as text; empty where they are the same.

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
            found.append(f"{name} ({_short(before)}, now {_short(now)})")
    return "; ".join(found)


def read(path, name=MANIFEST):
    """Return a plan or a manifest; raise a `ValueError` unless it is one, and of this version.

    Args:
        path: Folder of the store.
        name: Name of the file. Defaults to `"manifest.json"`.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is none of ours, or of another version.
    """
    file = files.join(path, name)
    if not files.exists(file):
        begun = name == MANIFEST and files.exists(files.join(path, PLAN))
        fix = "It was begun and not finished: call `write` again." if begun else None
        raise FileNotFoundError(expected(f"a store of soft targets, with its {name}", path, fix))
    try:
        record = json.loads(files.read(file))
    except ValueError as error:
        raise ValueError(expected(f"{file} to be JSON", str(error))) from error
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise ValueError(expected(f"{file} of the format {FORMAT}", "something else"))
    if record.get("version") != VERSION:
        fix = "Read it by the version of keras_distill that wrote it, or write it anew."
        raise ValueError(expected(f"{file} of version {VERSION}", f"version {record.get('version')!r}", fix))
    return record


def describe(manifest):
    """Return all that a manifest tells, but the checksums of its files, as text."""
    size = sum(file["bytes"] for shard in manifest["shards"] for file in shard["files"].values())
    examples = manifest["examples"]
    lines = [f"{examples:,} examples in {len(manifest['shards'])} shards, {size:,} bytes, {size / examples:.1f} each"]
    lines += [f"{name}: {_text(manifest[name])}" for name in _TOLD if manifest.get(name) not in (None, [], {})]
    rest = (name for name in sorted(manifest) if name not in (*_TOLD, "shards", "format"))
    return "\n".join(lines + [f"{name}: {_text(manifest[name])}" for name in rest if manifest[name] is not None])


def _text(value):
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(each)}" for name, each in value.items() if each is not None)
    return ", ".join(map(_text, value)) if isinstance(value, list) else str(value)


def _short(value):
    text = "none" if value is None else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."
