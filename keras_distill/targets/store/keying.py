"""Where the key of an example comes from, and taking it inside a `tf.data` pipeline."""

import dataclasses
from collections.abc import Callable

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.targets.store import keys


@dataclasses.dataclass(frozen=True)
class Keying:
    """Take keys, and the lengths of padded sequences, out of the elements of a data set.

    Attributes:
        key: `None` for a hash of the inputs; a string, the name of the ids among the inputs or in the fourth part of
            an element; or a function of the parts of an element that returns the ids as a tensor.
        padding: Value that fills up sequences, or a dict of the name of the input that says so to that value; `None`
            where every example has the same length.
    """

    key: str | Callable | None = None
    padding: float | dict | None = None

    def __post_init__(self):
        if not (self.key is None or isinstance(self.key, str) or callable(self.key)):
            raise ValueError(expected("key to be None, a name or a function", f"key={self.key!r}"))
        if isinstance(self.padding, dict) and len(self.padding) != 1:
            raise ValueError(expected("padding to be a number, or a dict of one input", f"padding={self.padding!r}"))

    def to_dict(self):
        """Return what the manifest says of it."""
        kind = "content" if self.key is None else "column" if isinstance(self.key, str) else "function"
        name = getattr(self.key, "__qualname__", type(self.key).__name__) if kind == "function" else self.key
        return {"kind": kind, "name": name, "padding": self.padding}

    def split(self, element):
        """Return the inputs of an element without ids, and the ids or `None`."""
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
        received = f"elements with {', '.join(names) or 'none'}"
        raise ValueError(expected(f"the ids {self.key!r} among the inputs or in a fourth part", received))

    def padded_leaf(self, x):
        """Return the index, among the flat inputs, of the sequences that tell their lengths, and their padding."""
        if not isinstance(self.padding, dict):
            return 0, self.padding
        ((name, padding),) = self.padding.items()
        names = keys.names_of(x)
        if name not in names:
            raise ValueError(expected(f"padding of one of {', '.join(names)}", f"padding={self.padding!r}"))
        return names.index(name), padding

    def of(self, x, ids, batched=True):
        """Return the keys of a batch, or of one example, in a graph.

        Args:
            x: Inputs without ids.
            ids: Tensor of ids, or `None`.
            batched: Whether there is a batch axis. Defaults to `True`.

        Returns:
            uint64 tensor `[batch, 2]`, and int64 lengths `[batch]` (`None` without padding); one example is a batch
            of one.
        """
        import tensorflow as tf

        names, leaves = keys.names_of(x), keras.tree.flatten(x)
        leaf, padding = self.padded_leaf(x)

        def run(*arrays):
            arrays = [np.asarray(array) if batched else np.asarray(array)[None] for array in arrays]
            given = arrays.pop() if ids is not None else None
            lengths = None if padding is None else keys.lengths_of(arrays[leaf], padding)
            if given is not None:
                found = keys.id_keys(given)
            else:
                found = keys.content_keys(names, arrays, lengths, None if lengths is None else arrays[leaf].shape[1])
            return found if lengths is None else (found, lengths)

        kinds = tf.uint64 if padding is None else (tf.uint64, tf.int64)
        given = [*leaves, *([] if ids is None else [ids])]
        found = tf.numpy_function(guards.marked(run), given, kinds, stateful=False)
        found = (found, None) if padding is None else found
        size = leaves[0].shape[0] if batched else 1
        found[0].set_shape((size, 2))
        if found[1] is not None:
            found[1].set_shape((size,))
        return found
