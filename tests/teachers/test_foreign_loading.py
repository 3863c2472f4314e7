"""One door for every teacher: what is made of what, and what is refused."""

import json

import keras
import numpy as np
import pytest
from numpy.testing import assert_array_equal

from keras_distill.teachers import CallableTeacher, SavedModelTeacher, as_teacher


def test_a_keras_model_is_itself(mlp):
    model = mlp()
    assert as_teacher(model) is model
    with pytest.raises(ValueError, match=r'^Expected outputs="logits" of a Keras model.*leave `outputs` out'):
        as_teacher(model, outputs="probabilities")


@pytest.mark.parametrize("suffix", [".keras", ".h5"])
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5")
def test_a_keras_file_is_the_model_in_it(mlp, data, tmp_path, suffix):
    model = mlp(head="softmax")
    model.save(tmp_path / f"teacher{suffix}")
    for path in (tmp_path / f"teacher{suffix}", str(tmp_path / f"teacher{suffix}")):
        teacher = as_teacher(path)
        assert type(teacher) is keras.Sequential and not teacher.compiled
        assert_array_equal(teacher(data[0]).numpy(), model(data[0]).numpy())


def test_inputs_like_those_of_a_model(mlp):
    seen = []
    as_teacher(lambda x: seen.append(x) or x[:, :3], like=mlp())
    assert seen[0].shape == (2, 4) and seen[0].dtype == "float32"
    ids, size = keras.Input((5,), name="ids", dtype="int32"), keras.Input((2,), name="size")
    student = keras.Model({"ids": ids, "size": size}, keras.layers.Dense(3)(size))
    teacher = as_teacher(lambda x: x["ids"][:, :3] + x["size"][:, :1], like=student)
    assert [(each.shape, each.dtype) for each in teacher.inputs] == [((None, 5), "int32"), ((None, 2), "float32")]
    assert as_teacher(lambda x: x, like=keras.Sequential([keras.layers.Dense(3)])).outputs is None
    assert as_teacher(lambda x: x, like=mlp(), input_shape=(7,)).outputs[0].shape == (None, 7)


def test_inputs_like_those_of_a_model_that_do_not_fit(mlp, tmp_path):
    mlp(features=5).export(tmp_path / "teacher", verbose=False)
    assert isinstance(as_teacher(tmp_path / "teacher", like=mlp(features=5)), SavedModelTeacher)
    with pytest.raises(
        ValueError, match=r"shape \(None, 5\) for the input .*Received: \(None, 4\)\. Prepare its inputs"
    ):
        as_teacher(tmp_path / "teacher", like=mlp())


KINDS = "^Expected teacher to be a keras.Model, a path .*or a callable on NumPy arrays"
REFUSED = {
    "nothing": (None, {}, ValueError, f"{KINDS}.*teacher=None"),
    "a number": (3, {}, ValueError, KINDS),
    "a class": (keras.Sequential, {}, ValueError, KINDS),
    "a layer": (keras.layers.Dense(3), {}, ValueError, KINDS),
    "no such file": ("nowhere.tflite", {}, ValueError, f"{KINDS}.*'nowhere.tflite', which does not exist"),
    "an unknown file": ("teacher.pt", {}, ValueError, f"{KINDS}.*teacher.pt"),
    "a folder of something else": ("folder", {}, ValueError, "folder of a SavedModel.*folder', which has notes.txt"),
    "an empty folder": ("empty", {}, ValueError, "folder of a SavedModel.*empty', which has nothing"),
    "unknown outputs": (np.negative, {"outputs": "probabilites"}, ValueError, "Did you mean 'probabilities'"),
    "no classes": (np.negative, {"classes": 0}, ValueError, "classes to be a number of classes.*0"),
    "classes of text": (np.negative, {"classes": "3"}, ValueError, "classes to be a number of classes.*'3'"),
    "free classes": (np.negative, {"classes": (3, None)}, ValueError, "classes to be a number of classes"),
    "a batch of none": (np.negative, {"batch_size": 0}, ValueError, "batch_size to be a whole number >= 1.*0"),
    "half a batch": (np.negative, {"batch_size": 0.5}, ValueError, "batch_size to be a whole number >= 1.*0.5"),
    "negative retries": (np.negative, {"retries": -1}, ValueError, "retries to be a whole number >= 0.*-1"),
    "negative backoff": (np.negative, {"backoff": -1.0}, ValueError, "backoff to be a finite number >= 0.*-1"),
    "too many dtypes": (
        np.negative,
        {"input_shape": (4,), "input_dtype": ["int32", "int32"]},
        ValueError,
        "1 dtypes in input_dtype",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused(tmp_path, monkeypatch, case):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "teacher.pt").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "notes.txt").write_text("")
    teacher, options, error, message = REFUSED[case]
    with pytest.raises(error, match=message):
        as_teacher(teacher, **options)


def test_a_function_is_no_class_and_no_layer():
    for wrong in (keras.Sequential, keras.layers.Dense(3), "text"):
        with pytest.raises(ValueError, match="^Expected a function of NumPy arrays"):
            CallableTeacher(wrong)


def write_h5(path, version, *classes):
    """Write a model file as Keras 2 did, with a layer of each class."""
    h5py = pytest.importorskip("h5py", reason="Keras reads .h5 files with h5py")
    layers = [{"class_name": "InputLayer", "config": {"batch_input_shape": [None, 4], "name": "first"}}]
    layers += [{"class_name": name, "config": {"name": name.lower(), "trainable": True}} for name in classes]
    with h5py.File(path, "w") as file:
        file.attrs["keras_version"], file.attrs["backend"] = version, "tensorflow"
        file.attrs["model_config"] = json.dumps({"class_name": "Sequential", "config": {"name": "s", "layers": layers}})
        file.create_group("model_weights").attrs["layer_names"] = []


def test_a_file_of_keras_2_says_what_to_do(tmp_path):
    path = str(tmp_path / "old.h5")
    write_h5(path, "2.11.0", "TFOpLambda")
    with pytest.raises(
        ValueError, match=r"^Expected a model file of Keras 3\. Received: '.*old.h5' of Keras 2\.11\.0.*TFOpL"
    ):
        as_teacher(path)
    write_h5(path, "3.15.1", "Unheard")
    with pytest.raises((ValueError, TypeError), match="Unheard") as raised:
        as_teacher(path)
    assert "SavedModel" not in str(raised.value)
