"""Public image sets through TensorFlow Datasets, as arrays."""

import numpy as np

from keras_distill._core.messages import expected, unknown_name
from keras_distill.data.bundle import Data

NAMES = ("cifar10", "mnist")


def load(name, data_dir=None, download=False, validation=5000, seed=0):
    """Load an image set prepared by TensorFlow Datasets, with a validation split cut from its training data.

    The training data is shuffled once by the seed; its last `validation` samples become the validation split. The
    test split stays what its authors published.

    Args:
        name: `"mnist"` or `"cifar10"`.
        data_dir: Folder of prepared sets. Defaults to `None`, the one of TFDS (`~/tensorflow_datasets`).
        download: Whether to download and prepare a set that is not there. Defaults to `False`.
        validation: Number of training samples to keep for validation. Defaults to 5000.
        seed: Seed of the shuffle. Defaults to 0.

    Returns:
        A `Data` with inputs `[samples, height, width, channels]`, float32 from 0 to 1, and int32 labels.

    Raises:
        ValueError: If the name is unknown, or `validation` leaves nothing to learn from.
        FileNotFoundError: If the set is not prepared and `download` is `False`.

    Example:

    >>> load("minst")
    Traceback (most recent call last):
    ValueError: Expected data set to be one of cifar10, mnist. Received: 'minst'. Did you mean 'mnist'?
    """
    if name not in NAMES:
        raise ValueError(unknown_name("data set", name, NAMES))
    builder = _prepared(name, data_dir, download)
    (x, y), test = (_arrays(builder, split) for split in ("train", "test"))
    if not 0 < validation < len(y):
        raise ValueError(expected(f"from 1 to {len(y) - 1} samples for validation", f"validation={validation!r}"))
    order = np.random.default_rng(seed).permutation(len(y))
    kept, held = order[:-validation], order[-validation:]
    return Data((x[kept], y[kept]), (x[held], y[held]), test, tuple(builder.info.features["label"].names))


def _prepared(name, data_dir, download):
    import tensorflow_datasets as tfds

    builder = tfds.builder(name, data_dir=data_dir)
    if download:
        builder.download_and_prepare()
    if not builder.is_prepared():
        fix = (
            "Name the folder that has it (--data-dir DIR, here `data_dir`), or let TensorFlow Datasets fetch it "
            "from the internet (--download, here `download=True`)."
        )
        raise FileNotFoundError(expected(f"{name} prepared by TensorFlow Datasets", f"none in {builder.data_dir}", fix))
    return builder


def _arrays(builder, split):
    import tensorflow_datasets as tfds

    # One batch of everything, in file order: the seed alone decides what is shuffled.
    dataset = builder.as_dataset(split=split, batch_size=-1, shuffle_files=False, as_supervised=True)
    x, y = tfds.as_numpy(dataset)
    return x.astype("float32") / np.float32(255.0), y.astype("int32")
