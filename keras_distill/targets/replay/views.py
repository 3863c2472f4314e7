"""The pipeline of a replay: keys of examples, seeds that follow from them, and views with keys of their own."""

import dataclasses
from collections.abc import Callable
from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import unpack
from keras_distill._core.messages import expected
from keras_distill.answers.answer import Tensor
from keras_distill.targets.replay import augmentation
from keras_distill.targets.replay.mixing import Partners, mix, mix_labels
from keras_distill.targets.store.keys import Keying, content_keys, names_of
from keras_distill.targets.writing.sources import Dataset, inputs_spec, keep_order, unwrap

VIEW = "view"
"""Key of the view's number and identity among the extras of an element, until the element is joined."""


@dataclasses.dataclass(frozen=True)
class ViewKeying(Keying):
    """Compute the keys of views: 64 bits for the example, the view's number and the seed, and 64 bits for the pixels.

    Attributes:
        inner: `Keying` of the examples.
    """

    inner: Keying = Keying()

    def to_dict(self) -> dict[str, Any]:
        """Return the record for the manifest: how the examples are identified."""
        return self.inner.to_dict()

    def split(self, element: Any) -> tuple[Any, Tensor]:
        """Return the inputs of a view, and its identity."""
        x, _, _, extras = unpack(element)
        if VIEW not in extras:
            raise ValueError(expected("views for a store of views", "a data set without views", "Pass `replay=`."))
        return x, extras[VIEW]["identity"]

    def compute(self, x: Any, ids: Tensor, batched: bool = True) -> tuple[Tensor, None]:
        """Compute the keys of a batch of views in a graph, uint64 `[batch, 2]`; the second value is `None`."""
        import tensorflow as tf

        names, leaves = names_of(x), keras.tree.flatten(x)

        def run(identities: Any, *given: Any) -> Any:
            arrays = [np.asarray(array) if batched else np.asarray(array)[None] for array in given]
            return np.stack([np.reshape(identities, [-1]), content_keys(names, arrays)[:, 1]], axis=1)

        keys = tf.numpy_function(guards.marked(run), [ids, *leaves], tf.uint64, stateful=False)
        keys.set_shape((leaves[0].shape[0] if batched else 1, 2))
        return keys, None


@dataclasses.dataclass(frozen=True, eq=False)
class ViewMaker:
    """Make the views of a data set: draw seeds for each example, then apply the augmentation.

    Attributes:
        replay: The `Replay`.
        keying: `Keying` of the examples.
        partners: `Partners` to mix with, or `None`.
        augment: Function `(x, seed) -> x` of one example.
        with_labels: Whether to keep labels, weights and extras beside the inputs.
    """

    replay: Any
    keying: Keying
    partners: Partners | None
    augment: Callable[[Any, Tensor], Any]
    with_labels: bool

    def apply(self, dataset: Dataset, passes: Dataset, at_random: bool) -> Dataset:
        """Return the views of a batched data set one by one.

        Args:
            dataset: A `tf.data.Dataset` of batches.
            passes: A `tf.data.Dataset` of the numbers of the passes to make.
            at_random: Whether to draw the view of each example, rather than take it from the number of the pass.
        """
        import tensorflow as tf

        as_is = tf.autograph.experimental.do_not_convert
        spec = keras.tree.map_structure(
            lambda each: tf.TensorSpec(each.shape[1:], each.dtype), inputs_spec(dataset, self.keying)
        )
        augmentation.check_seeded(self.augment, spec)

        def make_pass(epoch: Any) -> Any:
            drawn = dataset.map(as_is(lambda *element: self._draw(epoch, at_random, element)))
            return drawn.unbatch().map(as_is(self._make_view), num_parallel_calls=tf.data.AUTOTUNE)

        return keep_order(passes.flat_map(as_is(make_pass)))

    def _draw(self, epoch: Tensor, at_random: bool, element: tuple) -> tuple:
        import tensorflow as tf

        element = unwrap(element)
        inputs, ids = self.keying.split(element)
        keys, _ = self.keying.compute(inputs, ids)
        # A teacher needs the inputs alone, so labels that cannot be mixed do no harm there.
        _, y, sample_weight, extras = unpack(element) if self.with_labels else (None, None, None, {})
        count = 0 if self.partners is None else self.partners.count
        run, kinds = guards.marked(self.replay.draw), (tf.uint64, tf.int64, tf.int64, tf.int32)
        drawn = tf.numpy_function(run, [keys, epoch, at_random, count], kinds, stateful=False)
        for tensor, shape in zip(drawn, ((), (), (), (6,)), strict=True):
            tensor.set_shape((keys.shape[0], *shape))
        return inputs, y, sample_weight, extras, tuple(drawn)

    def _make_view(self, x: Any, y: Any, sample_weight: Any, extras: dict[str, Any], drawn: tuple) -> tuple:
        identity, number, partner, words = drawn
        x = self.augment(x, words[:2])
        if self.partners is not None:
            other, label = self.partners(partner)
            x, share = mix(self.replay.mix, x, self.augment(other, words[2:4]), self.replay.alpha, words[4:])
            y = mix_labels(y, label, share, self.replay.classes)
        return x, y, sample_weight, {**extras, VIEW: {"identity": identity, "number": number}}
