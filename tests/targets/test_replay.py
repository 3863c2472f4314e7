"""Augmentation replay: bit-identical views in every process, order and number of threads, and their answers."""

import hashlib
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_distill as kd
from keras_distill import targets
from keras_distill._core import guards
from tests.targets import replaying
from tests.targets.test_resume import Stopped, stopping

CUT = (10, 10, 3)


@pytest.fixture(scope="module")
def images():
    return replaying.images()


@pytest.fixture(scope="module")
def some(images):
    return images[0][:96], images[1][:96]


@pytest.fixture(scope="module")
def teacher():
    keras.utils.set_random_seed(3)
    return keras.Sequential([keras.Input(CUT), keras.layers.Flatten(), keras.layers.Dense(4, name="logits")])


@pytest.fixture(scope="module")
def replay():
    return targets.Replay(replaying.jitter, views=3, seed=7)


@pytest.fixture(scope="module")
def store(teacher, some, replay, tmp_path_factory):
    path = tmp_path_factory.mktemp("stores") / "views"
    return targets.write(teacher, some, path, replay=replay, dtype="float32", batch_size=32, shard_size=64)


def views_of(dataset):
    with guards.explained():
        return np.concatenate([np.asarray(x) for x, *_ in dataset])


@pytest.mark.slow
def test_thousands_of_views_are_the_same_in_another_process_order_and_number_of_threads(images):
    """4 replays x 3 views x 300 examples: here in order and one by one, there permuted and on several threads."""
    script = pathlib.Path(replaying.__file__)
    there = subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, text=True)
    here = set()
    order = np.arange(replaying.EXAMPLES)
    for name, replay in replaying.replays(images).items():
        for view in range(3):
            found = replaying.hashes(replay, replaying.examples(images, order, None), view)
            assert len(set(found.values())) == replaying.EXAMPLES
            here.add(f"{name} {view} {hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()}")
    assert set(there.communicate(timeout=900)[0].splitlines()) == here
    assert there.returncode == 0
    assert len(here) == 12


LAYERS = {
    "flip": lambda: keras.layers.RandomFlip(seed=1),
    "translation": lambda: keras.layers.RandomTranslation(0.3, 0.3),
    "rotation": lambda: keras.layers.RandomRotation(0.2),
    "crop": lambda: keras.layers.RandomCrop(8, 8),
    "brightness": lambda: keras.layers.RandomBrightness(0.5, value_range=(0, 1)),
    "noise": lambda: keras.layers.GaussianNoise(0.1),
    "layers inside a layer": lambda: keras.layers.Pipeline(
        [keras.layers.RandomFlip(), keras.layers.RandomHue(0.4, (0, 1))]
    ),
    "list": replaying.layers,
}


@pytest.mark.parametrize("name", LAYERS)
def test_keras_layers_follow_the_seed_alone_and_stay_unchanged(some, name):
    made, again = LAYERS[name](), LAYERS[name]()
    before = [np.array(each) for layer in np.ravel(made) for each in layer.non_trainable_variables]
    replay = targets.Replay(made, views=2, seed=1)
    x = some[0][:24]
    first, other_batches = views_of(replay.views(x, view=0)), targets.Replay(again, views=2, seed=1)
    np.testing.assert_array_equal(first[::-1], views_of(other_batches.views(x[::-1], view=0, batch_size=5)))
    others = (replay.views(x, view=1), targets.Replay(made, 2, seed=2).views(x, view=0))
    for other in map(views_of, others):
        assert (first != other).reshape(24, -1).any(1).mean() > 0.4  # A flip often comes out alike.
    after = [np.array(each) for layer in np.ravel(made) for each in layer.non_trainable_variables]
    for one, other in zip(before, after, strict=True):
        np.testing.assert_array_equal(one, other)


def test_each_view_gets_a_seed_of_its_own(some, replay):
    seen = set()

    def spy(x, seed):
        tf.numpy_function(lambda words: seen.add(tuple(words.tolist())) or np.int32(0), [seed], tf.int32)
        return tf.cast(seed, tf.float32)

    views = views_of(targets.Replay(spy, views=2).views(some, view=1))
    assert {tuple(each) for each in views.tolist()} == {tuple(map(float, np.float32(each))) for each in seen}
    assert len(seen) == 96


