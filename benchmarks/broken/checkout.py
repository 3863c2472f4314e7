"""A copy of the checkout whose code can be broken and mended again."""

import os
import pathlib
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).parents[2]
PACKAGE = "keras_distill"
COPIED = (PACKAGE, "tests", "benchmarks", "saved_models", "setup.cfg", "pyproject.toml", "README.md", "docs")
SECONDS = 300


class Checkout:
    """A copy of the checkout, broken in one place at a time.

    Args:
        folder: Where to put it, a `pathlib.Path`.
    """

    def __init__(self, folder):
        self.folder = folder
        for name in COPIED:
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
            elif (ROOT / name).is_file():
                shutil.copy(ROOT / name, folder / name)
        self._passing = {}
        self._sources = {path: path.read_text(encoding="utf-8") for path in (folder / PACKAGE).rglob("*.py")}

    def find(self, code):
        """Return the file that holds a piece of code.

        Raises:
            LookupError: If it does not occur exactly once.
        """
        counts = {path: text.count(code) for path, text in self._sources.items() if code in text}
        if sum(counts.values()) != 1:
            places = ", ".join(f"{path.relative_to(self.folder)} ({count})" for path, count in counts.items())
            raise LookupError(f"Expected code that occurs once: {code!r}. Received: {places or 'it does not occur'}.")
        return next(iter(counts))

    def tests_of(self, each):
        """Return the paths of the tests that should notice a break.

        Raises:
            LookupError: If a file of tests is gone.
        """
        found = []
        for name in each.tests.split():
            paths = sorted((self.folder / "tests").rglob(name))
            if not paths:
                raise LookupError(f"Expected a file of tests named {name}. Received: no such file.")
            found += [path.relative_to(self.folder).as_posix() for path in paths]
        return found

    def run(self, each):
        """Run the tests of a break on the code as it is now; return pytest's exit code and its last lines."""
        options = ["-x", "-q", "-p", "no:cacheprovider", "--no-header", "--tb=line"]
        options += ["-k", each.matching] if each.matching else []
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            "KERAS_BACKEND": each.backend,
            "JAX_PLATFORMS": "cpu",
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        command = [sys.executable, "-m", "pytest", *options, *self.tests_of(each)]
        try:
            done = subprocess.run(
                command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            return None, [f"It took longer than {SECONDS} seconds."]
        return done.returncode, (done.stdout + done.stderr).strip().splitlines()

    def passes(self, each):
        """Return why the tests of a break do not pass on the code as it is, or `None`. They are run once."""
        key = (each.tests, each.matching, each.backend)
        if key not in self._passing:
            code, lines = self.run(each)
            self._passing[key] = None if code == 0 else lines[-1] if lines else f"exit code {code}"
        return self._passing[key]

    def broken(self, each):
        """Run the tests of a break with it in place, and mend the code again; return what `run` returns."""
        path = self.find(each.code)
        path.write_text(self._sources[path].replace(each.code, each.broken), encoding="utf-8")
        try:
            return self.run(each)
        finally:
            path.write_text(self._sources[path], encoding="utf-8")
