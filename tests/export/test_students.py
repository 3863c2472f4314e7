"""Students and data of every shape: names, heads, several inputs and outputs, tokens, precision, datasets."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from keras_distill import export as room
from keras_distill.export.conversion import sources
from keras_distill.export.samples import Samples
from keras_distill.export.signature import Signature, Tensor
from keras_distill.export.tflite import flatbuffer

RNG = np.random.default_rng(3)
FORMATS = ("saved_model", "tflite", "tflite_int8")


def two_ends():
    """Two inputs, one of them tokens; two outputs, one of them a softmax, the other a regression."""
    image, words = keras.Input((4,), name="image"), keras.Input((3,), name="words", dtype="int32")
    embedded = keras.layers.GlobalAveragePooling1D()(keras.layers.Embedding(7, 4)(words))
    joined = keras.layers.Dense(8, activation="relu")(keras.layers.Concatenate()([image, embedded]))
    kind = keras.layers.Dense(3, activation="softmax", name="kind")(joined)
    return keras.Model([image, words], {"kind": kind, "size": keras.layers.Dense(1, name="size")(joined)})


def two_ends_data():
    """Data for `two_ends`, with labels for both outputs."""
    inputs = {
        "image": RNG.normal(size=(40, 4)).astype("float32"),
        "words": RNG.integers(0, 7, size=(40, 3)),
    }
    return inputs, {"kind": RNG.integers(0, 3, size=40), "size": RNG.normal(size=40)}


@pytest.mark.slow
def test_several_inputs_and_outputs_tokens_and_softmax(tmp_path):
    keras.utils.set_random_seed(3)
    student, data = two_ends(), two_ends_data()
    report = room.export(
        student, tmp_path / "out", FORMATS, calibration_data=data, evaluation_data=data, min_agreement=0.9
    )
    assert report.passed, report
    assert report["tflite"].input_dtypes == {"image": "float32", "words": "int32"}
    assert report["tflite_int8"].input_dtypes == {"image": "int8", "words": "int32"}
    assert report["tflite_int8"].output_dtypes == {"kind": "int8", "size": "int8"}
    outputs = report["tflite"].outputs
    assert outputs["kind"]["agreement"] == 1.0 and outputs["size"]["agreement"] is None
    answers = np.asarray(student([data[0]["image"], data[0]["words"]])["kind"]).argmax(-1)
    assert report["tflite"].accuracy == pytest.approx((answers == data[1]["kind"]).mean())
    served = tf.saved_model.load(report["saved_model"].path).signatures["serving_default"]
    assert set(served.structured_outputs) == {"kind", "size"}
    row = served(image=data[0]["image"][:1], words=tf.constant(data[0]["words"][:1], tf.int32))["kind"]
    np.testing.assert_allclose(np.sum(row), 1, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
def test_half_precision_is_rebuilt_in_float32(policy, tmp_path):
    keras.utils.set_random_seed(4)
    keras.config.set_dtype_policy(policy)
    try:
        inner = keras.Sequential([keras.layers.Dense(8, activation="relu"), keras.layers.Dense(8)], name="inner")
        inputs = keras.Input((4,), name="x")
        student = keras.Model(inputs, keras.layers.Dense(3, name="logits")(inner(inputs)))
    finally:
        keras.config.set_dtype_policy("float32")
    x = RNG.normal(size=(50, 4)).astype("float32")
    before = student.get_weights()
    report = room.export(student, tmp_path / "out", ("saved_model", "tflite"), evaluation_data=x)
    assert report.passed, report
    weights = [np.asarray(weight, np.float32) for weight in before]
    by_hand = np.maximum(x @ weights[0] + weights[1], 0) @ weights[2] + weights[3]
    by_hand = by_hand @ weights[4] + weights[5]
    served = tf.saved_model.load(report["saved_model"].path).signatures["serving_default"]
    np.testing.assert_allclose(served(x=tf.constant(x))["logits"], by_hand, atol=1e-5)
    assert student.layers[-1].dtype_policy.name == policy
    assert report["tflite"].output_dtypes == {"logits": "float32"}


class Unconfigured(keras.Model):
    """A half-precision student that cannot be rebuilt."""

    def __init__(self, units):
        super().__init__(dtype="mixed_float16")
        self.dense = keras.layers.Dense(units, dtype="mixed_float16")

    def call(self, inputs):
        return self.dense(inputs)


def test_half_precision_without_config_is_refused(tmp_path):
    student, x = Unconfigured(3), np.ones((2, 4))
    student(x)
    message = r"Expected a half-precision student that can be rebuilt .*Unconfigured\.get_config.* float32 policy"
    with pytest.raises(ValueError, match=message):
        room.export(student, tmp_path / "out", "tflite", evaluation_data=x)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_operators_left_in_floating_point_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "rewrite", lambda path: None)
    report = normalized(tmp_path)
    # The converter has no int8 NEG, and silently writes float operators into a file that looks like int8.
    assert "NEG does not compute in integers" in report["tflite_int8"].status


@pytest.mark.slow
def test_layer_normalization_becomes_int8_throughout(tmp_path):
    report = normalized(tmp_path)
    assert report.passed, report
    assert "NEG" not in {name for name, _ in flatbuffer.list_operators(flatbuffer.load_model(report["tflite"].path))}


def normalized(path):
    """Export a student with a layer normalization, an exact GELU, and a negation as its output."""
    keras.utils.set_random_seed(2)
    inputs = keras.Input((6, 4), name="x")
    hidden = keras.layers.Dense(8, activation="gelu")(keras.layers.LayerNormalization()(inputs))
    outputs = keras.layers.Dense(3, name="y")(hidden)
    student = keras.Model(inputs, {"y": outputs, "minus": -outputs})
    x = np.random.default_rng(0).normal(size=(50, 6, 4)).astype("float32")
    return room.export(student, path / "out", ("tflite_int8", "tflite"), calibration_data=x, min_agreement=0.9)


class Subclassed(keras.Model):
    """A student that does not declare its inputs."""

    def __init__(self):
        super().__init__()
        self.dense = keras.layers.Dense(3)

    def call(self, inputs):
        return {"answer": self.dense(inputs["a"]) + inputs["b"]}


def test_subclassed_student_takes_its_names_from_the_data(tmp_path):
    student = Subclassed()
    data = {"a": RNG.normal(size=(9, 4)), "b": RNG.normal(size=(9, 3))}
    student(data)
    report = room.export(student, tmp_path / "out", "tflite", evaluation_data=data)
    assert report.passed, report
    assert report["tflite"].input_dtypes == {"a": "float32", "b": "float32"}
    assert list(report["tflite"].outputs) == ["answer"]


def test_rank_one_output_with_targets(tmp_path):
    inputs = keras.Input((4,), name="x")
    student = keras.Model(inputs, {"total": keras.ops.sum(keras.layers.Dense(3)(inputs), axis=-1)})
    x = RNG.normal(size=(9, 4))
    report = room.export(student, tmp_path / "out", "tflite", evaluation_data=(x, x[:, 0]))
    assert report.passed, report
    assert report["tflite"].agreement is None and report["tflite"].accuracy is None


class Batches(keras.utils.PyDataset):
    """Three batches of four."""

    def __init__(self, x, y):
        super().__init__()
        self.x, self.y = x, y

    def __len__(self):
        return 3

    def __getitem__(self, index):
        rows = slice(4 * index, 4 * index + 4)
        return self.x[rows], self.y[rows]


def dataset(*parts):
    return tf.data.Dataset.from_tensor_slices(parts).shuffle(12).batch(5)


Y = np.arange(12) % 3
KINDS = {
    "x": (lambda x: x, False),
    "list": (lambda x: [x], False),
    "dict": (lambda x: {"x": x}, False),
    "tensor": (tf.constant, False),
    "pair": (lambda x: (x, Y), True),
    "column of labels": (lambda x: (x, Y[:, None]), True),
    "one-hot": (lambda x: (x, np.eye(3)[Y]), True),
    "named labels": (lambda x: ({"x": x}, {"logits": Y}), True),
    "weighted": (lambda x: (x, Y, np.ones(12)), True),
    "dataset of x": (lambda x: tf.data.Dataset.from_tensor_slices(x).batch(5), False),
    "dataset of pairs": (lambda x: dataset(x, Y), True),
    "dataset of dicts": (lambda x: dataset({"x": x}, {"logits": Y}), True),
    "weighted dataset": (lambda x: dataset(x, Y, np.ones(12)), True),
    "PyDataset": (lambda x: Batches(x, Y), True),
}


@pytest.mark.parametrize("argument", ["evaluation_data", "calibration_data"])
@pytest.mark.parametrize("kind", KINDS)
def test_kinds_of_data(kind, argument, tiny, tmp_path):
    student, x = tiny
    make, labelled = KINDS[kind]
    report = room.export(student, tmp_path / "out", "tflite", **{argument: make(x)})
    row = report["tflite"]
    assert report.passed, report
    assert row.samples == 12
    accuracy = (np.asarray(student(x)).argmax(-1) == Y).mean()
    assert row.accuracy == (pytest.approx(accuracy) if labelled else None)


def test_endless_calibration_data_is_cut(tiny, tmp_path):
    student, x = tiny
    endless = tf.data.Dataset.from_tensor_slices(x).batch(5).repeat()
    report = room.export(student, tmp_path / "out", "tflite", calibration_data=endless, calibration_samples=17)
    assert report["tflite"].samples == 17


def test_calibration_is_spread_over_arrays():
    signature = Signature((Tensor("x", "x", (None, 1), "float32"),), (), None, {})
    inputs, _ = Samples(np.arange(1000.0)[:, None], signature, "data").take(5)
    assert inputs["x"][:, 0].tolist() == [0, 250, 500, 749, 999]


def head(*layers):
    return keras.Sequential([keras.Input((4,), name="x"), *layers])


NAMES = {
    "made up": (lambda: keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)]), "input_0", "output_0"),
    "given": (lambda: head(keras.layers.Dense(3, name="species")), "x", "species"),
    "no identifier": (
        lambda: keras.Sequential([keras.Input((4,), name="my-x.1"), keras.layers.Dense(3, name="7-kinds")]),
        "my_x_1",
        "_7_kinds",
    ),
}


@pytest.mark.parametrize("name", NAMES)
def test_names_in_the_signature(name, tmp_path):
    make, source, target = NAMES[name]
    row = room.export(make(), tmp_path / "out", "tflite", evaluation_data=np.ones((2, 4)))["tflite"]
    assert (row.input_dtypes, row.output_dtypes) == ({source: "float32"}, {target: "float32"})


def test_student_built_on_one_batch_serves_any(tmp_path):
    student = keras.Sequential([keras.layers.Dense(3)])
    student(np.zeros((2, 4)))
    report = room.export(student, tmp_path / "out", "saved_model", evaluation_data=np.ones((5, 4)))
    assert report.passed, report
    served = tf.saved_model.load(report["saved_model"].path).signatures["serving_default"]
    assert served(input_0=tf.ones((9, 4)))["output_0"].shape == (9, 3)


@pytest.mark.slow
def test_free_sizes_stay_free_in_the_saved_model_and_are_fixed_in_tflite(tmp_path):
    words = keras.Input((None,), name="words", dtype="int32")
    vectors = keras.layers.Embedding(9, 4)(words)
    student = keras.Model(words, keras.layers.Dense(5, name="tags")(vectors))
    x, y = RNG.integers(0, 9, size=(20, 6)), RNG.integers(0, 5, size=(20, 6))
    report = room.export(student, tmp_path / "out", ("saved_model", "tflite"), evaluation_data=(x, y))
    assert report.passed, report
    assert report["tflite"].accuracy == pytest.approx((np.asarray(student(x)).argmax(-1) == y).mean())
    served = tf.saved_model.load(report["saved_model"].path).signatures["serving_default"]
    assert served(words=tf.zeros((2, 11), tf.int32))["tags"].shape == (2, 11, 5)


@pytest.mark.slow
def test_an_int8_file_takes_camera_bytes(tmp_path):
    image = keras.Input((4, 4, 1), name="image", dtype="uint8")
    scaled = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    student = keras.Model(image, keras.layers.Dense(3, name="logits")(scaled))
    images = RNG.integers(0, 256, size=(50, 4, 4, 1)).astype("uint8")
    report = room.export(student, tmp_path / "out", "tflite_int8", calibration_data=images)
    assert report.passed, report
    assert report["tflite_int8"].input_dtypes == {"image": "uint8"}
    assert report["tflite_int8"].output_dtypes == {"logits": "int8"}


class Wrapped(keras.Model):
    """A student that has no config."""

    def __init__(self, inner):
        super().__init__()
        self.inner = inner

    def call(self, inputs):
        return self.inner(inputs)

    def get_config(self):
        raise NotImplementedError


@pytest.mark.slow
def test_an_lstm_is_unrolled_for_int8_if_it_has_a_config(tmp_path):
    keras.utils.set_random_seed(0)
    x = RNG.normal(size=(40, 5, 4)).astype("float32")
    layers = [keras.layers.LSTM(3), keras.layers.Dense(3, name="y")]
    student = keras.Sequential([keras.Input((None, 4), name="x"), *layers])
    options = {"calibration_data": x, "min_agreement": 0.8}
    report = room.export(student, tmp_path / "out", ("tflite_int8", "tflite"), **options)
    assert report.passed, report
    loops = [("WHILE" in dict(flatbuffer.list_operators(flatbuffer.load_model(row.path)))) for row in report]
    assert loops == [False, True]
    wrapped = Wrapped(student)
    wrapped(x)
    report = room.export(wrapped, tmp_path / "wrapped", "tflite_int8", **options)
    assert "built with unroll=True" in report["tflite_int8"].status
