"""Asking the teacher again: whether a store still holds what its teacher says."""

import numpy as np
from keras import ops

from keras_distill._core import guards
from keras_distill._core.messages import expected
from keras_distill.answers.top_k import log_sum_of_others
from keras_distill.targets.joining import keying_of
from keras_distill.targets.store import fingerprints, manifest
from keras_distill.targets.writing import sources
from keras_distill.targets.writing.asking import Asker
from keras_distill.teachers.loading import as_teacher

_ROUNDING = 1e-3
"""By how much the same teacher may differ on another machine, of the greatest logit."""


def verify(store, teacher, dataset, n=256, seed=0, key=None):
    """Ask a teacher again for some examples, and compare with what is stored.

    Args:
        store: A `TargetStore`.
        teacher: The teacher, or whatever `keras_distill.teachers.as_teacher` takes.
        dataset: The data set, in any order.
        n: Examples to compare, at least; whole batches are. Defaults to 256.
        seed: Seed of the choice of batches. Defaults to 0.
        key: As given to `write`, where that is a function. Defaults to `None`.

    Returns:
        A dict of `examples`, how many were compared, `difference`, the largest one found between a stored value and
        what the teacher says now, and `allowed`, what storing and rounding may do.

    Raises:
        ValueError: If it is another teacher, its weights changed, an example is not in the store, or a value differs
            by more than that.
    """
    teacher = as_teacher(teacher)
    keying = keying_of(store, key)
    if found := manifest.differences(store.manifest["teacher"], fingerprints.of_teacher(teacher)):
        raise ValueError(expected(f"the teacher that {store.path} was written with", f"another one: {found}"))
    encoding = store.encoding
    asker = Asker(teacher, encoding.temperatures)
    batches = sources.batches(dataset, keying, [len(each.shape) for each in store.inputs])
    compared, difference, largest = 0, 0.0, 1.0
    with guards.explained():
        for batch in _some(batches, n, seed):
            positions = store.index.find(batch["key"].numpy())
            if (positions < 0).any():
                row = int(np.argmax(positions < 0))
                raise ValueError(expected(f"examples of {store.path}", f"one that is not in it, row {row} of a batch"))
            exact = encoding.prepared(asker.logits(batch["x"]))
            within = np.ones(exact.shape[:-1], bool)
            if encoding.ragged:
                within = np.arange(exact.shape[1]) < batch["length"].numpy()[:, None]
            stored = store.gather(positions, exact.shape[1] if encoding.ragged else None)
            far, size = _difference(encoding, stored, exact, within)
            compared, difference, largest = compared + len(positions), max(difference, far), max(largest, size)
    allowed = store.manifest["error"] + _ROUNDING * largest
    if difference > allowed:
        fix = "The store does not hold what this teacher says: write it anew."
        raise ValueError(expected(f"stored values within {allowed:g} of the teacher's", f"{difference:g}", fix))
    return {"examples": compared, "difference": difference, "allowed": allowed}


def _some(batches, n, seed):
    """Yield batches at random places, until they hold `n` examples; the first ones where the length is unknown."""
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


def _difference(encoding, stored, exact, within):
    """Return the largest difference to stored values, and the largest value."""
    answer = encoding.decode({name: ops.convert_to_tensor(field) for name, field in stored.items()})
    pairs = [(answer, exact)]
    if encoding.kind == "top_k":
        indices = ops.cast(answer.indices, "int32")
        rest = [log_sum_of_others(exact / temperature, indices) for temperature in encoding.temperatures]
        pairs = [(answer.values, ops.take_along_axis(exact, indices, axis=-1)), (answer.rest, ops.stack(rest, axis=-1))]
    found = [_largest(np.asarray(one)[within], np.asarray(other)[within]) for one, other in pairs]
    return tuple(map(max, zip(*found, strict=True)))


def _largest(stored, exact):
    counted = np.isfinite(exact) & (np.abs(exact) <= np.finfo("float16").max)
    far, size = np.where(counted, stored, 0.0) - np.where(counted, exact, 0.0), np.where(counted, exact, 0.0)
    return float(np.abs(far).max(initial=0.0)), float(np.abs(size).max(initial=0.0))
