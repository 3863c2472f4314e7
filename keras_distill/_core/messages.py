"""The one form of every error message, and the nearest match of a misspelt name."""

import difflib


def expected(what, received, fix=None):
    """Compose `Expected <what>. Received: <received>.` and, where there is one, the fix."""
    message = f"Expected {what}. Received: {received}."
    return f"{message} {fix}" if fix else message


def unknown_name(kind, name, known):
    """Say that a name is unknown, which names are known, and which one was probably meant."""
    known = sorted(known)
    nearest = difflib.get_close_matches(str(name), known, n=1, cutoff=0.5)
    fix = f"Did you mean {nearest[0]!r}?" if nearest else None
    return expected(f"{kind} to be one of {', '.join(known) or '(none)'}", repr(name), fix)
