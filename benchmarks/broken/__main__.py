"""Check that the tests notice errors: break the code on purpose, one place at a time, and see the tests fail.

Command     python -m benchmarks.broken                 (--only NAME for one break or one room, --list for their names)
Cost        15 minutes on 2 cores; less than half a minute for most breaks
Expected    "noticed" in every row, and exit code 0; 1 if a break survives or no longer applies
Needs       pip install -e ".[test]"

The checkout is copied to a temporary folder, and the tests that should notice run there, first on the unbroken code,
then with each break in turn. A break replaces one short piece of code, which must occur exactly once in the package, in
any file; tests are found by the name of their file, in any folder. So nothing has to change here when files move. When
code is rewritten and a piece is gone, define the break for the code that replaced it.
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import tempfile
import time

from benchmarks.broken.breaks import BREAKS
from benchmarks.broken.checkout import ROOT, Checkout

FAILED = 1
"""Exit code of pytest if a test failed; others mean that it could not run."""


def outcome_of(checkout, each):
    """Return what became of a break: a dict of `outcome`, `by` (the test that noticed) and `seconds`."""
    begun = time.perf_counter()
    by = None
    try:
        checkout.find(each.code)
        if reason := checkout.passes(each):
            outcome = f"unusable: its tests do not pass as it is ({reason})"
        else:
            code, lines = checkout.broken(each)
            noticed = [line for line in lines if re.match(r"(FAILED|ERROR) tests/", line)]
            by = noticed[0].split(" - ")[0].split(maxsplit=1)[1] if noticed else None
            outcome = "noticed" if code == FAILED and by else "survived" if code == 0 else f"unusable: {lines[-1]}"
    except LookupError as error:
        outcome = f"no longer applies: {error}"
    return {"outcome": outcome, "by": by, "seconds": round(time.perf_counter() - begun, 1)}


def commit():
    """Return the commit that is checked out, or `None`."""
    told = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return told.stdout.strip() or None


def main(arguments=None):
    """Break the code in each place; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="name of a room, or a part of the name of a break")
    parser.add_argument("--list", action="store_true", help="list the breaks and where each would be made")
    parser.add_argument("--from", dest="start", type=int, default=1, help="number of the first break, from 1")
    parser.add_argument("--out", help="JSON file to write the outcome to")
    options = parser.parse_args(arguments)
    chosen = [
        each
        for each in BREAKS[options.start - 1 :]
        if not options.only or options.only in (each.room, *_parts(each, options.only))
    ]
    if not chosen:
        parser.error(f"expected a room or a part of a name. Received: {options.only!r}.")
    rows = []
    with tempfile.TemporaryDirectory() as home:
        checkout = Checkout(pathlib.Path(home).resolve())
        for each in chosen:
            row = _located(checkout, each) if options.list else outcome_of(checkout, each)
            rows.append({"room": each.room, "name": each.name, **row})
            print(f"{each.room:13} {each.name}: {row['outcome']}", *filter(None, [row.get("by")]), flush=True)
    good = sum(row["outcome"] == "noticed" or options.list and row["found"] for row in rows)
    print(f"{good} of {len(rows)} {'apply' if options.list else 'noticed'}")
    if options.out:
        record = {"commit": commit(), "noticed": good, "breaks": rows}
        pathlib.Path(options.out).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0 if good == len(rows) else 1


def _parts(each, text):
    return [text] if text in each.name else []


def _located(checkout, each):
    try:
        path = checkout.find(each.code).relative_to(checkout.folder)
        return {"outcome": f"{path}, {' '.join(checkout.tests_of(each))}", "found": True}
    except LookupError as error:
        return {"outcome": f"no longer applies: {error}", "found": False}


if __name__ == "__main__":
    sys.exit(main())
