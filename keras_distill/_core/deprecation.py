"""Old names that keep working: each warns once where it is used, and names the new one."""

import importlib
import warnings


def warn(old, new, stacklevel=2):
    """Warn that a name is deprecated.

    Args:
        old: The name that was used.
        new: The name to use instead.
        stacklevel: How many callers above the caller of this function the warning points to. Defaults to 2: to what
            called the function that uses the old name.
    """
    warnings.warn(f"`{old}` is deprecated. Use `{new}`.", DeprecationWarning, stacklevel=stacklevel + 1)


def renamed(module, names):
    """Make the `__getattr__` of a module some of whose names have moved.

    Args:
        module: Name of the module.
        names: Dict of an old name to the full path of the new one, a module or a name in one.

    Returns:
        A function for the module to call `__getattr__`.
    """

    def __getattr__(name):
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        warn(f"{module}.{name}", names[name])
        return _find(names[name])

    return __getattr__


def _find(path):
    parent, name = path.rsplit(".", 1)
    found = getattr(importlib.import_module(parent), name, None)
    return importlib.import_module(path) if found is None else found
