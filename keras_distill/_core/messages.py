"""The form of every error message, and the nearest match for a misspelt name."""

import difflib
from collections.abc import Iterable
from typing import Any


def expected(what: str, received: Any, fix: str | None = None) -> str:
    """Return `Expected <what>. Received: <received>.`, followed by the fix if there is one."""
    message = f"Expected {what}. Received: {received}."
    return f"{message} {fix}" if fix else message


def unknown_name(kind: str, name: Any, known: Iterable[str]) -> str:
    """Return the message for an unknown name: the known names, and the one that was probably meant."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    fix = f"Did you mean {nearest[0]!r}?" if nearest else None
    return expected(f"{kind} to be one of {', '.join(known) or '(none)'}", repr(name), fix)
