"""The pipeline of a replay: keys of examples, seeds that follow from them, views, and what these are known by."""

import dataclasses

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.targets.replay import augmentation
from keras_distill.targets.replay.mixing import mixed, mixed_labels
from keras_distill.targets.store.keying import Keying
from keras_distill.targets.store.keys import content_keys, names_of
from keras_distill.targets.writing import sources

VIEW = "view"
"""Name of the part of an element that says which view it is, until it is joined."""


@dataclasses.dataclass(frozen=True)
class ViewKeying(Keying):
    """Know a view by 64 bits of its example, its number and the seed, and 64 bits of its pixels.

    Attributes:
        inner: `Keying` of the examples themselves.
    """

    inner: Keying = Keying()

    def __init__(self, inner):
        super().__init__()
        object.__setattr__(self, "inner", inner)

    def to_dict(self):
        """Return what the manifest says of it: how the examples are known."""
        return self.inner.to_dict()

    def split(self, element):
        """Return the inputs of a view, and its identity."""
        x, _, _, extras = unpack(element)
        if VIEW not in extras:
            raise ValueError(expected("views for a store of views", "a data set as it is", "Pass `replay=`."))
        return x, extras[VIEW]["identity"]

    def of(self, x, ids, batched=True):
        """Return the keys of a batch of views, uint64 `[batch, 2]`, and `None`."""
        import tensorflow as tf

        names, leaves = names_of(x), keras.tree.flatten(x)

        def run(identities, *arrays):
            arrays = [np.asarray(array) if batched else np.asarray(array)[None] for array in arrays]
            return np.stack([np.reshape(identities, [-1]), content_keys(names, arrays)[:, 1]], axis=1)

        found = tf.numpy_function(guards.marked(run), [ids, *leaves], tf.uint64, stateful=False)
        found.set_shape((leaves[0].shape[0] if batched else 1, 2))
        return found, None


class Making:
    """The steps of the pipeline: seeds for each example, and its view."""

    def __init__(self, replay, keying, partners, augment, with_labels):
        self._replay, self._keying, self._partners, self._augment = replay, keying, partners, augment
        self._with_labels = with_labels

    def stream(self, dataset, passes, at_random):
        import tensorflow as tf

        as_it_is = tf.autograph.experimental.do_not_convert
        spec = sources.inputs_spec(dataset, self._keying)
        augmentation.check(self._augment, keras.tree.map_structure(_of_example, spec))
        options = tf.data.Options()
        options.deterministic = True

        def one_pass(epoch):
            seeded = dataset.map(as_it_is(lambda *element: self._seeded(epoch, at_random, element)))
            return seeded.unbatch().map(as_it_is(self._view), num_parallel_calls=tf.data.AUTOTUNE)

        return passes.flat_map(as_it_is(one_pass)).with_options(options)

    def _seeded(self, epoch, at_random, element):
        import tensorflow as tf

        element = element[0] if len(element) == 1 else element
        inputs, ids = self._keying.split(element)
        found, _ = self._keying.of(inputs, ids)
        # A teacher is asked about inputs alone; labels that cannot be mixed are nothing to it.
        _, y, sample_weight, extras = unpack(element) if self._with_labels else (None, None, None, {})
        count = 0 if self._partners is None else self._partners.count
        run, kinds = guards.marked(self._replay.draw), (tf.uint64, tf.int64, tf.int64, tf.int32)
        drawn = tf.numpy_function(run, [found, epoch, at_random, count], kinds, stateful=False)
        for tensor, shape in zip(drawn, ((), (), (), (6,)), strict=True):
            tensor.set_shape((found.shape[0], *shape))
        return inputs, y, sample_weight, extras, tuple(drawn)

    def _view(self, x, y, sample_weight, extras, drawn):
        identity, number, partner, words = drawn
        x = self._augment(x, words[:2])
        if self._partners is not None:
            other, label = self._partners(partner)
            x, share = mixed(self._replay.mix, x, self._augment(other, words[2:4]), self._replay.alpha, words[4:])
            y = mixed_labels(y, label, share, self._replay.classes)
        return x, y, sample_weight, {**extras, VIEW: {"identity": identity, "number": number}}


def _of_example(spec):
    import tensorflow as tf

    return tf.TensorSpec(spec.shape[1:], spec.dtype)


def may_be_batched(spec):
    """Tell whether examples are of one shape, so that they may come in batches."""
    import tensorflow as tf

    leaves = tf.nest.flatten(spec)
    return all(
        isinstance(leaf, tf.NoneTensorSpec) or isinstance(leaf, tf.TensorSpec) and leaf.shape.is_fully_defined()
        for leaf in leaves
    )
