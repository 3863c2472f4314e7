"""Pairing the examples of a data set with stored answers, each by its key."""

import keras
import numpy as np

from keras_distill._core import guards
from keras_distill._core.batches import SOFT_TARGETS, unpack
from keras_distill._core.messages import expected, unknown_name
from keras_distill.targets.replay.views import VIEW, ViewKeying, may_be_batched
from keras_distill.targets.store import manifest
from keras_distill.targets.store.keying import Keying
from keras_distill.targets.store.keys import names_of, text_of
from keras_distill.targets.writing import sources

ORDERS = ("same", "any")

_CHUNK = 64  # Examples that are paired at once where they come one by one.


def join(
    store,
    dataset,
    order="same",
    key=None,
    batch_size=None,
    batched=None,
    replay=None,
    view="cycle",
    first_epoch=0,
):
    """Pair each example of a data set with what is stored of it.

    The key of every example is computed anew and compared, so that none is ever given the answer to another: a data
    set in another order, with other images or other preprocessing stops at the first wrong example. Join before
    shuffling, augmenting and repeating; `order="any"` finds examples wherever they are, shuffled ones too.

    Hashing takes some milliseconds of one core for each megabyte of inputs, in every epoch. What fits into memory is
    best cached after the join, `store.join(dataset).cache()`, and then checked once; ids cost next to nothing.

    Args:
        store: A `TargetStore`.
        dataset: A `tf.data.Dataset` of examples or of batches, a `keras.utils.PyDataset`, or arrays.
        order: `"same"` reads on in the order of the store, the fastest way, and wants all of its examples; `"any"`
            looks each up. Defaults to `"same"`.
        key: As given to `write`; the name of ids is known to the store, a function is not. Defaults to `None`.
        batch_size: Examples in a batch, for arrays. Defaults to `None`, 128.
        batched: Whether the data set is of batches. Defaults to `None`, found out.
        replay: For a store of views, the `Replay` that it was written with, or one like it: the data set is then that
            of the examples as they are, and what is yielded their views. Join before shuffling, and without a cache
            behind it, which would show one view for ever. Defaults to `None`.
        view: Which view is made, see `Replay.views`. Defaults to `"cycle"`, another in each pass.
        first_epoch: Number of the first pass, to go on with training. Defaults to 0.

    Returns:
        A `tf.data.Dataset` of `(x, y, sample_weight, extras)`, where what the data set has not is `None`, and
        `extras["soft_targets"]` is a dict of tensors by field.

    Raises:
        ValueError: If the data set cannot be that of the store; when it is read, at the first wrong example.
    """
    import tensorflow as tf

    if order not in ORDERS:
        raise ValueError(unknown_name("order", order, ORDERS))
    keying = keying_of(store, key)
    check_replay(store, replay)
    ranks = [len(each.shape) for each in store.inputs]
    known = None
    if replay is not None:
        dataset, batched = _views(store, dataset, keying, ranks, order, batch_size, batched, replay, view, first_epoch)
    else:
        dataset, known = sources.as_dataset(dataset, batch_size)
    batched = next((each for each in (known, batched) if each is not None), None)
    batched = sources.is_batched(dataset, keying, ranks) if batched is None else batched
    _check_inputs(store, sources.inputs_spec(dataset, keying), batched)
    if order == "same":
        _check_count(store, dataset, batched)
    cardinality = dataset.cardinality()
    # One by one, what a call costs would be paid for each example.
    chunked = not batched and not callable(key) and may_be_batched(dataset.element_spec)
    pairing = _Pairing(store, keying, order, batched or chunked, _last_batch(dataset) if batched else -1)
    joined = _paired(pairing, dataset.batch(_CHUNK) if chunked else dataset)
    joined = joined.unbatch() if chunked else joined
    joined = joined.apply(tf.data.experimental.assert_cardinality(cardinality)) if cardinality >= -1 else joined
    return joined.prefetch(tf.data.AUTOTUNE)


