"""The small real digits that ship with scikit-learn: nothing to download."""

import numpy as np

from keras_distill._core.messages import expected
from keras_distill.data.bundle import Data

VALIDATION = TEST = 300


def digits(seed=0):
    """Load 1,797 handwritten digits of 8x8 pixels, split 1,197 / 300 / 300 with every class in proportion.

    They are the test part of the "Optical Recognition of Handwritten Digits" set and ship inside scikit-learn, so
    they load with no network. The same seed always gives the same split.

    Args:
        seed: Seed of the split. Defaults to 0.

    Returns:
        A `Data` with inputs `[samples, 8, 8, 1]`, float32 from 0 to 1, and int32 labels from 0 to 9.

    Raises:
        ImportError: If scikit-learn is missing.

    Example:

    >>> digits()
    Data(train=1197, validation=300, test=300, classes=10)

    Reference:
        Alpaydin, Kaynak, "Optical Recognition of Handwritten Digits", 1998, UCI Machine Learning Repository.
    """
    datasets, train_test_split = _scikit_learn()
    bunch = datasets.load_digits()
    # The pixels count the ink in 4x4 blocks: 0 to 16.
    x = (bunch.images[..., np.newaxis] / 16.0).astype("float32")
    y = bunch.target.astype("int32")
    x, x_test, y, y_test = train_test_split(x, y, test_size=TEST, stratify=y, random_state=seed)
    x, x_val, y, y_val = train_test_split(x, y, test_size=VALIDATION, stratify=y, random_state=seed)
    return Data((x, y), (x_val, y_val), (x_test, y_test), tuple(str(label) for label in range(10)))


def _scikit_learn():
    try:
        from sklearn import datasets
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        fix = 'Install it: pip install "keras_distill[demo]"'
        raise ImportError(expected("scikit-learn, which holds the digits", f"{error}", fix)) from error
    return datasets, train_test_split
