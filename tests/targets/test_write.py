"""Writing every kind of teacher, data set and answer: the store holds the teacher's answers."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import softmax

from keras_distill import targets
from keras_distill._core import guards
from keras_distill.teachers import Ensemble
from tests.targets.conftest import CLASSES, WIDTH, make_teacher


def test_float32_holds_the_teachers_answers(store, teacher, arrays, logits):
    assert len(store) == len(logits)
    np.testing.assert_allclose(store[:]["values"], logits, rtol=1e-6, atol=1e-6)
    hidden = np.asarray(keras.Model(teacher.inputs[0], teacher.get_layer("hidden").output)(arrays[0]))
    np.testing.assert_allclose(store[:][store.feature_field("hidden")], hidden, rtol=1e-6, atol=1e-6)
    assert [record["examples"] for record in store.manifest["shards"]] == [32, 32, 32, 4]
    assert store.manifest["error"] == 0.0


def test_examples_are_read_by_position_slice_and_key(store, arrays, logits):
    order = np.random.default_rng(0).permutation(len(store))
    np.testing.assert_allclose(store[order]["values"], logits[order], rtol=1e-6, atol=1e-6)
    assert store[7]["values"].shape == (CLASSES,)
    keys = np.stack([targets.key_of(arrays[0][index]) for index in order[:9]])
    np.testing.assert_allclose(store.rows(keys)["values"], logits[order[:9]], rtol=1e-6, atol=1e-6)
    with pytest.raises(ValueError, match="keys that are in"):
        store.rows(keys + np.uint64(1))


@pytest.mark.parametrize("kind", ["examples", "arrays", "x alone", "PyDataset", "other batches"])
def test_every_kind_of_data_set_gives_the_same_store(kind, store, teacher, arrays, dataset, tmp_path):
    class Batches(keras.utils.PyDataset):
        def __len__(self):
            return 7

        def __getitem__(self, index):
            return tuple(array[16 * index : 16 * (index + 1)] for array in arrays)

    source, options = {
        "examples": (dataset.unbatch(), {"batch_size": 16}),
        "arrays": (arrays, {"batch_size": 16}),
        "x alone": (arrays[0], {"batch_size": 16}),
        "PyDataset": (Batches(), {}),
        "other batches": (dataset.rebatch(7), {"batch_size": 16}),
    }[kind]
    other = targets.write(teacher, source, tmp_path / "store", dtype="float32", shard_size=32, **options)
    np.testing.assert_array_equal(other.keys, store.keys)
    np.testing.assert_array_equal(other[:]["values"], store[:]["values"])


def test_several_layers_keep_their_names(teacher, arrays, logits, tmp_path):
    store = targets.write(teacher, arrays[0], tmp_path / "store", dtype="float32", features=["logits", "hidden"])
    assert store.feature_shapes == {"hidden": (8,), "logits": (5,)}
    answer = targets.StoredTeacher(store).layers_of(next(iter(store.join(arrays[0])))[3])
    np.testing.assert_allclose(answer["logits"], logits, rtol=1e-6, atol=1e-6)
    assert answer["hidden"].shape == (100, 8)


def test_a_function_of_arrays(dataset, arrays, tmp_path):
    store = targets.write(lambda x: x[:, :3] * 2.0, dataset, tmp_path / "store", dtype="float32")
    np.testing.assert_array_equal(store[:]["values"], arrays[0][:, :3] * 2.0)


def test_a_teacher_that_ends_in_a_softmax_gives_its_logits(teacher, dataset, logits, tmp_path):
    soft = keras.Sequential([*teacher.layers, keras.layers.Softmax()])
    store = targets.write(soft, dataset, tmp_path / "store", dtype="float32")
    np.testing.assert_allclose(store[:]["values"], logits, rtol=1e-6, atol=1e-6)


def test_an_ensemble_answers_at_the_temperature_that_it_was_asked_at(dataset, arrays, tmp_path):
    ensemble = Ensemble([make_teacher(1), make_teacher(2)])
    store = targets.write(ensemble, dataset, tmp_path / "store", dtype="float32", temperatures=(4.0,))
    answer = targets.StoredTeacher(store).answer(extras=next(iter(store.join(dataset)))[3])
    live = ensemble.answer(arrays[0][:16]).at(4.0)
    np.testing.assert_allclose(softmax(answer.at(4.0) / 4.0, -1), softmax(live / 4.0, -1), rtol=1e-5)
    with pytest.raises(ValueError, match="the temperature 4, at which"), guards.explained():
        answer.at(2.0)
    with pytest.raises(ValueError, match="one temperature for this teacher"):
        targets.write(ensemble, dataset, tmp_path / "other", temperatures=(1.0, 4.0))


def test_per_token_and_per_pixel(tmp_path):
    x = np.random.default_rng(0).normal(size=(10, 4, 3, 2)).astype("float32")
    teacher = keras.Sequential([keras.Input((4, 3, 2)), keras.layers.Conv2D(5, 1)])
    store = targets.write(teacher, x, tmp_path / "store", top_k=2, dtype="float32")
    assert store.encoding.shape == (4, 3)
    assert {name: field.shape for name, field in store[:].items()} == {
        "indices": (10, 4, 3, 2),
        "values": (10, 4, 3, 2),
        "rest": (10, 4, 3, 1),
    }
    np.testing.assert_allclose(store[:]["values"][..., 0], np.asarray(teacher(x)).max(-1), rtol=1e-5)
    top = targets.StoredTeacher(store).answer(extras=next(iter(store.join(x)))[3])
    assert top.shape[1:] == (4, 3, 5)


@pytest.fixture(scope="module")
def language():
    """A teacher of tokens, and sequences of many lengths, padded with 0."""
    generator = np.random.default_rng(0)
    lengths = generator.integers(1, 9, 30)
    sequences = [generator.integers(1, 20, length).astype("int32") for length in lengths]
    layers = [keras.Input((None,), dtype="int32"), keras.layers.Embedding(20, 4)]
    teacher = keras.Sequential([*layers, keras.layers.Dense(20)])

    def dataset(batch=None):
        made = tf.data.Dataset.from_generator(
            lambda: iter(sequences), output_signature=tf.TensorSpec((None,), tf.int32)
        )
        made = made.map(lambda ids: (ids, ids))
        return made if batch is None else made.padded_batch(batch)

    return teacher, sequences, dataset


@pytest.mark.parametrize("batch", [None, 7])
@pytest.mark.parametrize("top_k", [None, 4])
def test_sequences_are_stored_at_their_own_length(language, batch, top_k, tmp_path):
    teacher, sequences, dataset = language
    options = {"padding": 0, "shard_size": 12, "batch_size": 5, "dtype": "float32", "top_k": top_k}
    store = targets.write(teacher, dataset(batch), tmp_path / "store", **options)
    assert store.lengths(np.arange(30)).tolist() == list(map(len, sequences))
    tokens = sum(np.load(tmp_path / "store" / r["name"] / "values.npy").shape[0] for r in store.manifest["shards"])
    assert tokens == sum(map(len, sequences))
    # The join has other batches, padded to other lengths: a key ignores the padding.
    stored, seen = targets.StoredTeacher(store), 0
    for x, _, _, extras in store.join(dataset(4)):
        answer = stored.answer(extras=extras)
        live = np.asarray(teacher(x))
        live = live if top_k is None else np.sort(live, -1)[..., ::-1][..., :4]
        values = answer.logits if top_k is None else answer.values
        within = x.numpy() > 0
        np.testing.assert_allclose(np.asarray(values)[within], live[within], rtol=1e-6, atol=1e-6)
        seen += within.sum()
    assert seen == tokens
    _, _, _, extras = next(iter(store.join(dataset())))
    assert extras["soft_targets"]["values"].shape == (len(sequences[0]), top_k or 20)


def test_sequences_of_a_dict_with_a_padding_of_its_own(language, tmp_path):
    _, sequences, _ = language
    x = {"ids": tf.ragged.constant([list(s) for s in sequences]).to_tensor(99).numpy()}
    x["mask"] = (x["ids"] != 99).astype("int32")
    teacher = lambda x: 3.0 * np.eye(20)[np.minimum(x["ids"], 19)]  # noqa: E731
    store = targets.write(teacher, x, tmp_path / "store", padding={"ids": 99})
    assert store.lengths(np.arange(30)).tolist() == list(map(len, sequences))
    trimmed = {name: each[:3, : max(map(len, sequences[:3]))] for name, each in x.items()}
    found = next(iter(store.join(trimmed, order="any")))[3]["soft_targets"]["values"]
    np.testing.assert_array_equal(np.argmax(found, -1)[0, : len(sequences[0])], sequences[0])


def test_ids_in_place_of_hashes(teacher, arrays, logits, tmp_path):
    x, y = arrays
    ids = np.array([f"train-{index}" for index in range(len(x))])
    elements = tf.data.Dataset.from_tensor_slices((x, y, np.ones(len(x), "float32"), {"id": ids})).batch(16)
    store = targets.write(teacher, elements, tmp_path / "store", key="id", dtype="float32")
    # With ids the images may be augmented, since an id identifies the example.
    other = elements.map(lambda x, y, w, extras: (x + 1.0, y, w, extras)).shuffle(9, seed=0)
    for _, labels, _, extras in store.join(other, order="any"):
        rows = [int(text.decode().split("-")[1]) for text in extras["id"].numpy()]
        np.testing.assert_allclose(extras["soft_targets"]["values"], logits[rows], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(labels, y[rows])
    with pytest.raises(ValueError, match="the ids 'id' among the inputs"):
        store.join(arrays)
    twice = elements.map(lambda x, y, w, extras: (x, y, w, {"id": tf.strings.substr(extras["id"], 0, 7)}))
    with pytest.raises(ValueError, match="a different id for each example"):
        targets.write(teacher, twice, tmp_path / "twice", key="id")


def test_ids_by_a_function_and_among_the_inputs(dataset, arrays, tmp_path):
    source = tf.data.Dataset.from_tensor_slices({"x": arrays[0], "number": np.arange(100)}).batch(16)
    teacher = lambda x: (x["x"] if isinstance(x, dict) else x)[:, :4]  # noqa: E731
    for key in ("number", lambda element: element["number"]):
        path = tmp_path / str(type(key).__name__)
        store = targets.write(teacher, source, path, key=key, dtype="float32")
        again = store.join(source.shuffle(5, seed=1), order="any", key=key)
        for x, _, _, extras in again:
            np.testing.assert_array_equal(extras["soft_targets"]["values"], x["x"][:, :4])
        assert ("number" in x) == callable(key)
    with pytest.raises(ValueError, match="the function"):
        store.join(source)


def test_bytes_per_example_and_per_token(teacher, tmp_path):
    x = np.random.default_rng(0).normal(size=(2000, WIDTH)).astype("float32")
    ten = keras.Sequential([keras.Input((WIDTH,)), keras.layers.Dense(10)])
    targets.write(ten, x, tmp_path / "ten")
    tokens = keras.Sequential([keras.Input((50, WIDTH)), keras.layers.Dense(32_000)])
    targets.write(tokens, np.resize(x, (8, 50, WIDTH)), tmp_path / "tokens", top_k=32, batch_size=4)
    sizes = [sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) for path in tmp_path.iterdir()]
    by_name = dict(zip((path.name for path in tmp_path.iterdir()), sizes, strict=True))
    assert by_name["ten"] / 2000 <= 40
    assert by_name["tokens"] / 400 <= 160


def test_progress_is_reported(fresh):
    told = []
    fresh(progress=lambda done, total: told.append((done, total)))
    assert [done for done, _ in told] == [16, 32, 48, 64, 80, 96, 100]
    assert told[0][1] == 112  # Whole batches: the size of the last one is unknown until it is read.


def test_a_bar_shows_rate_and_time(fresh, capsys):
    fresh(progress=True)
    assert "examples/s" in capsys.readouterr().out


def test_the_description_holds_everything(fresh):
    text = fresh(name="digits:1.0.0/train", preprocessing="x / 255", class_names=list("abcde"), top_k=2).describe()
    for words in (
        "100 examples in 4 shards",
        "digits:1.0.0/train",
        "x / 255",
        "a, b, c, d, e",
        "k 2",
        "float16",
        "keras 3",
    ):
        assert words in text


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"top_k": 6}, "from 1 to 5"),
        ({"dtype": "half"}, "dtype to be one of"),
        ({"class_names": ["a"]}, "5 class names"),
        ({"features": ["hiden"]}, "hidden"),
        ({"shard_size": 0}, "shard_size to be a whole number"),
        ({"key": 3}, "key to be None, a name or a function"),
    ],
)
def test_arguments_are_checked(fresh, options, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        fresh(**options)
    assert not (tmp_path / "targets" / "manifest.json").exists()


@pytest.mark.parametrize(
    ("source", "words"),
    [(np.zeros((0, WIDTH), "float32"), "at least 1"), (np.zeros((4, 3, 2, WIDTH), "float32"), "examples of 1 axes")],
)
def test_data_that_no_teacher_can_answer_is_refused(teacher, source, words, tmp_path):
    with pytest.raises(ValueError, match=words):
        targets.write(
            teacher, tf.data.Dataset.from_tensor_slices(source) if len(source) else source, tmp_path / "store"
        )


def test_probabilities_are_refused_as_logits(dataset, tmp_path):
    layers = [keras.Input((WIDTH,)), keras.layers.Dense(3), keras.layers.Lambda(lambda x: keras.ops.softmax(x) + 0.0)]
    with pytest.raises(ValueError, match="logits from the teacher"):
        targets.write(keras.Sequential(layers), dataset, tmp_path / "store")


def test_the_manifest_is_json_without_times_or_machines(store, tmp_path):
    text = (tmp_path.__class__(store.path) / "manifest.json").read_text()
    assert json.loads(text)["version"] == 1
    for word in ("time", "date", "host", str(store.path)):
        assert word not in text
