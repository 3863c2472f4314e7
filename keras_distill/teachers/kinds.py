"""The kinds of things that can teach: each registers itself where it is defined, and `as_teacher` asks them in turn."""

import dataclasses
import os
from collections.abc import Callable
from typing import Any

import keras


@dataclasses.dataclass(frozen=True)
class Request:
    """How a teacher is to be loaded. The fields are the arguments of `as_teacher`."""

    outputs: str = "logits"
    input_shape: Any = None
    input_dtype: Any = "float32"
    classes: Any = None
    batch_size: int | None = None
    retries: int = 3
    backoff: float = 0.5
    signature: str | None = None
    signature_output: str | None = None
    name: str | None = None

    def options(self, *names: str) -> dict[str, Any]:
        """Return what every foreign teacher takes, and the arguments of these names."""
        names = ("input_shape", "input_dtype", "classes", "batch_size", "name", *names)
        return {name: getattr(self, name) for name in names}


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of thing that can teach.

    Attributes:
        recognises: Function of what was given that returns whether it is of this kind.
        load: Function of what was given and a `Request` that returns a `keras.Model` that gives logits.
    """

    recognises: Callable[[Any], bool]
    load: Callable[[Any, Request], keras.Model]


KINDS: list[Kind] = []
"""Every kind that is registered."""


def kind(recognises: Callable[[Any], bool]) -> Any:
    """Register a function `(given, request) -> keras.Model` as what loads a kind of teacher.

    Args:
        recognises: Function of what was given that returns whether it is of this kind. At most one kind may
            recognise a thing.

    Returns:
        A decorator.
    """

    def register(load: Any) -> Any:
        KINDS.append(Kind(recognises, load))
        return load

    return register


def is_path(given: Any) -> bool:
    """Return whether something is a path."""
    return isinstance(given, (str, os.PathLike))


def file_with(*suffixes: str) -> Callable[[Any], bool]:
    """Return a function that recognises the path of a file by its suffix, in lower or upper case."""
    return lambda given: is_path(given) and os.path.isfile(given) and os.fspath(given).lower().endswith(suffixes)


def folder_with(*names: str) -> Callable[[Any], bool]:
    """Return a function that recognises the path of a folder that holds one of these files."""
    return lambda given: is_path(given) and any(os.path.exists(os.path.join(given, name)) for name in names)
