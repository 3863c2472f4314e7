"""Records of a store: JSON files that carry a checksum of their own content."""

import json
from collections.abc import Collection
from typing import Any

from keras_distill._core.messages import expected
from keras_distill.targets.store import files, fingerprints

CHECKSUM = "checksum"
"""Name of the entry with the SHA-256 of all others."""

REPAIR = (
    "The store is damaged, or was replaced after it was opened: open it again, copy it again, or write it anew with "
    "`overwrite=True`."
)


def write(file: str, record: dict[str, Any]) -> None:
    """Write a record and its checksum."""
    plain = json.loads(json.dumps(record))  # As a reader finds it, for the checksum.
    files.write_json(file, {**plain, CHECKSUM: fingerprints.hash_json(plain)})


def read(file: str) -> dict[str, Any]:
    """Return the content of a file of JSON, with its checksum.

    Raises:
        ValueError: If the file is not a JSON object.
    """
    try:
        record = json.loads(files.read(file))
    except (ValueError, RecursionError) as error:
        raise ValueError(expected(f"{file} to be JSON", str(error), REPAIR)) from error
    if not isinstance(record, dict):
        raise ValueError(expected(f"{file} to hold a JSON object", type(record).__name__, REPAIR))
    return record


def remove_checksum(file: str, record: dict[str, Any], known: Collection[str]) -> dict[str, Any]:
    """Return a record without its checksum, after comparing the two.

    Args:
        file: Path of the file, for messages.
        record: The return value of `read`.
        known: The entries that a record of version 0.1.0, which has no checksum, may have.

    Raises:
        ValueError: If the checksum differs, or if it is missing and there are unknown entries.
    """
    content = {name: value for name, value in record.items() if name != CHECKSUM}
    if CHECKSUM in record:
        if record[CHECKSUM] != fingerprints.hash_json(content):
            what = f"the content of {file} to match its checksum"
            raise ValueError(expected(what, f"checksum {str(record[CHECKSUM])[:16]}... of other content", REPAIR))
    # A flipped bit in the name of the checksum must not make the file one without a checksum.
    elif unknown := [name for name in content if name not in known]:
        raise ValueError(expected(f"{file} with a checksum", f"none, and the entry {unknown[0]!r}", REPAIR))
    return content
