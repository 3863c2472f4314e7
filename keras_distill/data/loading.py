"""Public image data sets as arrays: from TensorFlow Datasets, and the digits that ship with scikit-learn."""

import os
from typing import Any

import numpy as np

from keras_distill._core.checked import checked
from keras_distill._core.checks import check_choice, check_whole_number
from keras_distill._core.extras import missing
from keras_distill._core.messages import expected
from keras_distill.data.bundle import Data, Split

NAMES = ("cifar10", "mnist")
"""Names of the data sets that `load` loads."""

_HELD_OUT = 300  # Digits for validation, and as many for the test.


@checked(name=Any, validation=Any, seed=(0, 2.0**32 - 1))
def load(
    name: str, data_dir: str | os.PathLike | None = None, download: bool = False, validation: int = 5000, seed: int = 0
) -> Data:
    """Load an image data set prepared by TensorFlow Datasets, with a validation split cut from its training data.

    The training data is shuffled once by the seed, and its last `validation` samples become the validation split. The
    test split stays as its authors published it.

    Args:
        name: `"mnist"` or `"cifar10"`.
        data_dir: Folder of prepared data sets. Defaults to `None`, the folder of TensorFlow Datasets
            (`~/tensorflow_datasets`).
        download: Whether to download and prepare a data set that is missing. Defaults to `False`.
        validation: Number of training samples to keep for validation. Defaults to 5000.
        seed: Seed of the shuffle. Defaults to 0.

    Returns:
        A `Data` with inputs `[samples, height, width, channels]`, float32 from 0 to 1, and int32 labels.

    Raises:
        ValueError: If the name is unknown, or `validation` leaves no training data.
        FileNotFoundError: If the data set is not prepared and `download` is `False`.

    Example:

    >>> load("minst")
    Traceback (most recent call last):
    ValueError: Expected data set to be one of cifar10, mnist. Received: 'minst'. Did you mean 'mnist'?
    """
    check_choice("data set", name, NAMES)
    builder = _prepare(name, data_dir, download)
    (x, y), test = (_read_split(builder, split) for split in ("train", "test"))
    validation = check_whole_number("validation", validation, 1, len(y) - 1)
    order = np.random.default_rng(seed).permutation(len(y))
    kept, held_out = order[:-validation], order[-validation:]
    names = tuple(builder.info.features["label"].names)
    return Data((x[kept], y[kept]), (x[held_out], y[held_out]), test, names)


@checked(seed=(0, 2.0**32 - 1))
def digits(seed: int = 0) -> Data:
    """Load 1,797 handwritten digits of 8x8 pixels, split 1,197 / 300 / 300 with every class in proportion.

    They are the test part of the "Optical Recognition of Handwritten Digits" data set. They ship with scikit-learn and
    need no download. The same seed always gives the same split.

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
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError as error:
        raise missing("scikit-learn, which ships the digits", error, "demo") from error
    bunch: Any = load_digits()
    # A pixel counts the ink in a block of 4x4: 0 to 16.
    x = (bunch.images[..., np.newaxis] / 16.0).astype("float32")
    y = bunch.target.astype("int32")

    def hold_out(x: Any, y: Any) -> tuple[Split, Split]:
        x, x_out, y, y_out = train_test_split(x, y, test_size=_HELD_OUT, stratify=y, random_state=seed)
        return (x, y), (x_out, y_out)  # pyright: ignore[reportReturnType]

    rest, test = hold_out(x, y)
    return Data(*hold_out(*rest), test, tuple(str(label) for label in range(10)))


def _prepare(name, data_dir, download) -> Any:
    """Return the TFDS builder of a data set that is prepared."""
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if download:
        builder.download_and_prepare()
    if not builder.is_prepared():
        fix = (
            "Name the folder that has it (--data-dir DIR, here `data_dir`), or let TensorFlow Datasets fetch it "
            "from the internet (--download, here `download=True`)."
        )
        received = f"{builder.data_dir}, which does not hold it"
        raise FileNotFoundError(expected(f"{name} prepared by TensorFlow Datasets", received, fix))
    return builder


def _read_split(builder, split) -> Split:
    import tensorflow_datasets as tfds

    # One batch of the whole split in file order: only the seed decides how it is shuffled.
    dataset = builder.as_dataset(split=split, batch_size=-1, shuffle_files=False, as_supervised=True)
    x, y = tfds.as_numpy(dataset)
    return x.astype("float32") / np.float32(255.0), y.astype("int32")
