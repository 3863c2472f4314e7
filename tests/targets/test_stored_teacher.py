"""A store in the place of a teacher: what it knows, what it answers, and what it refuses."""

import keras
import numpy as np
import pytest

from keras_distill import targets


def test_it_knows_what_its_teacher_took_and_gave(store):
    teacher = targets.StoredTeacher(store)
    assert teacher.classes == 5
    assert [tuple(each.shape) for each in (*teacher.inputs, *teacher.outputs)] == [(None, 6), (None, 5)]
    assert teacher.features == {"hidden": (None, 8)}
    assert teacher.weights == []


def test_it_answers_out_of_the_batch(store, dataset, teacher):
    x, _, _, extras = next(iter(store.join(dataset)))
    stored = targets.StoredTeacher(store)
    answer, layers = stored.answer(x, extras), stored.layers_of(extras)
    np.testing.assert_allclose(answer.at(4.0), teacher(x), rtol=1e-6, atol=1e-6)
    assert layers["hidden"].shape == (16, 8)
    assert layers["hidden"].dtype == answer.logits.dtype == "float32"
    with pytest.warns(DeprecationWarning, match="extras=extras"):
        before = stored.answer(extras)
    np.testing.assert_array_equal(before["final_output"], answer.logits)
    np.testing.assert_array_equal(before["hidden"], layers["hidden"])


@pytest.mark.parametrize("extras", [None, {}, {"index": 1}, {"soft_targets": {"indices": 1}}])
def test_a_batch_without_soft_targets_names_the_way_to_get_them(store, extras):
    with pytest.raises(ValueError, match=r"store\.join\(dataset\)"):
        targets.StoredTeacher(store).answer(extras=extras)


def test_it_cannot_be_run(store, arrays):
    with pytest.raises(ValueError, match="inputs alone for the store"):
        targets.StoredTeacher(store)(arrays[0])


def test_it_is_saved_as_a_path_and_a_fingerprint(store, fresh):
    teacher = targets.StoredTeacher(store, name="asked_once")
    config = keras.saving.serialize_keras_object(teacher)
    again = keras.saving.deserialize_keras_object(config)
    assert (again.name, again.store.path) == ("asked_once", store.path)
    config["config"]["store"] = fresh().path
    with pytest.raises(ValueError, match="the store of soft targets"):
        keras.saving.deserialize_keras_object(config)


def test_a_fingerprint_is_of_everything(store, teacher, dataset, tmp_path):
    options = {"dtype": "float32", "shard_size": 32, "features": ["hidden"]}
    assert targets.write(teacher, dataset, tmp_path / "same", **options).fingerprint == store.fingerprint
    assert targets.write(teacher, dataset, tmp_path / "other", **options, name="x").fingerprint != store.fingerprint
