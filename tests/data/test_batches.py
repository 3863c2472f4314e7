"""Batches: order and shifts depend only on the seed."""

import numpy as np
import pytest

from keras_distill.data import Batches, Data

Y = np.arange(10)
X = np.arange(10 * 4 * 4, dtype="float32").reshape(10, 4, 4, 1) + 1


def walk(batches, epochs=2):
    seen = []
    for _ in range(epochs):
        seen.append([batches[index] for index in range(len(batches))])
        batches.on_epoch_end()
    return seen


def labels(epoch):
    return np.concatenate([y for _, y in epoch])


def test_an_epoch_holds_every_sample_once():
    first, second = walk(Batches(X, Y, 5))
    assert sorted(labels(first)) == sorted(labels(second)) == list(range(10))
    assert labels(first).tolist() != labels(second).tolist()


def test_the_same_seed_gives_the_same_batches_in_any_order_of_reading():
    first, again = (Batches(X, Y, 3, seed=5, shift=1, flip=True) for _ in range(2))
    forward = [first[index] for index in range(3)]
    backward = [again[index] for index in (2, 1, 0)][::-1]
    for (x, y), (other_x, other_y) in zip(forward, backward, strict=True):
        assert np.array_equal(x, other_x) and np.array_equal(y, other_y)
    assert labels(walk(Batches(X, Y, 5, seed=6))[0]).tolist() != labels(walk(Batches(X, Y, 5, seed=5))[0]).tolist()


def test_a_resumed_training_begins_with_its_epoch():
    resumed, whole = Batches(X, Y, 5, seed=5, shift=1, epoch=1), walk(Batches(X, Y, 5, seed=5, shift=1))[1]
    for index, (x, y) in enumerate(whole):
        assert np.array_equal(resumed[index][0], x) and np.array_equal(resumed[index][1], y)


def test_inputs_and_labels_stay_together():
    for x, y in walk(Batches(X, Y, 5))[0]:
        assert np.array_equal(x, X[y])


def test_shifts_equal_padding_and_cropping():
    padded = np.pad(X, ((0, 0), (1, 1), (1, 1), (0, 0)))
    seen = set()
    for epoch in walk(Batches(X, Y, 10, shift=1), epochs=12):
        for x, y in epoch:
            for image, label in zip(x, y, strict=True):
                crops = {(i, j): padded[label, i : i + 4, j : j + 4] for i in range(3) for j in range(3)}
                (move,) = [move for move, crop in crops.items() if np.array_equal(crop, image)]
                seen.add(move)
    assert len(seen) == 9


def test_flips_mirror_about_half():
    batches = [batch for epoch in walk(Batches(X, Y, 10, flip=True), 20) for batch in epoch]
    samples = [sample for x, y in batches for sample in zip(x, y, strict=True)]
    mirrored = [np.array_equal(image, X[label, :, ::-1]) for image, label in samples]
    assert 0.3 < np.mean(mirrored) < 0.7


@pytest.mark.parametrize("options", [{"batch_size": 11}, {"batch_size": 0}, {"batch_size": 2, "shift": -1}])
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="^Expected"):
        Batches(X, Y, **options)


def test_data_refuses_splits_that_do_not_match():
    pair, names = (X, Y), tuple("0123456789")
    with pytest.raises(ValueError, match="as many labels as inputs in test"):
        Data(pair, pair, (X, Y[:3]), names)
    with pytest.raises(ValueError, match="train labels from 0 to 4"):
        Data(pair, pair, pair, names[:5])
    with pytest.raises(ValueError, match="count to be a whole number from 1 to 10"):
        Data(pair, pair, pair, names).first(11)
    assert len(Data(pair, pair, pair, names).first(4).train[1]) == 4
