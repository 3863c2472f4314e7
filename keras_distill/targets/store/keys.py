"""What an example is known by: an id of its own, or a hash of its inputs."""

import hashlib

import keras
import numpy as np

from keras_distill._core.messages import expected

_BYTES = 16


def key_of(inputs):
    """Return the key of one example: 128 bits of a hash of its inputs.

    Args:
        inputs: Array, or a nest of them, without a batch axis.

    Returns:
        uint64 array `[2]`.

    Example:

    >>> key_of(np.zeros(3)).tolist() == key_of(np.zeros((3, 1))).tolist()
    False
    """
    leaves = [np.asarray(leaf)[None] for leaf in keras.tree.flatten(inputs)]
    return content_keys(names_of(inputs), leaves)[0]


def names_of(inputs):
    """Return the name of each leaf of a nest, in the order in which it is flattened."""
    return ["/".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(inputs)]


def content_keys(names, leaves, lengths=None, longest=None):
    """Return the keys of a batch of examples by their inputs: dtype, shape and bytes of every leaf by its name.

    Args:
        names: Names of the leaves.
        leaves: Arrays `[batch, ...]`.
        lengths: Length of each example, int array `[batch]`: what is beyond it along the first axis is padding, and
            not part of the example. Defaults to `None`.
        longest: Length that all are padded to. Leaves without that axis are taken whole. Defaults to `None`.

    Returns:
        uint64 array `[batch, 2]`.
    """
    leaves = [np.ascontiguousarray(leaf) for leaf in leaves]
    padded = [lengths is not None and leaf.ndim > 1 and leaf.shape[1] == longest for leaf in leaves]
    heads = [f"{name} {leaf.dtype.str}".encode() for name, leaf in zip(names, leaves, strict=True)]
    digests = []
    for row in range(len(leaves[0])):
        digest = hashlib.blake2b(digest_size=_BYTES)
        for head, leaf, cut in zip(heads, leaves, padded, strict=True):
            example = leaf[row, : lengths[row]] if cut else np.asarray(leaf[row], leaf.dtype)
            digest.update(head + str(example.shape).encode())
            digest.update(_bytes(example))
        digests.append(digest.digest())
    return _as_integers(digests)


def id_keys(ids):
    """Return the keys of a batch of examples by ids of their own.

    Args:
        ids: Array `[batch]` of integers or of strings.

    Returns:
        uint64 array `[batch, 2]`.

    Raises:
        ValueError: If the ids are neither, or not one for each example.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iuOSU":
        raise ValueError(expected("one integer or string as the key of each example", f"{ids.dtype} {ids.shape}"))
    numbers = ids.dtype.kind in "iu"
    # Hashed too, so that all keys are spread evenly, whatever they are made of.
    texts = (b"i%d" % int(each) if numbers else b"s" + _encoded(each) for each in ids)
    return _as_integers([hashlib.blake2b(text, digest_size=_BYTES).digest() for text in texts])


def lengths_of(leaf, padding):
    """Return the length of each sequence: up to its last element that is not padding.

    Args:
        leaf: Array `[batch, length]`.
        padding: Value that fills up what is shorter than the longest.

    Returns:
        int64 array `[batch]`.

    Example:

    >>> lengths_of(np.array([[5, 0, 7, 0, 0], [0, 0, 0, 0, 0]]), 0).tolist()
    [3, 0]
    """
    content = np.asarray(leaf) != padding
    if content.ndim != 2:
        raise ValueError(expected("sequences `[batch, length]` where `padding` is given", f"shape {content.shape}"))
    return np.where(content.any(axis=1), content.shape[1] - np.argmax(content[:, ::-1], axis=1), 0)


def text_of(key):
    """Return a key as messages show it."""
    return f"{int(key[0]):016x}{int(key[1]):016x}"


def _bytes(example):
    if example.dtype.kind != "O":
        return np.ascontiguousarray(example).data.cast("B") if example.size else b""
    texts = [_encoded(each) for each in example.ravel()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)


def _encoded(text):
    return text if isinstance(text, bytes) else str(text).encode()


def _as_integers(digests):
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
