"""Make Keras know the classes of this package, without importing Keras before anybody needs it.

`keras.saving.load_model` finds a class only if it was registered before, and registering imports Keras, which takes
seconds. So `import keras_distill` registers at once where Keras is imported already, and otherwise as soon as it is:
by the user's own `import keras`, or by the first room of this package that is used. A command that only prints its help
never pays for it.
"""

import importlib
import importlib.abc
import sys

_PACKAGE = __name__.split(".")[0]
_WITHOUT_KERAS = {"_core", "_version", "__main__", "cli"}
ROOMS = ("distiller", "features", "losses", "metrics", "quantization", "stages", "targets", "teachers")
"""The rooms whose classes Keras may have to load."""


def register_with_keras():
    """Register every class that can stand in a file: now if Keras is imported, else when it is."""
    if "keras" in sys.modules:
        _import_rooms()
    else:
        sys.meta_path.insert(0, _Watcher())


def _import_rooms():
    for room in ROOMS:
        importlib.import_module(f"{_PACKAGE}.{room}")


class _Watcher(importlib.abc.MetaPathFinder):
    """Wait for the import of Keras, or of a room that needs it."""

    def find_spec(self, fullname, path, target=None):
        if fullname != "keras" and not _needs_keras(fullname):
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            spec.loader = _Loader(spec.loader, self)
        return spec


class _Loader(importlib.abc.Loader):
    """Load a module by its own loader; import Keras before a room, and the rooms after Keras."""

    def __init__(self, loader, watcher):
        self._loader, self._watcher = loader, watcher

    def create_module(self, spec):
        return self._loader.create_module(spec)

    def exec_module(self, module):
        module.__spec__.loader = module.__loader__ = self._loader
        if module.__name__ != "keras":
            importlib.import_module("keras")
        self._loader.exec_module(module)
        if module.__name__ == "keras" and self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)
            _import_rooms()


def _needs_keras(name):
    parent, _, room = name.rpartition(".")
    return parent == _PACKAGE and room not in _WITHOUT_KERAS
