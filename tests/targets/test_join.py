"""Joining in order or in any order, batched or not; a wrong data set raises at its first wrong example."""

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets
from keras_distill._core import guards


def drained(dataset):
    """Read a data set to its end, and return labels and stored values."""
    with guards.explained():
        batches = [(y.numpy(), extras["soft_targets"]["values"].numpy()) for _, y, _, extras in dataset]
    return [
        np.concatenate([np.atleast_1d(each) if each.ndim == 0 else each for each in part]) for part in zip(*batches)
    ]


def test_in_order(store, dataset, arrays, logits):
    joined = store.join(dataset)
    assert int(joined.cardinality()) == 7
    labels, values = drained(joined)
    np.testing.assert_array_equal(labels, arrays[1])
    np.testing.assert_array_equal(values, store[:]["values"])
    x, _, weight, extras = joined.element_spec
    assert isinstance(weight, tf.NoneTensorSpec)
    assert x.shape.as_list() == [None, 6]
    assert extras["soft_targets"]["values"].shape.as_list() == [None, 5]


def test_in_any_order(store, dataset, arrays, logits):
    shuffled = dataset.unbatch().shuffle(100, seed=3)
    for source in (shuffled.batch(9), shuffled.take(20).batch(20)):
        for x, _, _, extras in store.join(source, order="any"):
            rows = [np.flatnonzero((arrays[0] == each).all(1))[0] for each in x.numpy()]
            np.testing.assert_allclose(extras["soft_targets"]["values"], logits[rows], rtol=1e-6, atol=1e-6)


def test_single_examples_before_shuffling(store, dataset, logits, arrays):
    joined = store.join(dataset.unbatch())
    assert joined.element_spec[3]["soft_targets"]["values"].shape.as_list() == [5]
    for x, _, _, extras in joined.shuffle(100, seed=0).batch(25):
        rows = [np.flatnonzero((arrays[0] == each).all(1))[0] for each in x.numpy()]
        np.testing.assert_allclose(extras["soft_targets"]["values"], logits[rows], rtol=1e-6, atol=1e-6)


def test_other_batches_repeats_arrays_and_extras(store, dataset, arrays):
    for source in (dataset.rebatch(33), dataset.unbatch().batch(16, drop_remainder=True), arrays):
        drained(store.join(source))
    labels, _ = drained(store.join(dataset.repeat(2)))
    np.testing.assert_array_equal(labels, np.tile(arrays[1], 2))
    with_extras = dataset.map(lambda x, y: (x, y, tf.ones(tf.shape(y)), {"index": y}))
    _, _, weight, extras = next(iter(store.join(with_extras)))
    assert weight.shape == (16,)
    assert set(extras) == {"index", "soft_targets"}


@pytest.mark.parametrize("parallel", [1, 4])
def test_many_passes_are_the_same(store, dataset, parallel):
    joined = store.join(dataset.map(lambda x, y: (x, y), num_parallel_calls=parallel))
    for _ in range(3):
        _, values = drained(joined)
        np.testing.assert_array_equal(values, store[:]["values"])


CHANGES = {
    "another order": (lambda x, y: (x[::-1], y[::-1]), r"example 99 at position 0\. Join before shuffling"),
    "two exchanged": (lambda x, y: (x[[*range(40), 41, 40, *range(42, 100)]], y), "example 41 at position 40"),
    "another image": (lambda x, y: (x + np.eye(100, 6, -50, "float32"), y), "example 50 of the data set, which the"),
    "other preprocessing": (lambda x, y: (x * 2.0, y), r"example 0 .* preprocessed as follows: as they are"),
    "another dtype": (lambda x, y: (x.astype("float16"), y), r"float32 \(6,\)\. Received: float16 \(6,\)"),
    "another shape": (lambda x, y: (x[:, :3], y), r"float32 \(6,\)\. Received: float32 \(3,\)"),
    "one missing at the end": (lambda x, y: (x[:99], y[:99]), r"the 100 examples of .*\. Received: 99"),
    "one missing inside": (lambda x, y: (np.delete(x, 7, 0), np.delete(y, 7)), "example 8 at position 7|Received: 99"),
    "one too many": (
        lambda x, y: (x[[*range(100), 3]], y[[*range(100), 3]]),
        "example 100, equal to example 3|Received: 101",
    ),
}


