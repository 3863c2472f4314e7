"""Every class, every label and every unit is checked by itself, with figures counted by hand."""

import keras
import numpy as np
import pytest

from keras_distill.export import split_head
from keras_distill.export.comparison.kinds import find_kinds, match_kinds
from keras_distill.export.comparison.limits import Limits
from keras_distill.export.comparison.tally import Tally, condense
from keras_distill.export.devices import thin
from keras_distill.export.signature import read_inputs, read_signature
from keras_distill.export.verification import probe_beyond, reach_beyond

INT8 = Limits(min_agreement=0.95, max_difference=None, max_mean_difference=0.05)
FLOAT = Limits(min_agreement=0.99, max_difference=1e-3, max_mean_difference=1e-4)
RNG = np.random.default_rng(0)


def one_hot(classes, width):
    return 10.0 * np.eye(width)[np.asarray(classes)]


def complaints(kind, student, file, labels=None, limits=INT8):
    tally = Tally(kind)
    for rows in np.array_split(np.arange(len(student)), 3):
        tally.add(student[rows], file[rows], None if labels is None else labels[rows])
    return limits.complaints("y", tally.figures())


CLASSES = np.repeat([0, 1, 2], [200, 195, 5])


@pytest.mark.parametrize(
    ("lost", "says"),
    [
        (0, []),
        (1, []),  # One doubtful sample refuses nothing.
        (2, ["the student puts 5 samples into class 2 of output 'y', the file only 3 of them"]),
        (5, ["the student puts 5 samples into class 2 of output 'y', the file only 0 of them"]),
    ],
)
def test_a_rare_class_is_checked_by_itself(lost, says):
    answers = CLASSES.copy()
    answers[len(answers) - lost :] = 0
    found = complaints("classes", one_hot(CLASSES, 3), one_hot(answers, 3))
    assert [each.split(";")[0] for each in found] == says


def test_agreement_does_not_hide_a_class_that_vanished():
    answers = np.where(CLASSES == 2, 0, CLASSES)
    tally = Tally("classes")
    tally.add(one_hot(CLASSES, 3), one_hot(answers, 3), CLASSES)
    figures = condense(tally.figures())
    assert figures["agreement"] == 395 / 400 == figures["accuracy"] and figures["student_accuracy"] == 1.0
    assert figures["worst"] == {"unit": 2, "answer": None, "support": 5, "kept": 0} and figures["unchecked"] == 0


def test_a_class_with_two_samples_is_named_unchecked():
    classes = np.repeat([0, 1], [98, 2])
    tally = Tally("classes")
    tally.add(one_hot(classes, 4), one_hot(np.zeros_like(classes), 4))
    assert INT8.complaints("y", tally.figures()) == [] and condense(tally.figures())["unchecked"] == 3


def test_one_unit_decides_at_one_half():
    applies = np.repeat([1.0, 0.0], [21, 979])[:, None]
    student, file = 0.1 + 0.8 * applies, np.full((1000, 1), 0.1)
    tally = Tally("labels")
    tally.add(student, file, applies)
    figures = tally.figures()
    assert figures["agreement"] == figures["accuracy"] == 0.979 and figures["student_accuracy"] == 1.0
    (complaint,) = INT8.complaints("y", figures)
    assert "the student gives label 0 of output 'y' to 21 samples, the file to only 0 of them" in complaint
    assert complaints("labels", student, student + 0.01) == []


@pytest.mark.parametrize("shape", [(100, 5), (4, 6, 6, 5)])
def test_a_dead_label_among_several_is_named(shape):
    student = RNG.random(shape)
    file = student.copy()
    file[..., 3] = np.minimum(file[..., 3], 0.45)
    (complaint,) = complaints("labels", student, file, limits=Limits(0.5, None, None))
    applies = int((student[..., 3] >= 0.5).sum())
    assert f"the student gives label 3 of output 'y' to {applies} samples, the file to only 0 of them" in complaint


def test_logits_of_labels_decide_at_zero_and_targets_of_zero_and_one_at_one_half():
    labels = RNG.integers(0, 2, (200, 1)).astype(float)
    for student in (6 * labels - 2, 1.1 * labels - 0.05):  # Halves of both lie between the two groups.
        tally = Tally("labels")
        tally.add(student, student, labels)
        assert tally.figures()["student_accuracy"] == 1.0


def test_a_mask_without_its_object_fails():
    student = np.full((8, 16, 16, 1), 0.1)
    student[:, 4:6, 4:6] = 0.9
    (complaint,) = complaints("labels", student, np.full_like(student, 0.1))
    assert "the student gives label 0 of output 'y' to 32 samples" in complaint