@pytest.mark.slow
def test_a_store_of_views_gives_each_view_its_answer(store, some, teacher, replay):
    assert len(store) == 288
    assert store.manifest["replay"]["views"] == 3
    joined, passes = store.join(some, replay=replay, batch_size=20), []
    assert int(joined.cardinality()) == 5
    for _ in range(4):
        for x, _, _, extras in joined:
            assert set(extras) == {"soft_targets"}
            np.testing.assert_allclose(extras["soft_targets"]["values"], teacher(x), rtol=1e-5, atol=1e-5)
        passes.append(views_of(replay.views(some, view=len(passes) % 3)))
        labels = np.concatenate([y for _, y, _, _ in store.join(some, replay=replay)])
        np.testing.assert_array_equal(labels, some[1])
    np.testing.assert_array_equal(passes[0], passes[3])
    assert (passes[0] != passes[1]).reshape(96, -1).any(1).all()


@pytest.mark.slow
def test_passes_cycle_through_the_views_or_draw_them(store, some, replay):
    by_number = [views_of(store.join(some, replay=replay, view=number)) for number in range(3)]
    cycle = store.join(some, replay=replay, first_epoch=2)
    for number in (2, 0, 1, 2):
        np.testing.assert_array_equal(views_of(cycle), by_number[number])
    joined, again = (store.join(some, replay=replay, view="random") for _ in range(2))
    runs = [views_of(joined) for _ in range(2)]
    for drawn in runs:
        np.testing.assert_array_equal(drawn, views_of(again))
        which = [[(drawn[row] == views[row]).all() for views in by_number] for row in range(96)]
        assert np.sum(which, axis=1).tolist() == [1] * 96
        assert np.sum(which, axis=0).min() > 15
    assert (runs[0] != runs[1]).any()


def test_any_order_one_by_one_batches_and_verify(store, some, teacher, replay):
    dataset = tf.data.Dataset.from_tensor_slices(some)
    sources = (dataset.shuffle(96, seed=1), dataset.take(10), dataset.shuffle(96, seed=2).batch(7), dataset.batch(16))
    for source in sources:
        joined = store.join(source, order="any", replay=replay)
        joined = joined if joined.element_spec[0].shape.rank == 4 else joined.batch(32)
        for x, _, _, extras in joined:
            np.testing.assert_allclose(extras["soft_targets"]["values"], teacher(x), rtol=1e-5, atol=1e-5)
    assert store.verify(teacher, dataset.batch(16), replay=replay)["difference"] < 1e-5
    with pytest.raises(ValueError, match="replay=None"):
        store.verify(teacher, some)


def draws_otherwise(x, seed):
    return replaying.jitter(x, seed + 9)


draws_otherwise.__qualname__ = "jitter"

OTHERS = {
    "no replay": (lambda: None, "Received: replay=None"),
    "another seed": (lambda: targets.Replay(replaying.jitter, 3, 8), r"another replay: seed \(7, now 8\)"),
    "another number": (lambda: targets.Replay(replaying.jitter, 4, 7), r"views \(3, now 4\)"),
    "another function": (lambda: targets.Replay(draws, 3, 7), r"augment name \(jitter, now draws\)"),
    "a layer": (lambda: targets.Replay(keras.layers.RandomCrop(10, 10), 3, 7), "jitter, now RandomCrop"),
    "mixed": (lambda: targets.Replay(replaying.jitter, 3, 7, mix="mixup"), r"mix \(none, now mixup\)"),
    "the name alone": (lambda: targets.Replay(draws_otherwise, 3, 7), "view 0 of example 0 with the pixels"),
}


def draws(x, seed):
    return replaying.jitter(x, seed)


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("order", ["same", "any"])
def test_another_replay_is_refused(store, some, name, order):
    make, words = OTHERS[name]
    with pytest.raises(ValueError, match=words):
        views_of(store.join(some, order=order, replay=make()))