@pytest.fixture(scope="module")
def told(teacher, dataset, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "told"
    return targets.write(teacher, dataset, path, preprocessing="as they are")


@pytest.mark.parametrize("name", CHANGES)
@pytest.mark.parametrize("batched", [True, False])
def test_a_data_set_that_does_not_match_raises_at_the_first_wrong_example(told, arrays, name, batched):
    change, words = CHANGES[name]
    changed = tf.data.Dataset.from_tensor_slices(change(*arrays))
    with pytest.raises(ValueError, match=words):
        drained(told.join(changed.batch(16) if batched else changed))


@pytest.mark.parametrize("name", ["another image", "other preprocessing", "another dtype"])
def test_a_data_set_that_does_not_match_raises_in_any_order(told, arrays, name):
    change, _ = CHANGES[name]
    changed = tf.data.Dataset.from_tensor_slices(change(*arrays)).batch(16)
    with pytest.raises(ValueError, match="which the teacher has not answered|Received: float16"):
        drained(told.join(changed, order="any"))


def test_nothing_wrong_is_yielded_before_the_error(told, arrays):
    changed = CHANGES["another image"][0](*arrays)
    joined, seen = told.join(tf.data.Dataset.from_tensor_slices(changed).batch(16)), 0
    with pytest.raises(ValueError), guards.explained():
        for x, _, _, _ in joined:
            seen += len(x)
    assert seen <= 48  # Example 50 is in the fourth batch.


def test_invalid_arguments_are_refused(told, dataset):
    with pytest.raises(ValueError, match="Did you mean 'any'"):
        told.join(dataset, order="ayn")
    with pytest.raises(ValueError, match="no `key` for a store"):
        told.join(dataset, key="id")
    with pytest.raises(ValueError, match="not joined yet"):
        told.join(told.join(dataset))


def generate(arrays, count):
    """Return a data set of so many examples, whose length nobody knows."""
    x, y = arrays
    rows = [row % len(x) for row in range(count)]
    examples = (tf.TensorSpec((6,), tf.float32), tf.TensorSpec((), tf.int32))
    return tf.data.Dataset.from_generator(lambda: ((x[row], y[row]) for row in rows), output_signature=examples)


ELEMENTS = {
    "examples": (lambda dataset: dataset, 100),
    "batches with extras": (
        lambda dataset: dataset.batch(16).map(lambda x, y: (x, y, tf.ones_like(y), {"row": y})),
        100,
    ),
    "batches of one size": (lambda dataset: dataset.batch(16, drop_remainder=True), 96),
    "ragged labels": (
        lambda dataset: dataset.batch(20).map(lambda x, y: (x, tf.RaggedTensor.from_row_lengths(y, [5] * 4))),
        100,
    ),
}


@pytest.mark.parametrize("name", ELEMENTS)
def test_a_generator_must_be_as_long_as_the_store(name, told, arrays):
    elements, length = ELEMENTS[name]
    whole = list(told.join(elements(generate(arrays, 100))))
    values = np.concatenate([np.atleast_2d(extras["soft_targets"]["values"]) for _, _, _, extras in whole])
    np.testing.assert_array_equal(values, told[:length]["values"])
    for count in (0, 80, 120):  # Whole batches of the store's own examples, in its order.
        words = rf"100 examples of .*Received: {count - count % 16 if length == 96 else count}\. Join the whole"
        with pytest.raises(ValueError, match=words), guards.explained():
            list(told.join(elements(generate(arrays, count))))


def test_a_generator_may_be_repeated_and_read_in_part(told, arrays):
    dataset = generate(arrays, 100)
    twice = list(told.join(dataset.repeat(2).batch(10)))
    assert len(twice) == 20
    endless = told.join(dataset.repeat().batch(32))
    assert len(list(endless.take(7))) == 7
    joined = told.join(dataset.batch(16))
    assert joined.cardinality() == tf.data.UNKNOWN_CARDINALITY
    both = list(tf.data.Dataset.zip(joined, joined))  # Two iterators at the same time.
    assert len(both) == 7
    cut = told.join(generate(arrays, 50).batch(10))
    assert len(list(cut.take(4))) == 4


@pytest.mark.parametrize("elements", ["one by one", "batches"])
def test_strings(elements, tmp_path):
    texts = np.array(["", "a", "hello", "a b"])
    x = {"text": texts, "number": np.arange(4, dtype="float32")[:, None]}
    store = targets.write(lambda x: 3.0 * x["number"] + np.arange(3), x, tmp_path / "store", dtype="float32")
    dataset = tf.data.Dataset.from_tensor_slices(x)
    # Numbers of unknown length are not put into batches to be paired.
    dataset = dataset.map(lambda x: {**x, "number": tf.ensure_shape(tf.boolean_mask(x["number"], [True]), [None])})
    dataset = dataset if elements == "one by one" else dataset.batch(2)
    for order in ("same", "any"):
        stored = [extras["soft_targets"]["values"] for _, _, _, extras in store.join(dataset, order=order)]
        np.testing.assert_array_equal(np.concatenate([np.atleast_2d(each) for each in stored]), store[:]["values"])
    keys = [targets.key_of({name: leaf[row] for name, leaf in x.items()}) for row in range(4)]
    np.testing.assert_array_equal(np.stack(keys), store.keys)