def test_integer_class_maps_agree_where_they_are_equal():
    maps = RNG.integers(0, 3, (10, 6, 6))
    others = np.where(maps == 2, 0, maps)
    tally = Tally("indices")
    tally.add(maps, others)
    assert tally.figures()["agreement"] == (maps == others).mean()
    assert complaints("indices", maps, maps) == []
    assert complaints("indices", maps, others)


def test_integer_classes_far_apart_are_one_wrong_answer():
    maps = RNG.integers(0, 200, (20, 10, 10))
    others = maps.copy()
    others[0, 0, 0] = 199 - maps[0, 0, 0]
    assert complaints("indices", maps, others, limits=FLOAT) == []


def test_labels_that_are_unknown_do_not_count():
    tally = Tally("classes")
    tally.add(one_hot([0, 1, 1, 0], 2), one_hot([0, 1, 0, 0], 2), np.array([0, -1, -1, 1]))
    assert tally.figures()["accuracy"] == 0.5


HUMIDITY = np.stack([RNG.uniform(300, 1100, 400), RNG.uniform(0, 1, 400)], axis=-1)


def test_each_number_is_measured_by_its_own_range():
    file = np.round(HUMIDITY / [3.2, 3.2]) * 3.2  # One scale for both, as in an int8 file.
    (complaint,) = complaints("numbers", HUMIDITY, file)
    assert "mean difference of unit 1 of output 'y' is 0.5" in complaint and "split_head" in complaint
    assert complaints("numbers", HUMIDITY, np.round(HUMIDITY / [3.2, 0.004]) * [3.2, 0.004]) == []
    named = Limits(None, None, 0.05).complaints("y", tallied("numbers", HUMIDITY, file), ("pressure", "humidity"))
    assert "unit 'humidity'" in named[0]


def tallied(kind, student, file):
    tally = Tally(kind)
    tally.add(student, file)
    return tally.figures()


@pytest.mark.parametrize(
    "unit",
    [np.full(400, 0.5), np.full(400, 500.0), 500 + RNG.uniform(0, 1e-3, 400)],
    ids=["constant", "large", "hardly_moves"],
)
def test_a_unit_that_hardly_moves_is_measured_by_its_size(unit):
    student = np.stack([RNG.uniform(300, 1100, 400), unit], axis=-1)
    assert complaints("numbers", student, student * (1 + 1e-6), limits=FLOAT) == []
    assert complaints("numbers", student, student * [1.0, 1.1], limits=FLOAT)


def test_black_pixels_of_an_autoencoder_do_not_refuse_it():
    pictures = RNG.random((50, 64)) * (np.arange(64) > 8)
    pictures[:, :4] += 1e-5 * RNG.random((50, 4))
    assert complaints("numbers", pictures, np.round(pictures * 255) / 255) == []


@pytest.mark.parametrize(("shift", "right"), [(0.5, True), (3.0, False)])
def test_scores_that_shift_are_found_where_no_decision_shows_them(shift, right):
    student = RNG.normal(size=(300, 4)) + one_hot(RNG.integers(0, 3, 300), 4)  # Class 3 never wins.
    file = student - [0, 0, 0, shift]
    found = complaints("classes", student, file)
    assert (found == []) is right and all("mean shift of unit 3" in each for each in found)


def test_the_limits_of_a_user_replace_those_of_classes():
    answers = np.where(CLASSES == 2, 0, CLASSES)
    assert complaints("classes", one_hot(CLASSES, 3), one_hot(answers, 3), limits=Limits(0.0, None, None)) == []


# Kinds ----------------------------------------------------------------------------------------------------------------


def student(units, activation=None, shape=(6,)):
    inputs = keras.Input(shape, name="image")
    flat = keras.layers.Flatten()(inputs) if len(shape) > 1 else inputs
    return keras.Model(inputs, keras.layers.Dense(units, activation, name="y")(flat))


def embedding():
    inputs = keras.Input((6,), name="image")
    return keras.Model(inputs, keras.layers.UnitNormalization(name="y")(keras.layers.Dense(3)(inputs)))


X = RNG.normal(size=(24, 6)).astype("float32")
TABLE = [
    (student(3), None, "classes"),
    (student(3, "softmax"), None, "classes"),
    (student(3), np.arange(24) % 3, "classes"),
    (student(3, "sigmoid"), None, "labels"),
    (student(1, "sigmoid"), None, "labels"),
    (student(3), RNG.integers(0, 2, (24, 3)).astype(float), "labels"),
    (student(1), np.array([0, 1] * 12, float)[:, None], "labels"),
    (student(1), None, "numbers"),
    (student(1), RNG.normal(size=(24, 1)), "numbers"),
    (student(3), RNG.normal(size=(24, 3)), "numbers"),
    (student(3, "sigmoid"), RNG.random((24, 3)), "numbers"),
    (student(6), None, "numbers"),  # The shape of its input: an autoencoder.
    (student(6, "sigmoid"), None, "numbers"),
    (student(8, "relu"), None, "numbers"),  # Features.
    (embedding(), None, "numbers"),
]


