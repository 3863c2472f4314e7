"""Make views in a process of its own and print a hash of each; imported by the tests for the same replays."""

import functools
import hashlib
import sys

import keras
import numpy as np
import tensorflow as tf

from keras_distill import targets
from keras_distill.targets.store.keys import content_keys

EXAMPLES, SIDE = 300, 12


def images():
    generator = np.random.default_rng(5)
    x = generator.uniform(size=(EXAMPLES, SIDE, SIDE, 3)).astype("float32")
    return x, generator.integers(0, 4, EXAMPLES).astype("int32")


def jitter(x, seed, strength=0.2):
    x = tf.image.stateless_random_flip_left_right(x, seed)
    x = tf.image.stateless_random_brightness(x, strength, seed + 1)
    x = tf.image.stateless_random_contrast(x, 0.5, 1.5, seed + 2)
    return tf.image.stateless_random_crop(x, (10, 10, 3), seed + 3)


def layers():
    inside = [keras.layers.RandomFlip(), keras.layers.RandomTranslation(0.2, 0.2), keras.layers.RandomRotation(0.1)]
    return [*inside, keras.layers.RandomCrop(10, 10), keras.layers.RandomBrightness(0.3, value_range=(0, 1))]


def replays(arrays):
    return {
        "functions": targets.Replay(jitter, views=3, seed=7),
        "layers": targets.Replay(keras.Sequential(layers()), views=3, seed=7),
        "mixup": targets.Replay(jitter, views=3, mix="mixup", alpha=0.4, classes=4, partners=arrays),
        "cutmix": targets.Replay(functools.partial(jitter, strength=0.1), 3, mix="cutmix", classes=4, partners=arrays),
    }


def hashes(replay, dataset, view):
    """Return the hash of each view by the row of its example."""
    found = {}
    for x, _, _, extras in replay.views(dataset, view=view, batched=False).batch(64):
        for row, key in zip(extras["row"].numpy(), content_keys(["0"], [x.numpy()]), strict=True):
            found[int(row)] = f"{int(key[0]):x}{int(key[1]):x}"
    return found


def examples(arrays, order, parallel):
    x, y = arrays
    rows = tf.data.Dataset.from_tensor_slices(order)

    def element(row):
        return tf.gather(x, row), tf.gather(y, row), tf.ones(()), {"row": row}

    return rows.map(element, num_parallel_calls=parallel)


def main():
    arrays = images()
    order = np.random.default_rng(1).permutation(EXAMPLES)
    for name, replay in replays(arrays).items():
        for view in (2, 0, 1):
            found = hashes(replay, examples(arrays, order, 4), view)
            print(name, view, hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest())


if __name__ == "__main__":
    sys.exit(main())
