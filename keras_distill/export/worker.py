"""What `processes.Process` starts: it answers requests by one module of this package, without importing the rest.

Keras and TensorFlow take seconds to import, and their memory would be counted as that of the file being measured.

One request per line on standard input, one reply per line on standard output, both JSON.
"""

import importlib
import json
import os
import pathlib
import sys
import types


def main(module):
    """Answer requests by the functions of a module, until there are no more."""
    _without_init(pathlib.Path(__file__).resolve().parents[1])
    # Converters and runtimes print on descriptor 1 too, where only replies may stand.
    replies = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    functions = importlib.import_module(module)
    for line in sys.stdin:
        print(json.dumps(_answer(functions, json.loads(line))), file=replies, flush=True)


def _without_init(package):
    """Let the modules of the package be found without running the `__init__.py` of the package and of its rooms."""
    # The folder of this script would hide packages of the same names as its files.
    sys.path.pop(0)
    for folder in (package, package / "export"):
        name = ".".join(folder.relative_to(package.parent).parts)
        sys.modules[name] = types.ModuleType(name)
        sys.modules[name].__path__ = [str(folder)]


def _answer(functions, request):
    try:
        return {"value": getattr(functions, request["function"])(**request["arguments"])}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


if __name__ == "__main__":
    main(sys.argv[1])