@pytest.mark.parametrize(("model", "labels", "kind"), TABLE, ids=range(len(TABLE)))
def test_kinds_follow_from_labels_activation_and_shape(model, labels, kind):
    signature = read_signature(model, *read_inputs(model, X), {"image": X})
    held = {} if labels is None else {"y": labels}
    assert find_kinds(model, signature, {"image": X}, held, {}) == {"y": kind}
    given = match_kinds({"y": "numbers"}, signature.outputs)
    assert find_kinds(model, signature, {"image": X}, held, given) == {"y": "numbers"}


def test_unknown_kinds_and_outputs_are_refused():
    signature = read_signature(TABLE[0][0], *read_inputs(TABLE[0][0], X), {"image": X})
    with pytest.raises(ValueError, match="^Expected kinds of the outputs y.*Received: 'z'"):
        match_kinds({"z": "numbers"}, signature.outputs)
    with pytest.raises(ValueError, match="^Expected .*kind.* Did you mean 'numbers'"):
        match_kinds("number", signature.outputs)


# Beyond the data ------------------------------------------------------------------------------------------------------


class Source:
    """A student that is a NumPy function."""

    def __init__(self, function, kind="numbers"):
        self.student, self.signature, self._function = None, self, function
        self.kinds = {"y": kind}

    def call(self, _, inputs):
        return {"y": self._function(inputs["x"])}


def naive_softplus(x):
    with np.errstate(over="ignore"):
        return np.log(np.exp(x) + np.float32(1))


@pytest.mark.parametrize(
    ("limits", "file", "says"),
    [
        (INT8, naive_softplus, "is not finite, where the student's is"),
        (FLOAT, naive_softplus, "is not finite, where the student's is"),
        (FLOAT, lambda x: np.minimum(np.logaddexp(0, x), 90), "differs by"),
        (INT8, lambda x: np.minimum(np.logaddexp(0, x), 90), None),  # The ranges of integers end where the data did.
        (FLOAT, lambda x: np.logaddexp(0, x), None),
    ],
)
def test_files_are_run_beyond_the_data(limits, file, says):
    samples = [({"x": RNG.uniform(-80, 80, (20, 3)).astype("float32")}, {})]
    found = probe_beyond(Source(lambda x: np.logaddexp(0, x)), lambda inputs: {"y": file(inputs["x"])}, samples, limits)
    assert len(found) == (says is not None) and all(says in each for each in found)


@pytest.mark.parametrize(("kind", "complaints"), [("numbers", 1), ("indices", 0)])
def test_beyond_the_data_another_class_is_no_distance(kind, complaints):
    samples = [({"x": RNG.uniform(0, 9, (20, 1)).astype("float32")}, {})]
    found = probe_beyond(Source(np.rint, kind), lambda inputs: {"y": np.rint(inputs["x"]) % 5}, samples, FLOAT)
    assert len(found) == complaints


def test_tokens_are_left_as_they_are():
    assert reach_beyond({"words": np.array([[1, 2]])}) is None
    probes = reach_beyond({"words": np.array([[1, 2]]), "x": np.array([[4.0]])})
    assert probes["words"].tolist() == [[1, 2]] * 3 and probes["x"].tolist() == [[4.0]] * 3


def test_devices_are_judged_on_samples_from_all_of_the_data():
    batches = [
        ({"x": np.arange(start, start + 10)}, {"y": np.arange(start, start + 10)}) for start in range(0, 100, 10)
    ]
    found = list(thin(batches, 7))
    assert np.concatenate([inputs["x"] for inputs, _ in found]).tolist() == list(range(0, 100, 7))
    assert all((inputs["x"] == labels["y"]).all() for inputs, labels in found)


# Heads taken apart ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", [None, "sigmoid", "relu"])
def test_a_split_head_gives_the_same_numbers(activation):
    model = student(3, activation)
    split = split_head(model, names=["a", "b", "c"])
    assert split.output_names == ["a", "b", "c"]
    np.testing.assert_allclose(np.concatenate(split(X), axis=-1), model(X), atol=1e-6)
    assert [tuple(output.shape) for output in split_head(model).outputs] == [(None, 1)] * 3


@pytest.mark.parametrize(
    ("model", "names", "says"),
    [
        (student(3, "softmax"), None, "^Expected a student that ends in a Dense layer"),
        (keras.Sequential([keras.Input((4,)), keras.layers.Dense(2), keras.layers.ReLU()]), None, "ends in a Dense"),
        (student(3), ["a", "b"], "^Expected 3 different names"),
        (student(3), ["a", "b", "b"], "^Expected 3 different names"),
    ],
)
def test_heads_that_cannot_be_split(model, names, says):
    with pytest.raises(ValueError, match=says):
        split_head(model, names)
