"""`mix`, `mixup` and `crops`: parts, lengths and seeds."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill.data import crops, mix, mixup
from keras_distill.recipes import function_matching

X = np.arange(20, dtype="float32").reshape(10, 2)
Y = np.arange(10) % 3
MORE = 100 + np.arange(46, dtype="float32").reshape(23, 2)


def slices(*parts):
    return tf.data.Dataset.from_tensor_slices(parts if len(parts) > 1 else parts[0])


@pytest.mark.parametrize("labelled", [(X, Y), slices(X, Y)], ids=["arrays", "dataset"])
@pytest.mark.parametrize("unlabelled", [MORE, slices(MORE), (MORE, MORE), slices(MORE, MORE)], ids=range(4))
def test_every_sample_of_both_is_seen_and_every_batch_has_its_share(labelled, unlabelled):
    dataset = mix(labelled, unlabelled, ratio=0.6, batch_size=5, seed=1)
    assert len(dataset) == 8  # 23 unlabelled, 3 in each.
    for _ in range(2):
        batches = [(x.numpy(), y.numpy()) for x, y in dataset]
        assert len(batches) == 8 and all((y < 0).tolist() == [False] * 2 + [True] * 3 for _, y in batches)
        x, y = (np.concatenate(parts) for parts in zip(*batches, strict=True))
        assert {tuple(row) for row in x} == {tuple(row) for row in (*X, *MORE)}
        known = y >= 0
        assert (Y[(x[known, 0] / 2).astype(int)] == y[known]).all() and (x[~known] >= 100).all()


def test_a_larger_labelled_part_sets_the_length():
    assert len(mix((MORE, np.zeros(23, int)), X, ratio=0.5, batch_size=4)) == 12


def test_the_seed_decides_every_epoch():
    def epochs(seed):
        dataset = mix((X, Y), MORE, batch_size=4, seed=seed)
        return [np.concatenate([x for x, _ in dataset]) for _ in range(2)]

    first, again, other = epochs(1), epochs(1), epochs(2)
    assert np.array_equal(first, again) and not np.array_equal(first, other) and not np.array_equal(*first)


def test_sequences_nests_and_dtypes():
    tokens = np.arange(30, dtype="int32").reshape(10, 3)
    x, y = next(iter(mix(({"a": tokens}, {"b": tokens.astype("uint8")}), {"a": tokens}, batch_size=4, shuffle=False)))
    assert x["a"].dtype == tf.int32 and y["b"].dtype == tf.int32
    assert y["b"].numpy().tolist() == [[0, 1, 2], [3, 4, 5], [-1] * 3, [-1] * 3]


def test_an_endless_part():
    dataset = mix((X, Y), slices(MORE).repeat(), batch_size=4, seed=0)
    assert len(dataset) == len(list(dataset)) == 5


@pytest.mark.parametrize(
    "labelled, unlabelled, options, message",
    [
        ((X, Y), MORE, {"ratio": 0.0}, "a ratio that leaves samples of both kinds"),
        ((X, Y), MORE, {"ratio": 0.01}, "a ratio that leaves samples of both kinds"),
        ((X, Y), MORE, {"ratio": np.nan}, "a ratio that leaves samples of both kinds"),
        ((X, Y), MORE, {"batch_size": 1}, "batch_size to be a whole number >= 2"),
        ((X, Y[:3]), MORE, {}, "labelled arrays of one length, at least 1. Received: lengths [10, 3]"),
        (X, MORE, {}, "labelled samples `(x, y)`. Received: inputs alone"),
        ((X, np.eye(3)[Y]), MORE, {}, "sparse labels of an integer dtype. Received: float32"),
        (
            (X, Y),
            MORE[:, :1],
            {},
            "unlabelled inputs with the shapes and dtypes of the labelled ones, float32 (2,). Received: float32 (1,)",
        ),
        ((X, Y), MORE.astype("int32"), {}, "unlabelled inputs with the shapes and dtypes of the labelled ones"),
        ((X, Y), MORE[:0], {}, "unlabelled arrays of one length, at least 1"),
        ((X, Y), slices(MORE).filter(lambda x: True), {}, "a known number of unlabelled samples"),
        (slices(X, Y).repeat(), slices(MORE).repeat(), {}, "at least one part of known length"),
    ],
)
def test_bad_arguments_are_refused(labelled, unlabelled, options, message):
    with pytest.raises(ValueError) as error:
        mix(labelled, unlabelled, **{"batch_size": 4, **options})
    assert str(error.value).startswith(f"Expected {message}")


@pytest.mark.parametrize("source", [(np.eye(6), np.arange(6)), slices(np.eye(6, dtype="float32"), np.arange(6))])
def test_neighbours_are_mixed_with_their_labels(source):
    batches = list(mixup(source, batch_size=4, classes=6, seed=0, shuffle=False))
    assert len(batches) == 2
    for (x, y), first in zip(batches, (0, 4), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-6)
        np.testing.assert_allclose(np.sum(y, axis=1), 1.0, rtol=1e-6)
        size = len(x)
        for row, values in enumerate(x.numpy()):
            assert set(np.flatnonzero(values)) <= {first + row, first + (row - 1) % size}


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 5.0])
def test_shares_have_the_moments_of_the_beta_distribution(alpha):
    x = np.zeros((20_000, 1))
    x[::2] = 1.0  # One of each pair of neighbours.
    (mixed,) = next(iter(mixup(x, alpha, batch_size=20_000, seed=0, shuffle=False)))
    np.testing.assert_allclose(np.mean(mixed), 0.5, atol=0.015)
    np.testing.assert_allclose(np.var(mixed), 0.25 / (2 * alpha + 1), atol=0.01)


def test_labels_are_dropped_and_the_seed_decides():
    def epochs(seed):
        dataset = mixup((X, Y), batch_size=5, seed=seed)
        return [np.concatenate([x for (x,) in dataset]) for _ in range(2)]

    assert np.array_equal(epochs(1), epochs(1)) and not np.array_equal(epochs(1), epochs(2))
    assert not np.array_equal(*epochs(1))


@pytest.mark.parametrize(
    "data, options, message",
    [
        (X, {"alpha": 0.0}, "alpha to be a finite number > 0"),
        (X, {"batch_size": 0}, "batch_size to be a whole number >= 2"),
        (X.astype("uint8"), {}, "inputs of a float dtype to mix. Received: uint8. Scale"),
        (X, {"classes": 3}, "one sparse integer label for each sample"),
        ((X, np.eye(3)[Y]), {"classes": 3}, "one sparse integer label for each sample"),
    ],
)
def test_mixup_refuses_bad_arguments(data, options, message):
    with pytest.raises(ValueError) as error:
        mixup(data, **{"batch_size": 4, **options})
    assert str(error.value).startswith(f"Expected {message}")


def test_crops_shift_and_magnify_only_in_training():
    images = np.random.default_rng(0).uniform(0.5, 1.0, (8, 12, 12, 1)).astype("float32")
    layer, again = crops(0.4, 0.2, seed=3), crops(0.4, 0.2, seed=3)
    seen = layer(images, training=True).numpy()
    np.testing.assert_array_equal(seen, again(images, training=True))
    np.testing.assert_array_equal(layer(images, training=False), images)
    assert seen.shape == images.shape and not np.allclose(seen, images) and seen.min() >= 0.0 and seen.max() <= 1.0
    assert len({float(each.sum()) for each in seen}) == 8
    with pytest.raises(ValueError, match="zoom to be a number from 0 to below 1. Received: zoom=1.0"):
        crops(zoom=1.0)


def test_the_views_of_the_recipe():
    images = np.random.default_rng(0).uniform(size=(32, 28, 28, 1)).astype("float32")
    labels = np.arange(32) % 10
    batches = function_matching.views(images, labels, 16, 0)
    assert len(batches) == 2
    for x, y in batches:
        assert x.shape == (16, 28, 28, 1) and y.shape == (16, 10)
        np.testing.assert_allclose(np.sum(y, axis=1), 1.0, rtol=1e-5)
    first, again = ([x.numpy() for x, _ in function_matching.views(images, labels, 16, 0)] for _ in range(2))
    np.testing.assert_array_equal(first, again)
    assert keras.tree.map_structure(lambda spec: spec.dtype, batches.element_spec) == (tf.float32, tf.float32)
