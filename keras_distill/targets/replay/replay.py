"""Augmentation replay: views of examples kept as seeds, and made again, bit for bit, wherever they are needed."""

import hashlib
import itertools

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.messages import expected, unknown_name
from keras_distill.targets.replay import augmentation
from keras_distill.targets.replay.mixing import MIXES, Partners
from keras_distill.targets.replay.views import VIEW, Making, may_be_batched
from keras_distill.targets.store.keying import Keying
from keras_distill.targets.writing import sources

_CHUNK = 64  # Examples whose seeds are drawn at once where they come one by one.


class Replay:
    """Make M views of each example, each of which follows from the example's key, its own number and a seed.

    A teacher is asked about the views, and a student sees the very same ones: `write(..., replay=replay)` stores an
    answer for each, `store.join(dataset, replay=replay)` makes the views again and finds their answers. Nothing of a
    view is stored but 64 bits of a hash of its pixels, half of its key: one that comes out differently is not paired
    with anything. Views do not depend on order, batches, threads or processes; that the same one comes out elsewhere
    takes the same library on a machine that rounds alike.

    Args:
        augment_fn: A function `(x, seed) -> x` of one example and an int32 tensor `[2]`, such as those of
            `tf.image.stateless_random_*`; or a Keras layer, a `keras.Sequential` or a list of layers, whose own seeds
            do not count. Defaults to `None`, mixing alone.
        views: Number of views of each example, M. Defaults to 4.
        seed: Integer seed. Defaults to 0.
        mix: `"mixup"` or `"cutmix"`: each view is mixed with a view of another example, that the seed names. Defaults
            to `None`.
        alpha: Shares of a mixture are drawn from Beta(alpha, alpha). Defaults to 1.0.
        classes: Number of classes, to mix sparse labels: they come as float `[classes]`. Defaults to `None`.
        partners: What is mixed with: arrays `x` or `(x, y)`, or a function of a number that returns one or the other as
            tensors. Defaults to `None`: the data set itself, which must be arrays.
        count: Number of examples that such a function finds. Defaults to `None`.

    Raises:
        ValueError: If an argument is not what it should be.

    Example:

    >>> replay = Replay(keras.layers.RandomFlip(), views=2, seed=1)
    >>> x = np.arange(32.0, dtype="float32").reshape(2, 4, 4, 1)
    >>> once, again = ([view[0].numpy() for view in replay.views(each, view=0)] for each in (x, x[::-1]))
    >>> bool((once[0] == again[0][::-1]).all())
    True

    Reference:
        Wu, Zhang, Peng, Liu, Xiao, Fu, Yuan, "TinyViT: Fast Pretraining Distillation for Small Vision Transformers",
        2022, arXiv:2207.10666; Shen, Xing, "A Fast Knowledge Distillation Framework for Visual Recognition", 2021,
        arXiv:2112.01528.
    """

    def __init__(
        self, augment_fn=None, views=4, seed=0, *, mix=None, alpha=1.0, classes=None, partners=None, count=None
    ):
        for name, value, low in (("views", views, 1), ("seed", seed, 0), ("classes", classes or 1, 1)):
            if isinstance(value, bool) or not isinstance(value, int) or value < low:
                raise ValueError(expected(f"{name} to be a whole number >= {low}", f"{name}={value!r}"))
        if mix is not None and mix not in MIXES:
            raise ValueError(unknown_name("mix", mix, MIXES))
        if isinstance(alpha, bool) or not isinstance(alpha, (int, float)) or not 0.0 < alpha < float("inf"):
            raise ValueError(expected("a finite alpha > 0", f"alpha={alpha!r}"))
        if mix is None and augment_fn is None:
            raise ValueError(expected("augment_fn, mix or both", "neither"))
        self._augment, self._source = augmentation.stateless(augment_fn), augment_fn
        self.per_example, self.seed, self.mix, self.alpha, self.classes = views, seed, mix, float(alpha), classes
        self._partners = None if partners is None else Partners(partners, count)

    def to_dict(self):
        """Return what a manifest says of it."""
        record = {"augment": augmentation.record_of(self._source), "views": self.per_example, "seed": self.seed}
        return {**record, "mix": self.mix, "alpha": self.alpha if self.mix else None}

    def views(self, dataset, view="cycle", key=None, batch_size=None, batched=None, first_epoch=0):
        """Make the views of a data set, without a store: for a teacher that is run beside the student.

        Args:
            dataset: A `tf.data.Dataset` of examples or of batches, a `keras.utils.PyDataset`, or arrays.
            view: `"cycle"`: the first view in the first pass over it, the second in the second; `"random"`: one drawn
                for each example and pass by the seed; or the number of one. Defaults to `"cycle"`.
            key: As for `write`. Defaults to `None`, a hash of the inputs.
            batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.
            batched: Whether the data set is of batches. Defaults to `None`, found out.
            first_epoch: Number of the first pass, to go on with training. Defaults to 0.

        Returns:
            A `tf.data.Dataset` of `(x, y, sample_weight, extras)`, in batches where the data set is.
        """
        keying = Keying(key)
        stream, size = self.keyed(dataset, keying, None, view, batch_size, batched, first_epoch)

        def plain(x, y, sample_weight, extras):
            return x, y, sample_weight, {name: part for name, part in extras.items() if name != VIEW}

        stream = stream.map(plain)
        return stream if size is None else stream.batch(size)

    def keyed(
        self, dataset, keying, ranks=None, view="cycle", batch_size=None, batched=None, first_epoch=0, examples=None
    ):
        """Return the views of a data set one by one with what they are known by, and the size of its batches or `None`.

        Args:
            dataset: See `views`.
            keying: `Keying` of the examples themselves.
            ranks: Number of axes of each input of an example, `None` where that is not known. Defaults to `None`.
            view: See `views`, or `"all"`: those of each number one after the other, as they are stored.
            batch_size: See `views`.
            batched: See `views`.
            first_epoch: See `views`.
            examples: Arrays of which partners are taken where the replay has none. Defaults to `None`, the data set.
        """
        if keying.padding is not None:
            raise ValueError(expected("no `padding` with a replay", f"padding={keying.padding!r}"))
        partners, given = self._partners, dataset if examples is None else examples
        if self.mix is not None and partners is None:
            partners = Partners(given)
        dataset, known = sources.as_dataset(dataset, batch_size)
        batched = next((each for each in (known, batched) if each is not None), None)
        batched = sources.is_batched(dataset, keying, ranks) if batched is None else batched
        size, total = _sizes(dataset, batched)
        if not hasattr(given, "element_spec") and not isinstance(given, keras.utils.PyDataset):
            total = len(keras.tree.flatten(given)[0])
        if not batched:
            dataset = dataset.batch(_CHUNK if may_be_batched(dataset.element_spec) else 1)
        making = Making(self, keying, partners, self._augment, with_labels=view != "all")
        stream = making.stream(dataset, self._passes(view, first_epoch), view == "random")
        return (stream if total is None else _known(stream, total * (self.per_example if view == "all" else 1))), size

    def _passes(self, view, first_epoch):
        """Return a data set of the numbers of the passes that one pass over the views is made of."""
        import tensorflow as tf

        if view == "all":
            return tf.data.Dataset.range(self.per_example)
        if view in ("cycle", "random"):
            passed = itertools.count(first_epoch)  # Goes on whenever somebody begins to read.
            spec = tf.TensorSpec((), tf.int64)
            return tf.data.Dataset.from_generator(lambda: iter([next(passed)]), output_signature=spec)
        if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < self.per_example:
            raise ValueError(
                expected(f'view to be "cycle", "random" or from 0 to {self.per_example - 1}', f"view={view!r}")
            )
        return tf.data.Dataset.from_tensors(tf.constant(view, tf.int64))

    def draw(self, keys, epoch, at_random, count):
        """Return what follows from the keys of examples and the number of a pass.

        Args:
            keys: uint64 array `[batch, 2]`.
            epoch: Number of the pass.
            at_random: Whether the view is drawn for each example.
            count: Number of partners.

        Returns:
            Identities uint64 `[batch]`, numbers of the views int64 `[batch]`, those of the partners int64 `[batch]`,
            and seeds int32 `[batch, 6]`.
        """
        numbers = np.full(len(keys), int(epoch) % self.per_example, "int64")
        if at_random:
            chosen = [_digest(key, b"pass", int(epoch), self.seed)[:8] for key in keys]
            numbers = (np.frombuffer(b"".join(chosen), "<u8") % np.uint64(self.per_example)).astype("int64")
        drawn = (_digest(key, b"view", int(number), self.seed) for key, number in zip(keys, numbers, strict=True))
        words = np.frombuffer(b"".join(drawn), "<u8").reshape(-1, 8)
        partner = (words[:, 1] % np.uint64(max(int(count), 1))).astype("int64")
        return words[:, 0], numbers, partner, np.ascontiguousarray(words[:, 2:5]).view("<i4")


def _digest(key, what, number, seed):
    text = b"%s %d %d" % (what, number, seed)
    return hashlib.blake2b(np.asarray(key, "<u8").tobytes() + text, digest_size=64).digest()


def _sizes(dataset, batched):
    """Return the size of the batches, `None` for examples, and the number of examples, `None` where it is not known."""
    count = int(dataset.cardinality())
    if not batched:
        return None, count if count >= 0 else None
    size = keras.tree.flatten(dataset.element_spec)[0].shape[0]
    if size is not None:
        return size, count * size if count >= 0 else None
    with guards.explained():
        return len(keras.tree.flatten(next(iter(dataset.take(1))))[0]), None


def _known(stream, total):
    import tensorflow as tf

    return stream.apply(tf.data.experimental.assert_cardinality(total))
