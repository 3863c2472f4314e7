"""Indexed batches: rows, indices and negatives match, and depend only on the seed."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data import indexed

N = 23
X = np.arange(N * 2, dtype="float32").reshape(N, 2)
Y = np.random.default_rng(0).integers(0, 4, N)


def epoch(dataset):
    return [keras.tree.map_structure(np.array, batch, none_is_leaf=False) for batch in dataset]


def column(batches, key):
    return np.concatenate([extras[key] for *_, extras in batches])


def test_every_epoch_holds_every_sample_once_in_an_order_of_its_own():
    dataset = indexed(X, Y, batch_size=5, seed=1)
    assert len(dataset) == 5
    first, second = epoch(dataset), epoch(dataset)
    assert [len(y) for _, y, _, _ in first] == [5, 5, 5, 5, 3]
    orders = [column(batches, "index") for batches in (first, second)]
    assert all(sorted(order) == list(range(N)) for order in orders) and not np.array_equal(*orders)
    assert all(set(extras) == {"index"} and extras["index"].dtype == "int32" for *_, extras in first)


def test_the_rows_are_those_of_the_indices():
    weights = np.linspace(0, 1, N)
    for x, y, weight, extras in epoch(indexed(X, Y, batch_size=4, sample_weight=weights)):
        index = extras["index"]
        assert np.array_equal(x, X[index]) and np.array_equal(y, Y[index])
        np.testing.assert_allclose(weight, weights[index], rtol=1e-6)


def test_missing_parts_are_none():
    x, y, weight, _ = next(iter(indexed(X, batch_size=4)))
    assert x.shape == (4, 2) and y is None and weight is None
    x, y, weight, _ = next(iter(indexed({"a": X, "b": Y}, {"c": Y, "d": X}, batch_size=4)))
    assert set(x) == {"a", "b"} and set(y) == {"c", "d"} and weight is None


def test_floats_come_in_the_precision_of_keras():
    x, y, _, _ = next(iter(indexed(X.astype("float64"), X.astype("float64"), batch_size=4)))
    assert x.dtype == y.dtype == tf.float32


def test_the_order_is_kept_without_shuffle():
    dataset = indexed(X, Y, batch_size=5, negatives=3, shuffle=False)
    first, second = epoch(dataset), epoch(dataset)
    assert column(first, "index").tolist() == list(range(N))
    assert not np.array_equal(column(first, "contrast_index"), column(second, "contrast_index"))


@pytest.mark.parametrize("shuffle", [False, True])
def test_the_seed_decides_every_epoch(shuffle):
    first, again, other = (indexed(X, Y, batch_size=5, negatives=3, seed=seed, shuffle=shuffle) for seed in (1, 1, 2))
    drawn = [[column(epoch(dataset), "contrast_index") for _ in range(2)] for dataset in (first, again, other)]
    assert np.array_equal(drawn[0], drawn[1]) and not np.array_equal(drawn[0], drawn[2])
    assert not np.array_equal(*drawn[0])


@pytest.mark.parametrize("labels", [Y, Y[:, None], Y.astype("uint8") + 100])
def test_negatives_are_uniform_over_the_other_classes(labels):
    counts = np.zeros((N, N))
    dataset = indexed(X, labels, batch_size=8, negatives=400, seed=3)
    for _ in range(5):
        for *_, extras in epoch(dataset):
            assert np.array_equal(extras["contrast_index"][:, 0], extras["index"])
            for own, others in zip(extras["index"], extras["contrast_index"][:, 1:], strict=True):
                counts[own] += np.bincount(others, minlength=N)
    different = Y[:, None] != Y[None]
    assert not counts[~different].any()
    share = counts * different.sum(1, keepdims=True) / 2000
    np.testing.assert_allclose(share[different], 1.0, atol=0.5)  # More than 5 standard deviations.
    np.testing.assert_allclose(share.sum(0) / different.sum(0), 1.0, atol=0.15)


@pytest.mark.parametrize("labels", [None, np.eye(4)[Y], Y.astype("float32"), {"a": Y}])
def test_negatives_are_all_others_without_class_indices(labels):
    seen = np.zeros((N, N))
    for *_, extras in epoch(indexed(X, labels, batch_size=8, negatives=600, seed=3)):
        for own, others in zip(extras["index"], extras["contrast_index"][:, 1:], strict=True):
            seen[own] += np.bincount(others, minlength=N)
    assert not seen.diagonal().any() and (seen + np.eye(N) > 0).all()


def test_fit_takes_the_batches():
    class Reader(keras.Model):
        def __init__(self):
            super().__init__()
            self.seen = self.add_weight((N,), "zeros", trainable=False)

        def train_step(self, batch):
            x, y, weight, extras = batch
            assert y is None and weight is None and extras["contrast_index"].shape[1] == 3
            ones = tf.ones_like(extras["index"], "float32")
            self.seen.assign(tf.tensor_scatter_nd_add(self.seen, extras["index"][:, None], ones))
            return {"mean": tf.reduce_mean(x)}

    model = Reader()
    model.compile()
    model.fit(indexed(X, batch_size=5, negatives=2), epochs=3, verbose=0, shuffle=False)
    assert (model.seen.numpy() == 3).all()


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"y": Y[:3]}, "as many labels and weights as inputs, at least 1. Received: lengths [23, 3]"),
        ({"batch_size": 0}, "batch_size to be a whole number >= 1. Received: batch_size=0"),
        ({"batch_size": 2.0}, "batch_size to be a whole number >= 1. Received: batch_size=2.0"),
        ({"negatives": -1}, "negatives to be a whole number >= 0. Received: negatives=-1"),
        ({"y": np.zeros(N, int), "negatives": 1}, "samples of at least two classes to draw negatives from"),
    ],
)
def test_bad_arguments_are_refused(arguments, message):
    with pytest.raises(ValueError) as error:
        indexed(X, **{"batch_size": 4, **arguments})
    assert str(error.value).startswith(f"Expected {message}")
