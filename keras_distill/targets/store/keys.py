"""Keys: what identifies an example, either an id from the data set or a hash of the inputs."""

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor

_BYTES = 16


def key_of(inputs: Any) -> np.ndarray:
    """Return the key of one example: 128 bits of a hash of its inputs.

    Args:
        inputs: Array, or a nest of arrays, without a batch axis.

    Returns:
        uint64 array `[2]`.

    Example:

    >>> key_of(np.zeros(3)).tolist() == key_of(np.zeros((3, 1))).tolist()
    False
    """
    leaves = [np.asarray(leaf)[None] for leaf in keras.tree.flatten(inputs)]
    if not leaves or not all(_has_bytes(leaf) for leaf in leaves):
        raise ValueError(expected("an array of numbers or text, or a nest of them", f"{inputs!r:.200}"))
    return content_keys(names_of(inputs), leaves)[0]


def _has_bytes(array: np.ndarray) -> bool:
    """Return whether the elements of an array are numbers or text, rather than Python objects of another kind."""
    return array.dtype.kind != "O" or all(isinstance(each, (str, bytes)) for each in array.flat)


def names_of(inputs: Any) -> list[str]:
    """Return the name of each leaf of a nest, in the order in which the nest is flattened."""
    return ["/".join(map(str, path)) for path, _ in keras.tree.flatten_with_path(inputs)]


def content_keys(
    names: Sequence[str], leaves: Sequence[np.ndarray], lengths: np.ndarray | None = None, longest: int | None = None
) -> np.ndarray:
    """Return keys that hash the inputs of a batch: the name, dtype, shape and bytes of every leaf.

    Args:
        names: Names of the leaves.
        leaves: Arrays `[batch, ...]`.
        lengths: Int array `[batch]`, the length of each example. Elements beyond it along the first axis are padding
            and are not hashed. Defaults to `None`.
        longest: Length that all examples are padded to. Leaves without an axis of this length are hashed whole.
            Defaults to `None`.

    Returns:
        uint64 array `[batch, 2]`.
    """
    leaves = [np.ascontiguousarray(leaf, object if leaf.dtype.kind in "SU" else None) for leaf in leaves]
    padded = [leaf.ndim > 1 and leaf.shape[1] == longest for leaf in leaves]
    heads = [f"{name} {leaf.dtype.str}".encode() for name, leaf in zip(names, leaves, strict=True)]
    digests = []
    for row in range(len(leaves[0])):
        digest = hashlib.blake2b(digest_size=_BYTES)
        for head, leaf, cut in zip(heads, leaves, padded, strict=True):
            if lengths is not None and cut:
                example = leaf[row, : lengths[row]]
            else:
                example = np.asarray(leaf[row], leaf.dtype)
            digest.update(head + str(example.shape).encode())
            digest.update(_to_bytes(example))
        digests.append(digest.digest())
    return _to_integers(digests)


def id_keys(ids: Any) -> np.ndarray:
    """Return keys that hash the ids of a batch.

    Args:
        ids: Array `[batch]` of integers or strings.

    Returns:
        uint64 array `[batch, 2]`.

    Raises:
        ValueError: If the ids are neither integers nor strings, or there is not one for each example.
    """
    ids = np.asarray(ids)
    if ids.ndim != 1 or ids.dtype.kind not in "iuOSU":
        raise ValueError(expected("one integer or string as the key of each example", f"{ids.dtype} {ids.shape}"))
    numbers = ids.dtype.kind in "iu"
    # Ids are hashed too, so that all keys are spread evenly.
    texts = (b"i%d" % int(each) if numbers else b"s" + _encode(each) for each in ids)
    return _to_integers([hashlib.blake2b(text, digest_size=_BYTES).digest() for text in texts])


