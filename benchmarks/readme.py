"""Update the tables of the README and of the documentation from the results that they show.

    python -m benchmarks.readme            writes them
    python -m benchmarks.readme --check    names those that are out of date

A table stands between `<!-- COMMAND -->`, the command that prints it, and `<!-- end -->`.
"""

import contextlib
import io
import pathlib
import re
import runpy
import shlex
import sys
from unittest import mock

ROOT = pathlib.Path(__file__).parent.parent
_TABLE = re.compile(r"(<!-- python -m (benchmarks\.[^>]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def pages():
    """Return the pages that may hold tables."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), *sorted((ROOT / "docs" / "guides").glob("*.md"))]


def made(text):
    """Return a page's text with its tables made anew."""
    return _TABLE.sub(lambda found: f"{found[1]}{printed(found[2])}{found[4]}", text)


def printed(command):
    """Return what a benchmark prints, run in this process: starting TensorFlow for each would take minutes."""
    module, *arguments = shlex.split(command)
    page = io.StringIO()
    names = (module, f"{module}.__main__")
    imported = {name: sys.modules.pop(name) for name in names if name in sys.modules}  # They are run anew.
    try:
        with mock.patch.object(sys, "argv", [module, *arguments]), contextlib.redirect_stdout(page):
            runpy.run_module(module, run_name="__main__")
    finally:
        sys.modules.update(imported)
    return page.getvalue().strip() + "\n"


def main():
    """Write or check the tables of all pages."""
    old = []
    for page in pages():
        text = page.read_text(encoding="utf-8")
        if (new := made(text)) != text:
            old.append(page.relative_to(ROOT).as_posix())
            if "--check" not in sys.argv:
                page.write_text(new, encoding="utf-8")
    print("\n".join(old) or "All tables are as the results have them.")
    raise SystemExit(bool(old) and "--check" in sys.argv)


if __name__ == "__main__":
    main()
