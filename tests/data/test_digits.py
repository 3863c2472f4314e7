"""The digits of scikit-learn: scaled, stratified and split reproducibly."""

import builtins

import numpy as np
import pytest

from keras_distill import data


@pytest.fixture(scope="module")
def digits():
    return data.digits()


def test_sizes_shapes_and_dtypes(digits):
    assert [len(pair[1]) for pair in (digits.train, digits.validation, digits.test)] == [1197, 300, 300]
    assert digits.train[0].shape == (1197, 8, 8, 1)
    assert digits.train[0].dtype == np.float32
    assert digits.train[1].dtype == np.int32
    assert digits.class_names == tuple("0123456789")


def test_pixels_go_from_0_to_1(digits):
    assert digits.train[0].min() == 0.0
    assert digits.train[0].max() == 1.0


def test_splits_hold_every_image_of_scikit_learn_once(digits):
    from sklearn.datasets import load_digits

    ours = np.concatenate([digits.train[0], digits.validation[0], digits.test[0]]).reshape(1797, 64) * 16
    theirs = load_digits().data
    assert np.array_equal(np.unique(ours, axis=0), np.unique(theirs, axis=0))
    assert len(ours) == len(theirs)


def test_every_class_is_in_proportion(digits):
    for _, labels in (digits.train, digits.validation, digits.test):
        shares = np.bincount(labels, minlength=10) / len(labels)
        assert shares == pytest.approx(np.full(10, 0.1), abs=0.01)


def test_the_seed_decides_the_split(digits):
    again, other = data.digits(), data.digits(seed=1)
    assert np.array_equal(digits.test[0], again.test[0])
    assert np.array_equal(digits.train[1], again.train[1])
    assert not np.array_equal(digits.test[0], other.test[0])


def test_without_scikit_learn_the_error_names_the_package(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("sklearn"):
            raise ImportError("No module named 'sklearn'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=r"^Expected scikit-learn.*Install it: pip install .*scikit-learn"):
        data.digits()
