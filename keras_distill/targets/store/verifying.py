"""Verification: the teacher answers some examples again, and its answers are compared with the store."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from keras import ops

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill.answers.top_k import log_sum_of_others
from keras_distill.targets.joining.checks import check_replay, make_keying
from keras_distill.targets.replay.views import ViewKeying
from keras_distill.targets.store import fingerprints, manifest
from keras_distill.targets.store.encoding import Encoding
from keras_distill.targets.writing import sources
from keras_distill.targets.writing.asking import Asker
from keras_distill.teachers.loading import as_teacher

_ROUNDING = 1e-3
"""Largest difference between two machines that run the same teacher, relative to the largest logit."""


def verify(
    store: Any,
    teacher: Any,
    dataset: Any,
    n: int = 256,
    seed: int = 0,
    key: Any = None,
    replay: Any = None,
) -> dict[str, Any]:
    """Run a teacher on some examples again, and compare its answers with the stored ones.

    Args:
        store: A `TargetStore`.
        teacher: The teacher, or anything that `keras_distill.teachers.as_teacher` takes.
        dataset: The data set, in any order.
        n: Smallest number of examples to compare; the batches that hold them are compared whole. Defaults to 256.
        seed: Seed for the choice of batches. Defaults to 0.
        key: The `key` given to `write`, if it was a function. Defaults to `None`.
        replay: The `Replay` that the store was written with, if it holds views. Defaults to `None`.

    Returns:
        A dict of `examples`, the number of examples compared; `difference`, the largest difference between a stored
        value and the teacher's value; and `allowed`, the largest difference that encoding and rounding explain.

    Raises:
        ValueError: If the teacher or its weights have changed, an example is missing from the store, or a difference
            is larger than `allowed`.
    """
    check_replay(store, replay)
    teacher = as_teacher(teacher)
    keying, ranks = make_keying(store, key), [len(each.shape) for each in store.inputs]
    if found := manifest.differences(store.manifest["teacher"], fingerprints.fingerprint_teacher(teacher)):
        raise ValueError(expected(f"the teacher that {store.path} was written with", f"another teacher: {found}"))
    if replay is not None:
        dataset, _ = replay.keyed(dataset, keying, ranks, "all")
        keying = ViewKeying(inner=keying)
    encoding = store.encoding
    asker = Asker(teacher, encoding.temperatures)
    compared, difference, largest = 0, 0.0, 1.0
    with guards.explained():
        for batch in _sample(sources.batches(dataset, keying, ranks), n, seed):
            positions = store.index.find(batch["key"].numpy())
            if (positions < 0).any():
                received = f"an example that is not in it, row {int(np.argmax(positions < 0))} of a batch"
                raise ValueError(expected(f"examples of {store.path}", received))
            exact = encoding.prepared(asker.logits(batch["x"]))
            within = np.ones(exact.shape[:-1], bool)
            if encoding.ragged:
                within = np.arange(exact.shape[1]) < batch["length"].numpy()[:, None]
            stored = store.gather(positions, exact.shape[1] if encoding.ragged else None)
            far, size = _compare(encoding, stored, exact, within)
            compared, difference, largest = compared + len(positions), max(difference, far), max(largest, size)
    allowed = store.manifest["error"] + _ROUNDING * largest
    if difference > allowed:
        fix = "The stored values are not this teacher's answers: write the store anew."
        raise ValueError(expected(f"stored values within {allowed:g} of the teacher's", f"{difference:g}", fix))
    return {"examples": compared, "difference": difference, "allowed": allowed}


def _sample(batches: sources.Dataset, n: int, seed: int) -> Iterator[dict[str, Any]]:
    """Yield random batches with at least `n` examples; the first batches if the length of the data set is unknown."""
    count = int(batches.cardinality())
    chosen = None
    if count > 0:
        size = max(next(iter(batches))["key"].shape[0], 1)
        chosen = set(np.random.default_rng(seed).permutation(count)[: -(-n // size)].tolist())
    held = 0
    for number, batch in enumerate(batches):
        if chosen is None or number in chosen:
            yield batch
            held += len(batch["key"])
        if (chosen is None and held >= n) or (chosen is not None and number >= max(chosen)):
            return


def _compare(encoding: Encoding, stored: dict[str, Any], exact: Any, within: np.ndarray) -> tuple[float, float]:
    """Return the largest difference between stored and exact values, and the largest exact value."""
    answer = encoding.decode({name: ops.convert_to_tensor(field) for name, field in stored.items()})
    pairs = [(answer, exact)]
    if encoding.kind == "top_k":
        indices = ops.cast(answer.indices, "int32")
        rest = [log_sum_of_others(exact / temperature, indices) for temperature in encoding.temperatures]
        pairs = [(answer.values, ops.take_along_axis(exact, indices, axis=-1)), (answer.rest, ops.stack(rest, axis=-1))]
    found = [_largest(np.asarray(one)[within], np.asarray(other)[within]) for one, other in pairs]
    return max(far for far, _ in found), max(size for _, size in found)


def _largest(stored: np.ndarray, exact: np.ndarray) -> tuple[float, float]:
    counted = np.isfinite(exact) & (np.abs(exact) <= np.finfo("float16").max)
    far, size = np.where(counted, stored, 0.0) - np.where(counted, exact, 0.0), np.where(counted, exact, 0.0)
    return float(np.abs(far).max(initial=0.0)), float(np.abs(size).max(initial=0.0))