def _views(store, source, keying, ranks, order, batch_size, batched, replay, view, first_epoch):
    """Return the views of a data set, in batches where it is in batches, and whether it is."""
    import tensorflow as tf

    dataset, known = sources.as_dataset(source, batch_size)
    batched = next((each for each in (known, batched) if each is not None), None)
    batched = sources.is_batched(dataset, keying.inner, ranks) if batched is None else batched
    batches = int(dataset.cardinality())
    counted = order == "same" and batched and _batch_size(dataset) is None and batches >= 0
    if counted:
        dataset = _counted(store, dataset, batches)
    views, size = replay.keyed(dataset, keying.inner, ranks, view, None, batched, first_epoch, examples=source)
    if size is None:
        return views, False
    views = views.batch(size)
    if counted and batches == -(-_examples(store) // size):
        views = views.apply(tf.data.experimental.assert_cardinality(batches))
    return views, True


def _counted(store, dataset, batches):
    """Return a data set that stops, at its end, unless it had all examples of a store of views."""
    import tensorflow as tf

    examples = _examples(store)

    def add(state, *element):
        (number, total), element = state, _whole(element)
        leaves = keras.tree.flatten(element)
        total = total + tf.shape(leaves[0], tf.int64)[0]
        wrong = tf.equal(number, batches) & tf.not_equal(total % examples, 0)
        fix = 'Join the whole data set, or pass order="any" for a part of it'
        what = f"the {examples} examples of {store.path} ({fix})"
        checked = guards.check(tf.logical_not(wrong), what, [total], then=leaves[0])
        return (number + 1, total), keras.tree.pack_sequence_as(element, [checked, *leaves[1:]])

    begin = (tf.constant(1, tf.int64), tf.constant(0, tf.int64))
    counted = dataset.scan(begin, tf.autograph.experimental.do_not_convert(add))
    return counted.apply(tf.data.experimental.assert_cardinality(batches))


def _paired(pairing, dataset):
    import tensorflow as tf

    begin = (tf.constant(0, tf.int64), tf.constant(1, tf.int64))
    as_it_is = tf.autograph.experimental.do_not_convert
    options = tf.data.Options()
    options.deterministic = True
    joined = dataset.scan(begin, as_it_is(pairing.count))
    return joined.map(as_it_is(pairing), num_parallel_calls=tf.data.AUTOTUNE).with_options(options)


class _Pairing:
    """The two steps of the pipeline: number the examples, then compare keys and add what is stored."""

    def __init__(self, store, keying, order, batched, last):
        self._store, self._keying, self._order, self._batched, self._last = store, keying, order, batched, last
        self._size = _examples(store)

    def count(self, state, *element):
        """Return the state after an element: position and number of elements; and the element with its own position."""
        import tensorflow as tf

        leaf = keras.tree.flatten(unpack(_whole(element))[0])[0]
        size = tf.shape(leaf, tf.int64)[0] if self._batched else tf.constant(1, tf.int64)
        position, number = state
        return (position + size, number + 1), (position, tf.equal(number, self._last), element)

    def __call__(self, position, last, element):
        import tensorflow as tf

        element = _whole(element)
        inputs, ids = self._keying.split(element)
        found, _ = self._keying.of(inputs, ids, self._batched)
        x, y, sample_weight, extras = unpack(element)
        extras = dict(extras)
        if SOFT_TARGETS in extras:
            raise ValueError(expected("a data set that is not joined yet", f"one with the part {SOFT_TARGETS!r}"))
        leaf = keras.tree.flatten(inputs)[self._keying.padded_leaf(inputs)[0]]
        longest = tf.shape(leaf, tf.int64)[int(self._batched)] if self._keying.padding is not None else -1
        # Which view it is says where it must be: the views of one number are stored one after the other.
        number = extras.pop(VIEW)["number"] if VIEW in extras else tf.constant(0, tf.int64)
        fields = self._store.fields
        kinds = [dtype for dtype, _ in fields.values()]
        tensors = tf.numpy_function(
            guards.marked(self._stored), [position, last, found, longest, number], kinds, stateful=False
        )
        stored = {}
        for (name, (_, shape)), tensor in zip(fields.items(), tensors, strict=True):
            tensor.set_shape((found.shape[0], *shape))
            stored[name] = tensor if self._batched else tensor[0]
        return inputs if ids is not None else x, y, sample_weight, {**extras, SOFT_TARGETS: stored}

    def _stored(self, position, last, found, longest, number):
        """Return the fields of a batch, in their order, once its keys are known to be right."""
        if self._order == "same":
            end = int(position) + len(found)
            positions = np.arange(int(position), end) % self._size + number * self._size
            wrong = (self._store.keys[positions] != found).any(axis=1)
        else:
            positions = self._store.index.find(found)
            wrong = positions < 0
            end = 0
        if wrong.any():
            row = int(np.argmax(wrong))
            raise ValueError(
                self._complaint(int(position) + row, found[row], int(np.ravel(number)[row % np.size(number)]))
            )
        if last and end % self._size:
            raise ValueError(_too_few(self._store, end))
        return list(self._store.gather(positions, None if longest < 0 else int(longest)).values())

    def _complaint(self, position, key, number):
        """Say which example is the wrong one, and why."""
        size, told = self._size, self._store.manifest["preprocessing"]
        where = int(self._store.index.find(key[None])[0])
        if where < 0 and is_of_views(self._store) and (self._store.keys[:, 0] == key[0]).any():
            what = f"view {number} of example {position} with the pixels that the teacher saw in {self._store.path}"
            fix = "Another augment_fn, other partners, or another version or machine that draws or rounds differently."
            return expected(what, "a view of other pixels", fix)
        where = where % size if where >= 0 else where
        if where < 0:
            what = f"an example with the key {text_of(key)} in {self._store.path}"
            prepared = f" Its examples were prepared so: {told}." if told else ""
            fix = f"Other data, other preprocessing, or augmented before the join.{prepared}"
            return expected(what, f"example {position} of the data set, which the teacher was never asked about", fix)
        if position >= size and where != position % size:
            fix = "A data set that repeats must do so whole, or after the join."
            return expected(f"{size} examples, or all of them again", f"example {position}, that of {where}", fix)
        fix = 'Join before shuffling, or pass order="any".'
        return expected(f"the order of {self._store.path}", f"example {where} at position {position}", fix)


def is_of_views(store):
    """Tell whether the examples of a store are views that a replay makes."""
    return "replay" in store.manifest


def check_replay(store, replay):
    """Raise a `ValueError` unless a replay makes the views of a store, and is given for none but a store of views."""
    if not is_of_views(store):
        if replay is not None:
            raise ValueError(
                expected(f"no `replay` for {store.path}, which holds no views", f"{type(replay).__name__}")
            )
        return
    if replay is None:
        fix = f"Pass `replay=`, a `Replay` like {store.manifest['replay']}."
        raise ValueError(expected(f"the replay that makes the views of {store.path}", "replay=None", fix))
    if found := manifest.differences(store.manifest["replay"], replay.to_dict()):
        raise ValueError(expected(f"the replay that {store.path} was written with", f"another one: {found}"))


def _examples(store):
    return len(store) // (store.manifest["replay"]["views"] if is_of_views(store) else 1)


def keying_of(store, key):
    """Return the `Keying` of a store.

    Args:
        store: A `TargetStore`.
        key: What was given to `join`, `None` for nothing.
    """
    record = store.manifest["key"]
    kind = record["kind"]
    if kind == "function" and not callable(key):
        raise ValueError(expected(f"the function {record['name']!r} that gives the ids, as `key`", f"key={key!r}"))
    if kind == "column":
        key = record["name"] if key is None else key
    if kind == "content" and key is not None:
        raise ValueError(expected("no `key` for a store that knows its examples by a hash of them", f"key={key!r}"))
    keying = Keying(key, record["padding"])
    return ViewKeying(keying) if is_of_views(store) else keying


def _check_inputs(store, spec, batched):
    """Raise a `ValueError` where shapes and dtypes already tell that these are not the inputs of the store."""
    if store.manifest["key"]["kind"] != "content":
        return
    leaves = keras.tree.flatten(spec)
    names = names_of(spec)
    found = {name: (leaf.dtype.name, tuple(leaf.shape[int(batched) :])) for name, leaf in zip(names, leaves)}
    wanted = {each.name: (each.dtype, each.shape) for each in store.inputs}
    alike = found.keys() == wanted.keys() and all(
        found[name][0] == dtype and len(found[name][1]) == len(shape) and all(map(_may_be, shape, found[name][1]))
        for name, (dtype, shape) in wanted.items()
    )
    if not alike:
        fix = "The teacher was asked with other preprocessing: join the very data set that it was given."
        raise ValueError(expected(f"inputs like those of the store, {_text(wanted)}", _text(found), fix))


def _check_count(store, dataset, batched):
    """Raise a `ValueError` where the data set is known to be shorter or longer than the store."""
    count, size = int(dataset.cardinality()), _batch_size(dataset) if batched else 1
    if count < 0 or size is None:
        return
    dropped, examples = size - 1 if batched else 0, _examples(store)
    if count * size + dropped < examples or (count * size > examples and count * size % examples):
        raise ValueError(_too_few(store, count * size))


def _too_few(store, count):
    fix = 'Join the whole data set, or pass order="any" for a part of it.'
    return expected(f"the {_examples(store)} examples of {store.path}", f"{count}", fix)


def _last_batch(dataset):
    """Return the number of the last batch, -1 where its end need not be looked at or is not known."""
    # Where batches are all of one size, a rest may have been dropped; that was looked at before.
    return -1 if _batch_size(dataset) is not None else int(dataset.cardinality())


def _batch_size(dataset):
    return keras.tree.flatten(dataset.element_spec)[0].shape[0]


def _may_be(wanted, found):
    return None in (wanted, found) or wanted == found


def _text(inputs):
    return ", ".join(f"{name} {dtype} {shape}".strip() for name, (dtype, shape) in inputs.items())


def _whole(element):
    return element[0] if len(element) == 1 else element
