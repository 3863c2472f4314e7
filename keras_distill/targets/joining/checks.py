"""Requirements for a data set, a key and a replay to be joined with a store, checked before anything is read."""

from typing import Any

import keras

from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.targets.joining.ending import check_end
from keras_distill.targets.store import manifest
from keras_distill.targets.store.keys import Keying, names_of
from keras_distill.targets.writing.sources import Dataset, count_in_element, find_batch_size

_UNKNOWN = -2
"""The cardinality of a data set whose length is unknown until its end."""


def holds_views(store: Any) -> bool:
    """Return whether the examples of a store are views made by a replay."""
    return "replay" in store.manifest


def count_examples(store: Any) -> int:
    """Return the number of examples of a store, without their views."""
    return len(store) // (store.manifest["replay"]["views"] if holds_views(store) else 1)


def check_replay(store: Any, replay: Any) -> None:
    """Raise a `ValueError` unless `replay` makes the views of a store, or is `None` for a store without views."""
    if not holds_views(store):
        if replay is not None:
            received = f"replay={type(replay).__name__}"
            raise ValueError(expected(f"no `replay` for {store.path}, which holds no views", received))
        return
    if replay is None:
        fix = f"Pass `replay=`, a `Replay` like {store.manifest['replay']}."
        raise ValueError(expected(f"the replay that makes the views of {store.path}", "replay=None", fix))
    if found := manifest.differences(store.manifest["replay"], replay.to_dict()):
        raise ValueError(expected(f"the replay that {store.path} was written with", f"another replay: {found}"))


def make_keying(store: Any, key: Any) -> Keying:
    """Return the `Keying` of the examples of a store.

    Args:
        store: A `TargetStore`.
        key: The `key` given to `join`, or `None`.

    Raises:
        ValueError: If the store needs another `key`.
    """
    record = store.manifest["key"]
    kind = record["kind"]
    if kind == "function" and not callable(key):
        raise ValueError(expected(f"the function {record['name']!r} that returns the ids, as `key`", f"key={key!r}"))
    if kind == "column":
        key = record["name"] if key is None else key
    if kind == "content" and key is not None:
        raise ValueError(expected("no `key` for a store whose keys are hashes of the inputs", f"key={key!r}"))
    return Keying(key, record["padding"])


def check_inputs(store: Any, spec: Any, batched: bool) -> None:
    """Raise a `ValueError` if the names, shapes or dtypes of the inputs differ from those of the store."""
    if store.manifest["key"]["kind"] != "content":
        return
    leaves = keras.tree.flatten(spec)
    found = {
        name: (leaf.dtype.name, tuple(leaf.shape[int(batched) :]))
        for name, leaf in zip(names_of(spec), leaves, strict=True)
    }
    wanted = {each.name: (each.dtype, each.shape) for each in store.inputs}
    alike = found.keys() == wanted.keys() and all(
        dtype == found[name][0]
        and len(shape) == len(found[name][1])
        and all(None in pair or pair[0] == pair[1] for pair in zip(shape, found[name][1], strict=True))
        for name, (dtype, shape) in wanted.items()
    )
    if not alike:
        fix = "Join the data set with the preprocessing that the teacher's inputs had."
        raise ValueError(expected(f"the inputs of the store, {_to_text(wanted)}", _to_text(found), fix))


def check_count(store: Any, dataset: Dataset, batched: bool) -> Dataset:
    """Raise a `ValueError` if the data set is known to be shorter or longer than the store.

    Returns:
        The data set. If its length is unknown, as that of a generator, it raises at its end instead.
    """
    count, size = int(dataset.cardinality()), find_batch_size(dataset) if batched else 1
    dropped = size - 1 if batched and size is not None else 0  # By `drop_remainder`.
    if count == _UNKNOWN:

        def count_rows(element: Any) -> Tensor:
            return count_in_element(element, batched)

        return check_end(dataset, count_rows, lambda total: _check_total(store, total, dropped))
    if count >= 0 and size is not None:
        _check_total(store, count * size, dropped)
    return dataset


def _check_total(store: Any, total: int, dropped: int) -> None:
    examples = count_examples(store)
    if total + dropped < examples or (total > examples and total % examples):
        raise ValueError(describe_wrong_count(store, total))


def describe_wrong_count(store: Any, count: int) -> str:
    """Return the message for a data set that is shorter or longer than the store."""
    fix = 'Join the whole data set, or pass order="any" for a part of it.'
    return expected(f"the {count_examples(store)} examples of {store.path}", f"{count}", fix)


def _to_text(inputs: dict[str, tuple[str, tuple]]) -> str:
    return ", ".join(f"{name} {dtype} {shape}".strip() for name, (dtype, shape) in inputs.items())
