"""Augmentation replay: views of examples are stored as seeds, and made again bit for bit when they are needed."""

import hashlib
import itertools
import math
from typing import Any

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.checks import check_choice, check_number, check_whole_number
from keras_distill._core.messages import expected
from keras_distill.targets.replay import augmentation
from keras_distill.targets.replay.mixing import MIXES, Partners
from keras_distill.targets.replay.views import VIEW, ViewMaker
from keras_distill.targets.store.keys import Keying
from keras_distill.targets.writing import sources
from keras_distill.targets.writing.sources import CHUNK, Dataset, assert_cardinality


class Replay:
    """Make M views of each example; each view follows from the key of the example, the number of the view and a seed.

    The teacher answers the views, and the student sees the same views: `write(..., replay=replay)` stores an answer for
    each view, `store.join(dataset, replay=replay)` makes the views again and finds their answers. All that is stored
    of a view is 64 bits of a hash of its pixels, half of its key, so a view that comes out differently is refused.
    Views do not depend on order, batches, threads or processes. On another machine they are the same if the version of
    the library is the same and the processor rounds alike.

    Args:
        augment_fn: A function `(x, seed) -> x` of one example and an int32 tensor `[2]`, such as those of
            `tf.image.stateless_random_*`; or a Keras layer, a `keras.Sequential` or a list of layers, whose own seeds
            are ignored. Defaults to `None`, no augmentation beside `mix`.
        views: Number of views of each example, M. Defaults to 4.
        seed: Integer seed. Defaults to 0.
        mix: `"mixup"` or `"cutmix"`: each view is mixed with a view of another example, drawn by the seed. Defaults to
            `None`.
        alpha: The shares of a mixture are drawn from Beta(alpha, alpha). Defaults to 1.0.
        classes: Number of classes, needed to mix sparse labels, which become float `[classes]`. Defaults to `None`.
        partners: The examples to mix with: arrays `x` or `(x, y)`, or a function of a number that returns `x` or
            `(x, y)` as tensors. Defaults to `None`, the data set itself, which must then be arrays.
        count: Number of examples of such a function. Defaults to `None`.

    Raises:
        ValueError: If an argument is invalid.

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
        self,
        augment_fn: Any = None,
        views: int = 4,
        seed: int = 0,
        *,
        mix: str | None = None,
        alpha: float = 1.0,
        classes: int | None = None,
        partners: Any = None,
        count: int | None = None,
    ):
        if mix is None and augment_fn is None:
            raise ValueError(expected("augment_fn, mix or both", "neither"))
        self.per_example = check_whole_number("views", views)
        self.seed = check_whole_number("seed", seed, 0)
        self.mix = None if mix is None else check_choice("mix", mix, MIXES)
        self.alpha = check_number("alpha", alpha, 0.0, math.inf, open_low=True)
        self.classes = None if classes is None else check_whole_number("classes", classes)
        self._augment, self._source = augmentation.make_stateless(augment_fn), augment_fn
        count = None if count is None else check_whole_number("count", count, 2)
        self._partners = None if partners is None else Partners(partners, count)

    def to_dict(self) -> dict[str, Any]:
        """Return the record for the manifest."""
        record = {"augment": augmentation.to_record(self._source), "views": self.per_example, "seed": self.seed}
        return {**record, "mix": self.mix, "alpha": self.alpha if self.mix else None}

    def views(
        self,
        dataset: Any,
        view: str | int = "cycle",
        key: Any = None,
        batch_size: int | None = None,
        batched: bool | None = None,
        first_epoch: int = 0,
    ) -> Dataset:
        """Make the views of a data set without a store, for a teacher that runs beside the student.

        Args:
            dataset: A `tf.data.Dataset` of examples or of batches, a `keras.utils.PyDataset`, or arrays.
            view: `"cycle"` makes the first view of each example in the first pass, the second in the second pass, and
                so on; `"random"` draws a view for each example and pass by the seed; a number makes that view.
                Defaults to `"cycle"`.
            key: The `key` given to `write`. Defaults to `None`, a hash of the inputs.
            batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.
            batched: Whether the data set yields batches. Defaults to `None`, inferred.
            first_epoch: Number of the first pass, to continue a training. Defaults to 0.

        Returns:
            A `tf.data.Dataset` of `(x, y, sample_weight, extras)`, in batches if the data set has batches.
        """
        views, size = self.keyed(dataset, Keying(key), None, view, batch_size, batched, first_epoch)

        def drop_identity(x: Any, y: Any, sample_weight: Any, extras: Any) -> Any:
            return x, y, sample_weight, {name: part for name, part in extras.items() if name != VIEW}

        views = views.map(drop_identity)
        return views if size is None else views.batch(size)

    def keyed(
        self,
        dataset: Any,
        keying: Keying,
        ranks: list[int] | None = None,
        view: str | int = "cycle",
        batch_size: int | None = None,
        batched: bool | None = None,
        first_epoch: int = 0,
        examples: Any = None,
    ) -> tuple[Dataset, int | None]:
        """Make the views of a data set one by one, each with its number and identity among the extras.

        Args:
            dataset: See `views`.
            keying: `Keying` of the examples.
            ranks: Number of axes of each input of an example, `None` if unknown. Defaults to `None`.
            view: See `views`, or `"all"`: the first views of all examples, then the second ones, and so on, as a store
                holds them. Defaults to `"cycle"`.
            batch_size: See `views`.
            batched: See `views`.
            first_epoch: See `views`.
            examples: Arrays that hold the partners if the replay has no partners of its own. Defaults to `None`, the
                data set.

        Returns:
            A `tf.data.Dataset` of `(x, y, sample_weight, extras)`, and the size of the batches of the data set, `None`
            if it yields examples.
        """
        if keying.padding is not None:
            raise ValueError(expected("no `padding` with a replay", f"padding={keying.padding!r}"))
        partners, given = self._partners, dataset if examples is None else examples
        if self.mix is not None and partners is None:
            partners = Partners(given)
        dataset, batched = sources.open_source(dataset, keying, ranks, batch_size, batched)
        size, total = _find_sizes(dataset, batched)
        if sources.is_arrays(given):
            total = len(keras.tree.flatten(given)[0])
        if not batched:
            dataset = dataset.batch(CHUNK if sources.has_static_shapes(dataset) else 1)
        maker = ViewMaker(self, keying, partners, self._augment, with_labels=view != "all")
        views = maker.apply(dataset, self._passes(view, first_epoch), view == "random")
        if total is not None:
            views = assert_cardinality(views, total * (self.per_example if view == "all" else 1))
        return views, size

    def _passes(self, view: str | int, first_epoch: int) -> Dataset:
        """Return a data set of the numbers of the passes to make."""
        import tensorflow as tf

        if view == "all":
            return tf.data.Dataset.range(self.per_example)
        if view in ("cycle", "random"):
            passed = itertools.count(first_epoch)  # Counts on each time the data set is iterated.
            spec = tf.TensorSpec((), tf.int64)
            return tf.data.Dataset.from_generator(lambda: iter([next(passed)]), output_signature=spec)
        if isinstance(view, bool) or not isinstance(view, int) or not 0 <= view < self.per_example:
            what = f'view to be "cycle", "random" or from 0 to {self.per_example - 1}'
            raise ValueError(expected(what, f"view={view!r}"))
        return tf.data.Dataset.from_tensors(tf.constant(view, tf.int64))

    def draw(
        self, keys: np.ndarray, epoch: int, at_random: bool, count: int
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Draw the views of examples in a pass; they follow from the keys, the number of the pass and the seed.

        Args:
            keys: uint64 array `[batch, 2]`.
            epoch: Number of the pass.
            at_random: Whether to draw the view of each example, rather than take it from the number of the pass.
            count: Number of partners.

        Returns:
            Identities uint64 `[batch]`, numbers of the views int64 `[batch]`, numbers of the partners int64 `[batch]`,
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


def _digest(key: np.ndarray, what: bytes, number: int, seed: int) -> bytes:
    text = b"%s %d %d" % (what, number, seed)
    return hashlib.blake2b(np.asarray(key, "<u8").tobytes() + text, digest_size=64).digest()


def _find_sizes(dataset: Dataset, batched: bool) -> tuple[int | None, int | None]:
    """Return the size of the batches, `None` without batches, and the number of examples, `None` if unknown."""
    count = int(dataset.cardinality())
    if not batched:
        return None, count if count >= 0 else None
    size = sources.find_batch_size(dataset)
    if size is not None:
        return size, count * size if count >= 0 else None
    with guards.explained():
        return len(keras.tree.flatten(next(iter(dataset.take(1))))[0]), None