def lengths_of(leaf: Any, padding: float) -> np.ndarray:
    """Return the length of each sequence, up to its last element that is not padding.

    Args:
        leaf: Array `[batch, length]`.
        padding: Value that fills up the shorter sequences.

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


def digest(keys: np.ndarray) -> str:
    """Return a hash of all keys of a store, in their order, as hexadecimal text."""
    return hashlib.blake2b(np.ascontiguousarray(keys, "<u8").tobytes(), digest_size=_BYTES).hexdigest()


def text_of(key: np.ndarray) -> str:
    """Return a key as hexadecimal text, for messages."""
    return f"{int(key[0]):016x}{int(key[1]):016x}"


@dataclasses.dataclass(frozen=True)
class Keying:
    """Compute the keys of examples, and the lengths of padded sequences, inside a `tf.data` pipeline.

    Attributes:
        key: `None` for a hash of the inputs; the name of the ids among the inputs or in the fourth part of an element;
            or a function of the parts of an element that returns the ids as a tensor. Defaults to `None`.
        padding: Value that fills up sequences, or a dict of the name of one input to that value. Defaults to `None`,
            all examples have the same length.

    Raises:
        ValueError: If an attribute has the wrong type.
    """

    key: str | Callable | None = None
    padding: float | dict[str, float] | None = None

    def __post_init__(self):
        if not (self.key is None or isinstance(self.key, str) or callable(self.key)):
            raise ValueError(expected("key to be None, a name or a function", f"key={self.key!r}"))
        if isinstance(self.padding, dict) and len(self.padding) != 1:
            raise ValueError(expected("padding to be a number, or a dict of one input", f"padding={self.padding!r}"))

    def to_dict(self) -> dict[str, Any]:
        """Return the record for the manifest."""
        kind = "content" if self.key is None else "column" if isinstance(self.key, str) else "function"
        name = getattr(self.key, "__qualname__", type(self.key).__name__) if kind == "function" else self.key
        return {"kind": kind, "name": name, "padding": self.padding}

    def split(self, element: Any) -> tuple[Any, Tensor | None]:
        """Return the inputs of an element without the ids, and the ids or `None`."""
        x, _, _, extras = unpack(element)
        if self.key is None:
            return x, None
        if callable(self.key):
            return x, self.key(*element) if isinstance(element, tuple) else self.key(element)
        if self.key in extras:
            return x, extras[self.key]
        if isinstance(x, dict) and self.key in x:
            return {name: leaf for name, leaf in x.items() if name != self.key}, x[self.key]
        names = [*extras, *(x if isinstance(x, dict) else ())]
        received = f"elements with {', '.join(names)}" if names else "elements without names"
        raise ValueError(expected(f"the ids {self.key!r} among the inputs or in a fourth part", received))

    def padded_leaf(self, x: Any) -> tuple[int, float | None]:
        """Return which of the flattened inputs holds the padded sequences, and the padding value."""
        if not isinstance(self.padding, dict):
            return 0, self.padding
        ((name, padding),) = self.padding.items()
        names = names_of(x)
        if name not in names:
            raise ValueError(expected(f"padding of one of {', '.join(names)}", f"padding={self.padding!r}"))
        return names.index(name), padding

    def compute(self, x: Any, ids: Tensor | None, batched: bool = True) -> tuple[Tensor, Tensor | None]:
        """Compute the keys of a batch or of one example, in a graph.

        Args:
            x: Inputs without ids.
            ids: Tensor of ids, or `None`.
            batched: Whether there is a batch axis. Defaults to `True`; one example counts as a batch of one.

        Returns:
            uint64 tensor `[batch, 2]`, and int64 lengths `[batch]`, or `None` without padding.
        """
        import tensorflow as tf

        names, leaves = names_of(x), keras.tree.flatten(x)
        leaf, padding = self.padded_leaf(x)

        def run(*given: Any) -> Any:
            # A string alone comes as bytes, those of a batch as an array of objects.
            arrays = [np.asarray(each, object if isinstance(each, bytes) else None) for each in given]
            arrays = arrays if batched else [each[None] for each in arrays]
            own_ids = arrays.pop() if ids is not None else None
            lengths = None if padding is None else lengths_of(arrays[leaf], padding)
            if own_ids is not None:
                found = id_keys(own_ids)
            else:
                found = content_keys(names, arrays, lengths, None if lengths is None else arrays[leaf].shape[1])
            return found if lengths is None else (found, lengths)

        kinds = tf.uint64 if padding is None else (tf.uint64, tf.int64)
        given = [*leaves, *([] if ids is None else [ids])]
        found = tf.numpy_function(guards.marked(run), given, kinds, stateful=False)
        keys, lengths = (found, None) if padding is None else found
        size = leaves[0].shape[0] if batched else 1
        keys.set_shape((size, 2))
        if lengths is not None:
            lengths.set_shape((size,))
        return keys, lengths


def _to_bytes(example: np.ndarray) -> Any:
    if example.dtype.kind != "O":
        return np.ascontiguousarray(example).data.cast("B") if example.size else b""
    texts = [_encode(each) for each in example.ravel()]
    return b"".join(len(text).to_bytes(8, "little") + text for text in texts)


def _encode(text: Any) -> bytes:
    return text if isinstance(text, bytes) else str(text).encode()


def _to_integers(digests: list[bytes]) -> np.ndarray:
    return np.frombuffer(b"".join(digests), "<u8").reshape(-1, 2)
