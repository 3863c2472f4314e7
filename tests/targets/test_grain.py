"""Data sets of `grain`: the same store and the same pairs as from the same examples in `tf.data`."""

import importlib.util
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets
from keras_distill._core import guards
from keras_distill.targets.replay.mixing import Partners

INSTALLED = importlib.util.find_spec("grain") is not None


class MapDataset:
    """What a data set of `grain` gives to those who read it, for machines without `grain`."""

    __module__ = "grain._src.python.dataset.dataset"

    def __init__(self, elements, length=None):
        self._elements, self._length = elements, length

    def __iter__(self):
        return iter(self._elements)

    def __len__(self):
        return self._length or len(self._elements)


def in_batches(elements, size):
    parts = [elements[at : at + size] for at in range(0, len(elements), size)]
    return [keras.tree.map_structure(lambda *leaves: np.stack(leaves), *part) for part in parts]


def make_stand_in(elements, size):
    return MapDataset(elements if size is None else in_batches(elements, size))


def make_map_dataset(elements, size):
    import grain

    made = grain.MapDataset.source(elements)
    return made if size is None else made.batch(size)


def make_filtered(elements, size):
    made = make_map_dataset([*elements, None], None).filter(lambda element: element is not None)
    return made if size is None else made.to_iter_dataset().batch(size)


def make_loader(elements, size):
    import grain

    sampler = grain.samplers.IndexSampler(len(elements), shuffle=False, num_epochs=1)
    operations = [] if size is None else [grain.transforms.Batch(size)]
    return grain.DataLoader(data_source=elements, sampler=sampler, operations=operations, worker_count=0)


real = pytest.mark.skipif(not INSTALLED, reason="grain is not installed")
MAKERS = [make_stand_in, *(pytest.param(make, marks=real) for make in (make_map_dataset, make_filtered, make_loader))]


@pytest.fixture
def elements(arrays):
    return list(zip(*arrays, strict=True))


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("make", MAKERS)
def test_the_same_store_and_the_same_pairs(make, size, elements, arrays, teacher, store, tmp_path):
    source = make(elements, size)
    options = {"dtype": "float32", "shard_size": 32, "features": ["hidden"], "batch_size": size and 16}
    written = targets.write(teacher, source, tmp_path / "store", **options)
    np.testing.assert_array_equal(written.keys, store.keys)
    np.testing.assert_allclose(written[:]["values"], store[:]["values"], rtol=1e-5, atol=1e-6)
    for order in ("same", "any"):
        batches = list(store.join(source, order=order))
        labels = np.concatenate([np.atleast_1d(y) for _, y, _, _ in batches])
        values = np.concatenate([np.atleast_2d(extras["soft_targets"]["values"]) for _, _, _, extras in batches])
        np.testing.assert_array_equal(labels, arrays[1])
        np.testing.assert_array_equal(values, store[:]["values"])
    with pytest.raises(ValueError, match="the 100 examples of"), guards.explained():
        list(store.join(make(elements[:48], size)))
    assert store.verify(teacher, source)["examples"] == 100


def test_dicts_strings_and_sequences_of_different_lengths(tmp_path):
    words = ["a", "abc", "ab", "abcdef"]
    elements = [[{"ids": np.arange(1, len(word) + 1), "text": word}, 0.5] for word in words]
    teacher = lambda x: 3.0 * np.eye(9)[x["ids"] % 9]  # noqa: E731
    store = targets.write(teacher, MapDataset(elements), tmp_path / "store", padding={"ids": 0}, batched=False)
    assert store.lengths(np.arange(4)).tolist() == [1, 3, 2, 6]
    found = list(store.join(MapDataset(elements), batched=False))
    assert [x["text"].numpy().decode() for x, _, _, _ in found] == words
    assert {y.dtype for _, y, _, _ in found} == {tf.float32}


def test_what_no_store_can_be_written_from(teacher, arrays, elements, tmp_path):
    with pytest.raises(ValueError, match="at least one example"):
        targets.write(teacher, MapDataset([], 1), tmp_path / "store")
    endless = (MapDataset(elements, sys.maxsize), tf.data.Dataset.from_tensor_slices(arrays).repeat())
    for source in endless:
        with pytest.raises(ValueError, match=r"a data set that ends.*Leave `repeat\(\)` out"):
            targets.write(teacher, source, tmp_path / "store")
    with pytest.raises(ValueError, match="partners that can be read at random"):
        Partners(MapDataset(elements))
    assert not (tmp_path / "store").exists()
