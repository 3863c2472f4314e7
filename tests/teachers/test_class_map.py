"""Maps of classes: probability mass is kept at every temperature, in every form a map can be written."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import ops
from numpy.testing import assert_allclose, assert_array_equal
from scipy.special import softmax

import keras_distill as kd
from keras_distill.teachers import Ensemble, MappedClasses, map_classes, merge_classes

FORM = re.compile(r"^Expected .+\. Received: .+\.", re.DOTALL)
TEMPERATURES = (0.5, 1.0, 4.0, 1000.0)

# Teacher classes 0 to 5 (a to f): what the student's are made of.
MAPS = {
    "permutation": ([3, 0, 5, 1, 2, 4], [[1], [3], [4], [0], [5], [2]]),
    "superset": ([-1, 0, None, 1, 2, -1], [[1], [3], [4]]),
    "merged": ([0, 1, 0, 1, 1, 2], [[0, 2], [1, 3, 4], [5]]),
    "merged and dropped": ([1, -1, 1, 0, None, 0], [[3, 5], [0, 2]]),
    "array": (np.array([0, 1, 0, 1, 1, 2]), [[0, 2], [1, 3, 4], [5]]),
    "dict": ({1: [0, 2], 0: 4}, [[4], [0, 2]]),
    "dict of names": ({"vowel": [0, 4], "other": [1, 2, 3, 5]}, [[0, 4], [1, 2, 3, 5]]),
    "groups": ([[4], [0, 2]], [[4], [0, 2]]),
}


def identity(classes=6, positions=(), dtype="float64"):
    inputs = keras.Input((*positions, classes), dtype=dtype)
    return keras.Model(inputs, ops.multiply(inputs, 1.0), dtype=dtype)


def random_logits(*shape, seed=0):
    return 3.0 * np.random.default_rng(seed).normal(size=shape)


def expected_targets(p, groups):
    sums = np.stack([p[..., group].sum(axis=-1) for group in groups], axis=-1)
    return sums / sums.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("form", MAPS)
@pytest.mark.parametrize("positions", [(), (4,), (2, 3)], ids=["rows", "sequences", "maps"])
def test_mass_is_kept_at_every_temperature(form, positions):
    mapping, groups = MAPS[form]
    z = random_logits(5, *positions, 6)
    outputs = map_classes(identity(positions=positions), mapping).answer(z)
    assert outputs.shape == (5, *positions, len(groups)) and outputs.logits.dtype == "float64"
    for temperature in TEMPERATURES:
        q = ops.convert_to_numpy(ops.softmax(outputs.at(temperature) / temperature))
        assert_allclose(q.sum(axis=-1), 1.0, rtol=1e-15)
        assert_allclose(q, expected_targets(softmax(z / temperature, axis=-1), groups), rtol=1e-12)


def test_logits_of_all_groups_hold_the_mass_of_their_groups_exactly():
    z = np.log(np.array([[0.1, 0.2, 0.3, 0.4]]))
    assert_allclose(np.exp(merge_classes(z, [[0, 3], [2, 1]])), [[0.5, 0.5]], rtol=1e-15)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_a_choice_of_classes_is_a_choice_of_logits_bit_for_bit(dtype):
    z = random_logits(5, 6).astype(dtype)
    outputs = map_classes(identity(dtype=dtype), [-1, 2, 0, None, 1, -1]).answer(z)
    for temperature in TEMPERATURES:
        assert_array_equal(outputs.at(temperature), z[:, [2, 4, 1]])
    assert_array_equal(merge_classes(ops.convert_to_tensor(z.astype("float64")), [[0], [1, 2]])[:, 0], z[:, 0])


@pytest.mark.parametrize("temperature", TEMPERATURES)
def test_merged_classes_neither_overflow_nor_vanish_in_float32(temperature):
    z = np.array([[1000.0, -1000.0, -1000.0, 0.0], [0.0, -np.inf, -np.inf, 0.0]], "float32")
    merged = ops.convert_to_numpy(merge_classes(z, [[0], [1, 2], [3]], temperature))
    assert np.isfinite(merged).all()
    assert_allclose(merged[0], [1000.0, -1000.0 + temperature * np.log(2.0), 0.0], rtol=1e-6)


def test_an_ensemble_is_asked_at_the_temperature(picks):
    z = random_logits(5, 3, 6)
    outputs = map_classes(Ensemble(picks(classes=6, dtype="float64")), [0, 0, 1, None, 1, 2]).answer(z)
    for temperature in TEMPERATURES:
        p = softmax(z / temperature, axis=-1).mean(axis=1)
        q = softmax(outputs.at(temperature) / temperature, axis=-1)
        assert_allclose(q, expected_targets(p, [[0, 1], [2, 4], [5]]), rtol=1e-11)


def test_a_map_of_a_map():
    z = random_logits(5, 6)
    finer = map_classes(identity(), [0, 0, 1, 1, 2, 3])
    outputs = map_classes(finer, [[3], [0, 1]]).answer(z)
    for temperature in TEMPERATURES:
        q = softmax(outputs.at(temperature) / temperature, axis=-1)
        assert_allclose(q, expected_targets(softmax(z / temperature, axis=-1), [[5], [0, 1, 2, 3]]), rtol=1e-12)


def test_a_softmax_head_is_looked_under():
    inputs = keras.Input((6,))
    headed = keras.Model(inputs, keras.layers.Softmax()(inputs))
    z = random_logits(5, 6).astype("float32")
    q = softmax(map_classes(headed, [0, 0, 0, 1, 1, 1]).answer(z).at(4.0) / 4.0, axis=-1)
    assert_allclose(q, expected_targets(softmax(z / 4.0, axis=-1), [[0, 1, 2], [3, 4, 5]]), rtol=1e-5)


NAMES = ["cat", "dog", "car", "tabby", "bus", "tree"]
BY_NAME = {
    "the teacher's names": ((NAMES, ["car", "cat", "dog"]), {}, [[2], [0], [1]]),
    "a name for each": ((["cat", "dog", "car", "cat", "car", None], ["dog", "cat", "car"]), {}, [[1], [0, 3], [2, 4]]),
    "a dict": (
        ({"car": ["car", "bus"], "cat": ["cat", "tabby"]},),
        {"teacher_classes": NAMES},
        [[2, 4], [0, 3]],
    ),
    "a dict in the order of the classes": (
        ({"car": ["bus"], "cat": "tabby"}, ["cat", "car"]),
        {"teacher_classes": NAMES},
        [[3], [4]],
    ),
    "a dict of indices beside names": (({0: [1], 1: [0, 3]}, ["dog", "cat"]), {}, [[1], [0, 3]]),
    "indices and a number": (([0, 1, 0, 1, -1, -1], 2), {}, [[0, 2], [1, 3]]),
}


@pytest.mark.parametrize("form", BY_NAME)
def test_classes_by_name(form):
    arguments, named, groups = BY_NAME[form]
    assert [list(group) for group in map_classes(identity(), *arguments, **named).groups] == groups


@pytest.mark.parametrize("jit_compile", [False, True])
def test_compiled_and_in_a_distiller(mlp, data, jit_compile):
    teacher = map_classes(Ensemble([mlp(classes=6), mlp(classes=6)]), [0, 1, 2, 0, 1, None])
    assert teacher.outputs[0].shape == (None, 3) and teacher.inputs[0].shape == (None, 4)
    x, student = data[0], mlp(4)
    distiller = kd.Distiller(teacher, student, kd.losses.LogitsDistillation(4.0))
    distiller.compile(keras.optimizers.SGD(0.0), jit_compile=jit_compile)
    z = np.stack([member(x) for member in teacher.teacher.members]).astype("float64")
    p = expected_targets(softmax(z / 4.0, axis=-1).mean(axis=0), [[0, 3], [1, 4], [2]])
    q = softmax(np.array(student(x), "float64") / 4.0, axis=-1)
    assert_allclose(distiller.train_on_batch(x)[0], 16.0 * (p * np.log(p / q)).sum(axis=-1).mean(), rtol=1e-4)


def test_lengths_and_batches_that_are_not_known():
    teacher = map_classes(identity(positions=(None,)), [0, 0, 1, 1, 1, -1])
    call = tf.function(
        lambda x, t: teacher.answer(x).at(t),
        input_signature=[tf.TensorSpec((None, None, 6), "float64"), tf.TensorSpec((), "float32")],
    )
    z = random_logits(3, 7, 6)
    expected = expected_targets(softmax(z / 4.0, axis=-1), [[0, 1], [2, 3, 4]])
    assert_allclose(softmax(call(z, 4.0) / 4.0, axis=-1), expected, rtol=1e-12)


def test_a_saved_map_comes_back(mlp, data, tmp_path):
    teacher = map_classes(Ensemble([mlp(classes=5), mlp(classes=5)]), [1, 0, 1, -1, 2])
    teacher.save(tmp_path / "t.keras")
    loaded = keras.models.load_model(tmp_path / "t.keras")
    assert isinstance(loaded, MappedClasses) and loaded.groups == ((1,), (0, 2), (4,)) and loaded.width == 5
    for temperature in TEMPERATURES:
        pair = (each.answer(data[0]).at(temperature) for each in (loaded, teacher))
        assert_array_equal(*pair)


class Later(keras.Model):
    """Knows its classes when it is first called."""

    def __init__(self, classes=6):
        super().__init__()
        self.head = keras.layers.Dense(classes)

    def call(self, x):
        return self.head(x)


def two_outputs():
    inputs = keras.Input((4,))
    return keras.Model(inputs, [inputs, inputs])


BAD = {
    "no model": (lambda m: map_classes("t.keras", [0, 1]), "teacher to be a keras.Model"),
    "no map": (lambda m: map_classes(m(), 3), "mapping to be a sequence or a dict"),
    "too short": (lambda m: map_classes(m(), [0, 1]), "a mapping of the teacher's 3 classes. Received: one of 2"),
    "too long": (lambda m: map_classes(m(), [0, 1, 1, 0]), "a mapping of the teacher's 3 classes. Received: one of 4"),
    "a gap": (lambda m: map_classes(m(), [0, 2, 2]), r"each with a teacher class. Received: none for \[1\]"),
    "none left": (lambda m: map_classes(m(), [-1, None, -1]), "two student classes or more"),
    "one left": (lambda m: map_classes(m(), [0, 0, 0]), "two student classes or more"),
    "below -1": (lambda m: map_classes(m(), [0, 1, -2]), "classes as integers >= 0"),
    "a fraction": (lambda m: map_classes(m(), [0, 1, 0.5]), "classes as integers >= 0"),
    "a bool": (lambda m: map_classes(m(), [0, 1, True]), "classes as integers >= 0"),
    "more than classes": (lambda m: map_classes(m(), [0, 1, 2], classes=2), "student classes from 0 to 1, or -1"),
    "fewer than classes": (lambda m: map_classes(m(), [0, 1, 1], classes=3), r"none for \[2\]"),
    "unlike classes": (lambda m: map_classes(m(), [[0], [1, 2]], classes=3), "a mapping to 3 classes"),
    "a gap in a dict": (
        lambda m: map_classes(m(), {0: [0], 2: [1]}),
        "of the student's classes.*2, which is not a class",
    ),
    "an empty group": (lambda m: map_classes(m(), {0: [0], 1: []}), r"none for \[1\]"),
    "in two groups": (lambda m: map_classes(m(), {0: [0, 1], 1: [1, 2]}), r"one group at most. Received: \[1\]"),
    "twice in a group": (lambda m: map_classes(m(), [[0, 0], [1]]), r"one group at most. Received: \[0\]"),
    "out of range": (lambda m: map_classes(m(), {0: [0], 1: [3]}), "teacher classes from 0 to 2. Received: 3"),
    "names without classes": (lambda m: map_classes(m(), ["a", "b", "c"]), "names of the student's classes"),
    "names without the teacher's": (lambda m: map_classes(m(), {"a": "x", "b": "y"}), "names of the teacher's classes"),
    "a name misspelt": (
        lambda m: map_classes(m(), {"a": "cat", "b": "dgo"}, teacher_classes=["cat", "dog", "car"]),
        "Did you mean 'dog'",
    ),
    "a student class left out": (
        lambda m: map_classes(m(), {"a": 0, "b": 1}, ["a", "b", "c"]),
        "nothing for 'c'",
    ),
    "two outputs": (lambda m: map_classes(two_outputs(), [0, 1, 1, 0]), "teacher to have one output"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_maps_are_told_at_construction(mlp, case):
    build, message = BAD[case]
    with pytest.raises(ValueError, match=message) as caught:
        build(mlp)
    assert FORM.match(str(caught.value))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [([0, 1, 1], "a teacher of 3 classes. Received: logits"), ({0: 0, 1: 7}, "a teacher of 8 classes or more")],
    ids=["length", "index"],
)
@pytest.mark.parametrize("compiled", [False, True])
def test_bad_maps_are_told_by_the_first_batch(mapping, message, compiled):
    teacher, x = map_classes(Later(), mapping), np.ones((2, 4), "float32")
    with pytest.raises(ValueError, match=message) as caught:
        teacher.predict(x, verbose=0) if compiled else teacher(x)
    assert FORM.match(str(caught.value))
