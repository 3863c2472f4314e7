"""Make Keras know the classes of this package, without importing Keras before anybody needs it.

`keras.saving.load_model` finds a class only if it was registered before, and registering imports Keras, which takes
seconds. So `import keras_distill` registers at once where Keras is imported already, and otherwise as soon as it is:
by the user's own `import keras`, or by the first room of this package that is used. A command that only prints its help
never pays for it.
"""

import importlib
import importlib.abc
import importlib.machinery
import re
import sys
from typing import Any

_PACKAGE = __name__.split(".")[0]
_WITHOUT_KERAS = re.compile(r"__main__|_version|cli(\..*)?|_core(\.(deprecation|extras|messages|registration))?")
ROOMS = ("distiller", "features", "losses", "metrics", "quantization", "stages", "targets", "teachers")
"""The rooms whose classes Keras may have to load."""


def register_with_keras() -> None:
    """Register every class that can stand in a file: now if Keras is imported, else when it is."""
    if "keras" in sys.modules:
        _import_rooms()
    else:
        sys.meta_path.insert(0, _Watcher())


def _import_rooms():
    for room in ROOMS:
        importlib.import_module(f"{_PACKAGE}.{room}")


class _Watcher(importlib.abc.MetaPathFinder):
    """Wait for the import of Keras, or of a module of ours that needs it."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        if fullname == "keras":
            return self._spec_of_keras(fullname, path, target)
        if _needs_keras(fullname):
            importlib.import_module("keras")  # And with it our rooms, in an order that works.
            return _spec_of_loaded(fullname)
        return None

    def _spec_of_keras(self, fullname, path, target):
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None:
            spec.loader = _ThenRooms(spec.loader, self)
        return spec


class _ThenRooms(importlib.abc.Loader):
    """Load Keras by its own loader, then import the rooms."""

    def __init__(self, loader: Any, watcher: Any):
        self._loader, self._watcher = loader, watcher

    def create_module(self, spec: Any) -> Any:
        return self._loader.create_module(spec)

    def exec_module(self, module: Any) -> None:
        module.__spec__.loader = module.__loader__ = self._loader
        self._loader.exec_module(module)
        if self._watcher in sys.meta_path:
            sys.meta_path.remove(self._watcher)
            _import_rooms()


class _Loaded(importlib.abc.Loader):
    """Hand out a module that was loaded while its own import looked for it."""

    def __init__(self, module: Any):
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: Any) -> Any:
        return self._module

    def exec_module(self, module: Any) -> None:
        module.__spec__ = self._spec


def _spec_of_loaded(fullname):
    module = sys.modules.get(fullname)
    return None if module is None else importlib.machinery.ModuleSpec(fullname, _Loaded(module))


def _needs_keras(name):
    package, _, module = name.partition(".")
    return package == _PACKAGE and bool(module) and not _WITHOUT_KERAS.fullmatch(module)