def test_layers_are_identified_by_their_settings_and_not_by_their_seeds():
    def record(*arguments, **options):
        return targets.Replay(keras.layers.RandomRotation(*arguments, **options)).to_dict()

    assert record(0.1, seed=1) == record(0.1, seed=2, name="other") == record(0.1)
    assert record(0.1) != record(0.2)
    crops = [targets.Replay([keras.layers.RandomCrop(8, 8), keras.layers.RandomFlip()]).to_dict() for _ in range(2)]
    assert crops[0] == crops[1]


def test_examples_that_do_not_match_are_reported_as_without_a_replay(store, some, replay):
    x, y = some
    for changed, words in (
        ((x[::-1], y[::-1]), "Join before shuffling"),
        ((x[:50], y[:50]), "the 96 examples of"),
        ((x + np.eye(96, dtype="float32")[5][:, None, None, None], y), "example 5 of the data set, which the"),
    ):
        with pytest.raises(ValueError, match=words):
            views_of(store.join(changed, replay=replay))


def unseeded(x, seed):
    return tf.image.random_flip_left_right(x)


REFUSED = {
    "draws without the seed": (lambda: targets.Replay(unseeded), "depends on its seed alone.*RandomUniform"),
    "takes no seed": (lambda: targets.Replay(lambda x: x), r"an example and a seed, `\(x, seed\)`"),
    "no function": (lambda: targets.Replay(3), "augment_fn=3"),
    "nothing": (lambda: targets.Replay(), "neither"),
    "no views": (lambda: targets.Replay(draws, views=0), "views=0"),
    "unknown mix": (lambda: targets.Replay(draws, mix="cutmx"), "Did you mean 'cutmix'"),
    "alpha": (lambda: targets.Replay(draws, mix="mixup", alpha=0.0), "alpha=0.0"),
    "no classes": (lambda: targets.Replay(draws, mix="mixup"), r"Replay\(classes=\.\.\.\)"),
    "no count": (lambda: targets.Replay(draws, mix="mixup", partners=lambda row: row), "count=None"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_augmentations_that_cannot_be_replayed_are_refused(some, name):
    make, words = REFUSED[name]
    with pytest.raises(ValueError, match=words):
        views_of(make().views(some))


def test_a_store_without_views_takes_no_replay_and_mixing_needs_random_access(teacher, some, replay, tmp_path):
    plain = targets.write(teacher, some[0][:, 1:11, 1:11], tmp_path / "plain")
    with pytest.raises(ValueError, match="no `replay` for"):
        plain.join(some, replay=replay)
    with pytest.raises(ValueError, match=r"Replay\(partners=\.\.\.\)"):
        targets.Replay(draws, mix="mixup").views(tf.data.Dataset.from_tensor_slices(some))


def test_mixup_mixes_inputs_and_labels_by_one_share():
    """The inputs are unit vectors, so a view shows which examples were mixed, and the share of each."""
    x, y = np.eye(200, dtype="float32"), np.arange(200) % 4
    replay = targets.Replay(views=2, mix="mixup", alpha=1.0, classes=4)
    found = [(x.numpy(), y.numpy()) for x, y, _, _ in replay.views((x, y), view=0)]
    mixed, labels = (np.concatenate(part) for part in zip(*found))
    np.testing.assert_allclose(labels, mixed @ np.eye(4)[y], atol=1e-6)
    np.testing.assert_allclose(mixed.sum(1), 1.0, atol=1e-6)
    shares = np.diag(mixed)
    assert 0.4 < shares.mean() < 0.6
    assert np.abs(np.quantile(shares, [0.25, 0.75]) - [0.25, 0.75]).max() < 0.12  # Beta(1, 1), uniform.
    assert len({int(np.argmax(row * (1 - each))) for row, each in zip(mixed, np.eye(200))}) > 100


@pytest.mark.parametrize("lookup", [False, True])
def test_cutmix_counts_pixels(lookup):
    x = np.broadcast_to(np.arange(64, dtype="float32")[:, None, None, None], (64, 9, 7, 1)).copy()
    y = np.eye(64, dtype="float32")
    tensors = tf.constant(x), tf.constant(y)
    options = {"partners": lambda row: (tensors[0][row], tensors[1][row]), "count": 64} if lookup else {}
    replay = targets.Replay(views=1, mix="cutmix", **options)
    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(10) if lookup else (x, y)
    views = [(x.numpy(), y.numpy()) for x, y, _, _ in replay.views(dataset)]
    images, labels = (np.concatenate(part) for part in zip(*views))
    counted = np.stack([(images == each).mean(axis=(1, 2, 3)) for each in range(64)], axis=1)
    np.testing.assert_allclose(labels, counted, atol=1e-6)
    assert 0.4 < np.diag(labels).mean() < 0.9


def test_a_mixed_store(teacher, some, tmp_path):
    replay = targets.Replay(replaying.jitter, views=2, mix="mixup", alpha=0.4, classes=4)
    store = targets.write(teacher, some, tmp_path / "mixed", replay=replay, dtype="float32")
    for x, y, _, extras in store.join(some, replay=replay):
        np.testing.assert_allclose(extras["soft_targets"]["values"], teacher(x), rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(tf.reduce_sum(y, -1), 1.0, atol=1e-6)
    other = targets.Replay(replaying.jitter, 2, mix="mixup", alpha=0.4, classes=4, partners=(some[0][::-1], some[1]))
    with pytest.raises(ValueError, match="partners differ"):
        views_of(store.join(some, replay=other))


def test_ids_equal_images_and_a_resumed_writer(teacher, some, replay, tmp_path, monkeypatch):
    x, y = np.repeat(some[0][:20], 2, axis=0), np.repeat(some[1][:20], 2)
    dataset = tf.data.Dataset.from_tensor_slices((x, y, np.ones(40, "float32"), {"id": np.arange(40)}))
    by_id = targets.write(teacher, dataset, tmp_path / "ids", replay=replay, key="id", shard_size=16, batch_size=8)
    assert len(np.unique(by_id.keys, axis=0)) == 120
    alike = targets.write(teacher, dataset, tmp_path / "alike", replay=replay, shard_size=16, batch_size=8)
    assert len(np.unique(alike.keys, axis=0)) == 60
    for store in (by_id, alike):
        assert len(views_of(store.join(dataset.batch(8), replay=replay))) == 40
    with monkeypatch.context() as patch, pytest.raises(Stopped):
        stopping(patch, 9)
        targets.write(teacher, dataset, tmp_path / "on", replay=replay, key="id", shard_size=16, batch_size=8)
    again = targets.write(teacher, dataset, tmp_path / "on", replay=replay, key="id", shard_size=16, batch_size=8)
    assert again.fingerprint == by_id.fingerprint


def trained(teacher, dataset):
    keras.utils.set_random_seed(0)
    # Dense: with a convolution the two training graphs differ in the last bit, up to 3e-8 in the weights.
    layers = [keras.Input(CUT), keras.layers.Flatten(), keras.layers.Dense(8, activation="relu")]
    student = keras.Sequential([*layers, keras.layers.Dense(4)])
    distiller = kd.Distiller(teacher, student, "kd", student_loss_weight=0.3)
    distiller.compile(keras.optimizers.SGD(0.1), keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    distiller.fit(dataset, epochs=4, verbose=0)
    return student.get_weights()


@pytest.mark.slow
def test_a_student_of_the_store_equals_one_of_the_live_teacher_on_the_same_views(store, some, teacher, replay):
    stored = trained(store, store.join(some, replay=replay, batch_size=32))
    online = trained(teacher, replay.views(some, batch_size=32))
    for one, other in zip(stored, online, strict=True):
        np.testing.assert_array_equal(one, other)
    fixed = trained(teacher, replay.views(some, view=0, batch_size=32))
    assert any((one != other).any() for one, other in zip(stored, fixed, strict=True))
