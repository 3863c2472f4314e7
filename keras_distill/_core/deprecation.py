"""Old names that keep working: each warns once where it is used, and names the new one."""

import functools
import importlib
import warnings
from collections.abc import Callable
from typing import Any

from keras_distill._core.messages import expected


def warn(old: str, new: str, stacklevel: int = 2) -> None:
    """Warn that a name is deprecated.

    Args:
        old: The name that was used.
        new: The name to use instead.
        stacklevel: How many callers above the caller of this function the warning points to. Defaults to 2: to what
            called the function that uses the old name.
    """
    warnings.warn(f"`{old}` is deprecated. Use `{new}`.", DeprecationWarning, stacklevel=stacklevel + 1)


def renamed(module: str, names: dict[str, str]) -> Callable[[str], Any]:
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


def renamed_arguments(**names: str) -> Callable:
    """Let a function still take keyword arguments by names that they had before.

    Args:
        **names: The old name of each argument, and its new one.

    Returns:
        A decorator.

    Raises:
        ValueError: When the function is called with both names of an argument.

    Example:

    >>> @renamed_arguments(out="directory")
    ... def write(directory="runs"):
    ...     return directory
    >>> import warnings
    >>> with warnings.catch_warnings(record=True) as caught:
    ...     warnings.simplefilter("always")
    ...     print(write(out="reports"), caught[0].message)
    reports `write(out=...)` is deprecated. Use `write(directory=...)`.
    """

    def decorate(function: Any) -> Any:
        # A constructor is called by the name of its class.
        called = function.__qualname__.removesuffix(".__init__").rpartition(".")[2]

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            for old, new in names.items():
                if old in kwargs:
                    if new in kwargs:
                        raise ValueError(expected(f"either {new} or {old}, its old name", "both"))
                    warn(f"{called}({old}=...)", f"{called}({new}=...)")
                    kwargs[new] = kwargs.pop(old)
            return function(*args, **kwargs)

        return call

    return decorate


def _find(path):
    parent, name = path.rsplit(".", 1)
    found = getattr(importlib.import_module(parent), name, None)
    return importlib.import_module(path) if found is None else found
