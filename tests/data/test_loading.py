"""Data sets prepared by TensorFlow Datasets: validation comes from the training data; a missing set is reported."""

import numpy as np
import pytest

from keras_distill import data
from keras_distill.data import loading

_READ = {}


@pytest.fixture
def prepared(shared):
    return shared / "data" / "tfds"


@pytest.fixture
def read_once(monkeypatch):
    """Decode each split of each set once for all tests that are about the later steps: shuffling and cutting."""
    read = loading._read_split

    def arrays(builder, split):
        key = builder.name, split
        if key not in _READ:
            _READ[key] = read(builder, split)
        return _READ[key]

    monkeypatch.setattr(loading, "_read_split", arrays)


@pytest.mark.slow
def test_mnist_is_scaled_and_split(prepared, read_once):
    mnist = data.load("mnist", data_dir=prepared)
    assert repr(mnist) == "Data(train=55000, validation=5000, test=10000, classes=10)"
    x, y = mnist.train
    assert x.shape[1:] == (28, 28, 1) and x.dtype == np.float32 and y.dtype == np.int32
    assert (x.min(), x.max()) == (0.0, 1.0)
    # The label counts of the published test split, which is used as a whole.
    assert np.bincount(mnist.test[1]).tolist() == [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009]
    assert np.bincount(np.concatenate([y, mnist.validation[1]])).tolist() == [
        5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949,
    ]  # fmt: skip


@pytest.mark.slow
def test_validation_is_disjoint_from_training_and_repeats(prepared, request):
    again = data.load("mnist", prepared, validation=500, seed=3)  # Read again: files come in the same order.
    request.getfixturevalue("read_once")
    first, other = (data.load("mnist", prepared, validation=500, seed=seed) for seed in (3, 4))
    held, kept = ({image.tobytes() for image in split[0]} for split in (first.validation, first.train))
    assert len(held) == 500 and not held & kept
    assert np.array_equal(first.validation[0], again.validation[0])
    assert not np.array_equal(first.validation[1], other.validation[1])


@pytest.mark.slow
def test_cifar10_is_in_colour_and_names_its_classes(prepared):
    cifar = data.load("cifar10", data_dir=prepared)
    assert cifar.train[0].shape == (45000, 32, 32, 3)
    assert cifar.class_names[:3] == ("airplane", "automobile", "bird")
    assert np.bincount(cifar.test[1]).tolist() == [1000] * 10


def test_validation_leaves_training_data(prepared, read_once):
    with pytest.raises(ValueError, match="^Expected validation to be a whole number from 1 to 59999"):
        data.load("mnist", prepared, validation=60000)


def test_missing_data_names_both_fixes(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"^Expected mnist prepared.*--data-dir.*--download"):
        data.load("mnist", data_dir=tmp_path)
    assert not any(tmp_path.iterdir())


def test_an_unknown_name_suggests_the_nearest(tmp_path):
    with pytest.raises(ValueError, match="Did you mean 'cifar10'"):
        data.load("cifar", data_dir=tmp_path)
