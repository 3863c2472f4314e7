"""Dividing a data set into portions, one for each shard, that the workers of a pipeline read by themselves."""

import functools
import io
import os
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core.messages import expected
from keras_distill.targets.store import files
from keras_distill.targets.writing.sources import is_arrays

_KINDS = "arrays, a .npz or .npy file, or a function of the number of a shard that returns its data set"


def divide(
    dataset: Any, num_shards: int | None, batch_size: int
) -> tuple[Callable[[Any], Any], Any, Callable[[int], Sequence[Any]]]:
    """Divide a data set into portions.

    Args:
        dataset: The `dataset` given to `write_with_beam`.
        num_shards: Number of shards, for a function; `None` otherwise.
        batch_size: Examples in a batch.

    Returns:
        A function that reads a portion, the first portion, and a function of the size of a shard that returns the
        portions of all shards.

    Raises:
        ValueError: If the data set cannot be divided or sent to workers.
    """
    read: Callable[[Any], Any]
    take: Callable[[tuple[int, int]], Any]
    if isinstance(dataset, (str, os.PathLike)):
        file = files.normalize(dataset)
        if not file.endswith((".npy", ".npz")) or files.size(file) < 0:
            raise ValueError(expected(_KINDS, f"{file}, which is no such file"))
        read, whole, take = functools.partial(_read_rows, file), _read_file(file), lambda rows: rows
    elif not is_arrays(dataset):
        fix = "Pass a function that makes the data set of each shard: this one cannot be divided or sent to workers."
        raise ValueError(expected(_KINDS, type(dataset).__name__, fix))
    elif callable(dataset):
        if num_shards is None:
            raise ValueError(expected("num_shards, for a function of the number of a shard", "num_shards=None"))
        return dataset, 0, lambda size: range(num_shards)
    else:
        whole = keras.tree.map_structure(np.asarray, dataset, none_is_leaf=False)
        read, take = _identity, functools.partial(_take_rows, whole)
    if num_shards is not None:
        raise ValueError(expected("shard_size, not num_shards, for arrays and files", f"num_shards={num_shards}"))
    lengths = {array.shape[:1] for array in keras.tree.flatten(whole) if array is not None}
    if len(lengths) != 1 or not all(lengths) or lengths == {(0,)}:
        raise ValueError(expected("arrays of one length, at least 1", f"lengths {sorted(lengths)}"))
    ((count,),) = lengths

    def divide_by(size: Any) -> Any:
        size = -(-size // batch_size) * batch_size  # A shard ends with a batch, as in `write`.
        return [take((start, min(start + size, count))) for start in range(0, count, size)]

    return read, take((0, min(batch_size, count))), divide_by


def _identity(portion: Any) -> Any:
    return portion


def _take_rows(arrays: Any, rows: tuple[int, int]) -> Any:
    return keras.tree.map_structure(lambda array: array[slice(*rows)], arrays, none_is_leaf=False)


def _read_rows(file: str, rows: tuple[int, int]) -> Any:
    return _take_rows(_read_file(file), rows)


@functools.lru_cache(1)
def _read_file(file: str) -> Any:
    if file.endswith(".npy"):
        return files.read_array(file)
    with np.load(io.BytesIO(files.read(file)) if files.is_remote(file) else file, allow_pickle=False) as found:
        arrays = {name: found[name] for name in sorted(found.files)}
    if arrays.keys() == {"x", "y"}:
        return arrays["x"], arrays["y"]
    return arrays["x"] if arrays.keys() == {"x"} else arrays
