"""A store on a remote file system, which maps nothing into memory: `ram://`, TensorFlow's file system in memory."""

import numpy as np
import pytest
import tensorflow as tf

from keras_distill import targets
from keras_distill.targets.writing.locking import only_writer


@pytest.fixture
def folder(request):
    path = f"ram://{request.node.name}"
    yield path
    if tf.io.gfile.exists(path):
        tf.io.gfile.rmtree(path)


def test_the_same_store(folder, store, teacher, dataset, arrays):
    path = f"{folder}/store"
    options = {"dtype": "float32", "shard_size": 16, "features": ["hidden"]}
    remote = targets.write(teacher, dataset, path, **options)
    np.testing.assert_array_equal(remote[:]["values"], store[:]["values"])
    order = np.random.default_rng(0).permutation(100)
    np.testing.assert_array_equal(remote[order]["values"], store[order]["values"])
    assert len(remote._open) == 4  # Of seven shards.
    for (_, _, _, extras), (_, _, _, local) in zip(remote.join(dataset), store.join(dataset), strict=True):
        np.testing.assert_array_equal(extras["soft_targets"]["values"], local["soft_targets"]["values"])
    assert targets.write(teacher, dataset, path, **options).fingerprint == remote.fingerprint
    with tf.io.gfile.GFile(f"{path}/shard-00003/values.npy", "rb") as file:
        content = file.read()
    tf.io.gfile.remove(f"{path}/shard-00003/values.npy")
    with tf.io.gfile.GFile(f"{path}/shard-00003/values.npy", "wb") as file:
        file.write(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ValueError, match="SHA-256"):
        targets.open(path, check="all")


def test_a_second_writer_is_refused(folder, teacher, dataset):
    tf.io.gfile.makedirs(folder)
    with only_writer(folder):
        with pytest.raises(FileExistsError, match="If it no longer runs, remove ram://"):
            targets.write(teacher, dataset, folder)
    assert len(targets.write(teacher, dataset, folder)) == 100
